"""Images with boxes around objects."""

from typing import Any

import numpy as np

from vitax.data.box_table import box_table
from vitax.data.object_transforms import eval_objects, train_objects
from vitax.data.objects import coco_objects
from vitax.data.shapes import boxed_shapes
from vitax.data.source import Splits
from vitax.data.validation import share_of, validated, with_named
from vitax.data.voc import voc
from vitax.data.yolo import yolo
from vitax.errors import UserError
from vitax.pipelines.images import decoded_whole, image_spec
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import BoxSpec, ImageSpec, Pixels

OPENERS: dict[str, Any] = {"coco": coco_objects, "yolo": yolo, "voc": voc, "table": box_table}


def open_objects(
    pixels: Pixels,
    max_objects: int,
    *,
    name: str = "coco",
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
    raw_ids: bool = False,
    first_pixel: int = 1,
) -> Splits:
    """Opens the images and their boxes; see `vitax.data.objects`.

    Args:
        pixels: how images are decoded.
        max_objects: greatest number of objects in an image.
        name: "coco" for files in COCO's form; "yolo" for the layout of YOLO; "voc" for the XML files of Pascal VOC; "table" for a table with a row for each object; "shapes" for patterned patches on scikit-learn's photographs, which are built in.
        path: the folder, or one .json or .yaml file.
        train, test: names of the splits.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the images that is held back if there is no split for the test.
        raw_ids: classes have the numbers of the categories in the file, as the published weights of DETR; numbers without a
            category are called "-". False = their places in the order of the numbers.
        first_pixel: of the files of Pascal VOC, see `vitax.data.voc`: 1, or 0 for files that count from 0.

    Raises:
        UserError: the name is unknown, a value has no meaning for it, or an image has too many objects.
    """
    if first_pixel != 1 and name != "voc":
        raise UserError(
            f"config.data.first_pixel={first_pixel} is for the files of Pascal VOC, and data.name is {name!r}"
        )
    if name == "shapes":
        if raw_ids or (validation and share_of(validation) is None):
            raise UserError(
                "shapes has its own classes and no split for validation: data.raw_ids is for your own files, and data.validation "
                "can be a share, such as 10%"
            )
        splits = boxed_shapes(path=path, train=train, test=test, pixels=pixels)
    elif name in OPENERS:
        if name != "coco" and raw_ids:
            raise UserError(f"config.data.raw_ids=True is for COCO's files, and data.name is {name!r}")
        options: Any = dict(path=path, train=train, test_fraction=test_fraction, pixels=pixels)
        options |= {"coco": dict(raw_ids=raw_ids), "voc": dict(first_pixel=first_pixel)}.get(name, {})
        splits = with_named(lambda test: OPENERS[name](test=test, **options), test, validation)
    else:
        known = ", ".join(map(repr, (*OPENERS, "shapes")))
        raise UserError(f"data.name={name!r} is none of {known}, which are the images with boxes")
    parts: list[Any] = list(splits.sources())
    if (most := max(part.most() for part in parts)) > max_objects:
        raise UserError(f"{splits.origin} has an image with {most} objects: set config.data.max_objects={most} or more")
    return splits


def most_objects(*, max_objects: int = 100) -> int:
    """The greatest number of objects in an image.

    Args:
        max_objects: that number, crowds included; the model needs as many queries.

    Raises:
        UserError: it is less than 1.
    """
    if max_objects < 1:
        raise UserError(f"config.data.max_objects={max_objects} must be at least 1")
    return max_objects


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images with boxes; see `vitax.pipelines.pipeline.Kind`."""
    images: ImageSpec = take(image_spec)
    most: int = take(most_objects)
    transform = take(eval_objects, images.image_size, most, images.mean)
    spec = BoxSpec(images, tuple(record["class_names"]), most)
    fields = {"num_classes": len(spec.names), "image_size": images.image_size}
    picture = np.zeros((*images.image_size, images.channels), images.pixels.dtype)
    return Reader(spec, fields, transform, record, transform({"image": picture}, np.random.default_rng(0)))


def open_detection(take: Take) -> Pipeline:
    """Opens images with boxes; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: colour jitter is on for values that are not colours, or drafts are.
    """
    images: ImageSpec = take(image_spec)
    decoded_whole(images, "images with boxes")
    most: int = take(most_objects)
    splits: Splits = take(validated, take(open_objects, images.pixels, most))
    augment: Any = take(train_objects, images.image_size, most, images.mean)
    if images.pixel_range and augment.jitter:
        raise UserError("config.data.pixel_range: colour jitter changes 8-bit colours; set color_jitter_strength=0")
    names = list(splits.train.class_names)
    reader = read(take, {"class_names": names})
    height, width = images.image_size
    about = f"objects of {len(names)} classes, images padded to {height}x{width}x{images.channels}"
    return Pipeline(splits, augment, reader, unit="images", about=about)


BOXES = Kind((image_spec, most_objects, validated, open_objects, train_objects, eval_objects), open_detection, read)
