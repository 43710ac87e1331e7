"""Images, with or without labels: folders, arrays, TFDS."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from vitax.data import open_source
from vitax.data.device_crops import DeviceCrop
from vitax.data.loader import Transform
from vitax.data.randaugment import color_jitter, rand_augment
from vitax.data.source import Renumbered, Splits, class_counts, folded, reduced, without_classes
from vitax.data.target_columns import shares_of
from vitax.data.targets import OF_IMAGES, SoftLabels, are_soft
from vitax.data.transforms import eval_transform, train_transform
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import MAX_PIXELS, PILLOWS_LIMIT, ImageSpec


def image_spec(
    *,
    image_size: tuple[int, ...],
    channels: int = 3,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    max_pixels: int = MAX_PIXELS,
    pixel_range: float = 0.0,
    draft: bool = False,
) -> ImageSpec:
    """Size, channels and normalisation of images.

    Args:
        image_size: (height, width) in pixels, or (side,).
        channels: 3 = RGB, 1 = grey; files of the other kind are converted. With ``pixel_range``, any number, which all files
            must have.
        mean, std: mean and standard deviation of each channel, on the scale 0..1.
        max_pixels: greatest number of pixels of an image file. A larger JPEG is decoded at a half to an eighth of its
            size, and another large file is unreadable.
        pixel_range: 0 = whatever a file holds becomes 8 bits. Otherwise values stay as they are in the file, as 32-bit
            floating-point numbers, and this one counts as 1 for ``mean`` and ``std``: 65535 for 16 bits, 10000 for
            reflectances of satellites. TIFF files of any channels then need ``pip install "vitax[tiff]"``.
        draft: in training, decode a JPEG at a half, a quarter or an eighth of its size as long as the crop keeps at least
            twice the pixels that it is resized to: faster for large photographs, and not the same to the bit. Tests and
            predictions decode all.

    Raises:
        UserError: ``image_size`` is not (height, width), or ``mean`` or ``std`` does not have one value for each
            channel, or a value of ``std`` is not above 0, or ``max_pixels`` is out of its range.
    """
    size = image_size * 2 if len(image_size) == 1 else image_size
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"config.data.image_size={image_size} is not (height, width)")
    if not len(mean) == len(std) == channels:
        raise UserError(
            f"config.data.mean={mean} and config.data.std={std} must have one number for each of {channels} channels"
        )
    if pixel_range < 0 or not pixel_range < float("inf"):
        raise UserError(f"config.data.pixel_range={pixel_range} must be 0 or a positive number")
    if channels not in (1, 3) and not pixel_range:
        raise UserError(
            f"config.data.channels={channels} is neither 3 (RGB) nor 1 (grey); for images of other channels set "
            "config.data.pixel_range, the value that counts as 1 (255 for bytes)"
        )
    if min(std) <= 0:
        raise UserError(f"config.data.std={std} must be above 0")
    if not 1 <= max_pixels <= PILLOWS_LIMIT:
        raise UserError(f"config.data.max_pixels={max_pixels} must lie in 1..{PILLOWS_LIMIT} (Pillow opens no more)")
    return ImageSpec(size, channels, mean, std, max_pixels, pixel_range=pixel_range, draft=draft)


def decoded_whole(images: ImageSpec, what: str) -> None:
    """Rejects ``data.draft`` where images are always decoded whole; ``what`` = what their data are.

    Raises:
        UserError: it is on.
    """
    if images.draft:
        raise UserError(f"config.data.draft=True has no meaning for {what}, which are always decoded whole")


def augmentation(take: Take, images: ImageSpec) -> Transform:
    """The transform of the training; colours are changed only where values are colours.

    Raises:
        UserError: the values are not converted to bytes, and RandAugment, colour jitter or resizing on the device is on.
    """
    transform: Any = take(train_transform, images.image_size, images.mean, images.std)
    on_device = isinstance(transform, DeviceCrop)
    if images.pixel_range and on_device:
        raise UserError(
            "config.data.resize_on_device is for 8-bit values, and data.pixel_range keeps those of the files"
        )
    steps = () if on_device else transform.random
    colours = {rand_augment, color_jitter} & {getattr(step, "func", step) for step in steps}
    if images.pixel_range and colours:
        raise UserError(
            "config.data.pixel_range: RandAugment and colour jitter change 8-bit colours; set randaugment_layers=0 and "
            "color_jitter_strength=0"
        )
    return transform


def open_splits(
    images: ImageSpec,
    others: Mapping[str, Callable[..., Splits]] = MappingProxyType({}),
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
    targets: tuple[str, ...] = (),
) -> Splits:
    """Opens the sources of the splits; see `vitax.data`.

    Args:
        images: description of the images.
        others: further openers, by name, that only this kind of data has.
        name: a key of `vitax.data.SOURCES` ("folder", "digits", ...) or the name of a TFDS dataset.
        path: path of the folder or file, or TFDS's data_dir.
        train, test: names of the splits.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of every class that is held back if the data have no test split.
        targets: soft labels, with name "table" or "parquet": columns with the share of each class, such as the votes of
            several people; () = each image has one class.

    Raises:
        UserError: soft labels are asked for where there are none.
    """
    options: Any = dict(path=path, train=train, test_fraction=test_fraction)
    options |= dict(pixels=images.pixels._replace(draft=images.draft))
    if targets:
        if others or name not in OF_IMAGES:
            raise UserError(
                f"config.data.targets={targets}: soft labels are for a classification with data.name='table' or 'parquet'"
            )
        options |= dict(columns=targets, make=SoftLabels)
        return with_named(lambda test: OF_IMAGES[name](shares_of, test=test, **options), test, validation)
    return with_named(lambda test: open_source(name, others, test=test, **options), test, validation)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images; see `vitax.pipelines.pipeline.Kind`."""
    images = take(image_spec)
    fields = {"num_classes": len(record["class_names"]), "image_size": images.image_size}
    blank = {"image": np.zeros((*images.image_size, images.channels), images.pixels.dtype), "label": np.int32(0)}
    if record.get("soft_labels"):
        blank["target"] = np.zeros(len(record["class_names"]), np.float32)
    images = images._replace(class_counts=tuple(record.get("class_counts", ())))
    return Reader(images, fields, take(eval_transform, images.image_size), record, blank)


def open_images(take: Take) -> Pipeline:
    """Opens images, labelled or not; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: classes are ignored of images with soft labels.
    """
    images = take(image_spec)
    chosen = take(without_classes, take(open_splits, images))
    if isinstance(chosen.train, Renumbered) and are_soft(chosen.train):
        raise UserError(
            "config.data.ignored_classes is for images of one class each, and data.targets are shares of classes"
        )
    splits = take(reduced, take(validated, take(folded, chosen)))
    preprocessing = {key: getattr(images, key) for key in ("image_size", "channels", "mean", "std")}
    record = {"class_names": list(splits.train.class_names), "preprocessing": preprocessing}
    record["class_counts"] = class_counts(splits.train)
    if are_soft(splits.train):
        record["soft_labels"] = True
    height, width = images.image_size
    return Pipeline(
        splits,
        augmentation(take, images),
        read(take, record),
        unit="images",
        about=f"{len(splits.train.class_names):,} classes, {height}x{width}x{images.channels}",
    )


FUNCTIONS = (image_spec, open_splits, without_classes, folded, validated, reduced, train_transform, eval_transform)
IMAGES = Kind(FUNCTIONS, open_images, read)
