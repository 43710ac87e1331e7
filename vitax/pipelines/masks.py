"""Images with a class for each pixel."""

from typing import Any

import numpy as np

from vitax.data.coco_masks import coco_masks
from vitax.data.mask_files import IGNORED, MaskRules
from vitax.data.mask_transforms import eval_pairs, train_pairs
from vitax.data.masks import mask_files
from vitax.data.shapes import shapes
from vitax.data.source import Splits
from vitax.data.validation import share_of, validated, with_named
from vitax.errors import UserError
from vitax.pipelines.images import decoded_whole, image_spec
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import MaskSpec, Pixels

MOST = 32_767  # classes; masks have 16 bits, and one sign


def mask_rules(*, ignored: int = 255, reduce_zero_label: bool = False) -> MaskRules:
    """What the numbers in the masks mean.

    Args:
        ignored: number in the masks of the pixels that are ignored; -1 = none.
        reduce_zero_label: 0 is ignored too, and 1 is the first class, as in ADE20K.

    Raises:
        UserError: ``ignored`` is out of its range.
    """
    if not -1 <= ignored < 65_536:
        raise UserError(f"config.data.ignored={ignored} must lie in -1..65535")
    return MaskRules(ignored, reduce_zero_label)


def open_masks(
    pixels: Pixels,
    rules: MaskRules,
    *,
    name: str = "folder",
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
    num_classes: int = 0,
) -> Splits:
    """Opens the images and their masks; see `vitax.data.masks`.

    Args:
        pixels: how images are decoded.
        rules: what the numbers in the masks mean.
        name: "folder" for folders of images and masks; "coco" for the outlines in files of COCO's form; "shapes" for patterned patches on scikit-learn's photographs, which are built in.
        path: the folder.
        train, test: names of the folders of the splits; usual names stand for one another (test, val, validation).
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the images that is held back if there is no folder for the test.
        num_classes: number of classes; 0 = that of the lines in the folder's classes.txt.

    Raises:
        UserError: the name is unknown, or a value is out of its range.
    """
    if name == "shapes":
        if num_classes or rules != MaskRules() or (validation and share_of(validation) is None):
            raise UserError(
                "shapes has its own classes and no split for validation: data.num_classes, data.ignored and data.reduce_zero_label "
                "are for your own masks, and data.validation can be a share, such as 10%"
            )
        return shapes(path=path, train=train, test=test, pixels=pixels)
    options: Any = dict(path=path, train=train, test_fraction=test_fraction, pixels=pixels)
    if name == "coco":
        if num_classes or rules != MaskRules():
            raise UserError(
                "COCO's files have their own classes: data.num_classes, data.ignored and data.reduce_zero_label are for folders"
            )
        return with_named(lambda test: coco_masks(test=test, **options), test, validation)
    if name != "folder":
        raise UserError(f"data.name={name!r} is none of 'folder', 'coco' and 'shapes', which are the images with masks")
    if not 0 <= num_classes <= MOST:
        raise UserError(f"data.num_classes={num_classes} must lie in 0..{MOST}")
    options |= dict(num_classes=num_classes, rules=rules)
    return with_named(lambda test: mask_files(test=test, **options), test, validation)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images with masks; see `vitax.pipelines.pipeline.Kind`."""
    images = take(image_spec)
    spec = MaskSpec(images, tuple(record["class_names"]))
    fields = {"num_classes": len(spec.names), "image_size": images.image_size}
    blank = {
        "image": np.zeros((*images.image_size, images.channels), images.pixels.dtype),
        "mask": np.full(images.image_size, IGNORED, np.int16),
    }
    return Reader(spec, fields, take(eval_pairs, images.image_size, images.mean), record, blank)


def open_segmentation(take: Take) -> Pipeline:
    """Opens images with masks; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: colour jitter is on for values that are not colours, or drafts are.
    """
    images = take(image_spec)
    decoded_whole(images, "images with masks")
    rules = take(mask_rules)
    splits = take(validated, take(open_masks, images.pixels, rules))
    augment = take(train_pairs, images.image_size, images.mean)
    if images.pixel_range and augment.jitter:
        raise UserError("config.data.pixel_range: colour jitter changes 8-bit colours; set color_jitter_strength=0")
    names = list(splits.train.class_names)
    preprocessing = {key: getattr(images, key) for key in ("image_size", "channels", "mean", "std")}
    height, width = images.image_size
    return Pipeline(
        splits,
        augment,
        read(take, {"class_names": names, "preprocessing": preprocessing, "first_class": int(rules.reduce_zero_label)}),
        unit="images",
        about=f"a class of {len(names):,} for each pixel, crops of {height}x{width}x{images.channels}",
    )


MASKS = Kind((image_spec, mask_rules, open_masks, validated, train_pairs, eval_pairs), open_segmentation, read)
