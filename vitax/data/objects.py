"""Images with boxes around objects, from files in COCO's form."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data.coco_files import (
    Listed,
    area_of,
    box_of,
    coco_files,
    counts_nowhere,
    image_of,
    image_paths,
    listed,
    opened,
    read_coco,
)
from vitax.data.decode import decode_image
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    "expected DIR/annotations/instances_train2017.json, DIR/annotations/instances_val2017.json and the images in DIR/train2017 "
    "and DIR/val2017; or DIR/train/_annotations.coco.json beside the images, and the same in DIR/valid; or one "
    "instances_NAME.json with the images beside it, in NAME, or in images"
)


class Objects(NamedTuple):
    """The objects of a picture.

    Attributes:
        boxes: [n, 4] float32 left, top, right and bottom in pixels of the picture.
        label: [n] int32 numbers of the classes.
        ignored: [n] bool, True = a crowd, or another object that is ignored.
        area: [n] float32 area of each object in pixels: that of its outline, where one is given.
    """

    boxes: np.ndarray
    label: np.ndarray
    ignored: np.ndarray
    area: np.ndarray


class Outside:
    """Boxes that lie outside their images, counted for the log.

    Args:
        where: what is read, for the message.
    """

    def __init__(self, where: str):
        self.where, self.empty, self.cut = where, 0, 0

    def removed(self, objects: Objects, size: Sequence[int]) -> Objects:
        """The objects of an image of a size, height and width: boxes are cut at its edges, those without a pixel left out."""
        height, width = size
        inside = np.clip(objects.boxes, 0, [width, height, width, height])
        kept = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
        # Many boxes exceed their image by parts of a pixel.
        self.cut += int((np.abs(inside - objects.boxes)[kept] > 1).any(axis=1).sum())
        self.empty += len(inside) - len(kept)
        area = objects.area[kept].astype(np.float32)
        return Objects(inside[kept].astype(np.float32), objects.label[kept], objects.ignored[kept], area)

    def tell(self) -> None:
        """Logs the counts, if there are any."""
        if self.empty or self.cut:
            LOGGER.warning(
                "%s: %d boxes have no pixel of their image and are left out, %d exceed it and are cut",
                self.where,
                self.empty,
                self.cut,
            )


class ObjectFiles:
    """Image files with the objects in them, which are read on demand.

    An image that has another size than the annotations say is an unreadable example.

    Args:
        paths: paths of the images.
        sizes: [n, 2] int, their height and width.
        objects: the objects of each image.
        class_names: names of the classes.
        pixels: how images are decoded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        sizes: np.ndarray,
        objects: Sequence[Objects],
        class_names: Sequence[str],
        pixels: Pixels,
    ):
        self.paths, self.shapes, self.objects = list(paths), sizes, list(objects)
        self.class_names, self.pixels, self.labels = tuple(class_names), pixels, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = decode_image(Path(self.paths[i]).read_bytes(), self.pixels)
        told, found = self.shapes[i], image.shape[:2]
        objects = self.objects[i]
        reduced = told.prod() > self.pixels.max_pixels and abs(told[0] * found[1] - told[1] * found[0]) <= max(told)
        if tuple(told) != found and not reduced:
            raise ValueError(
                f"it has {found[1]}x{found[0]} pixels, and its annotations are for {told[1]}x{told[0]} (an image that its EXIF "
                "data rotate is rotated first)"
            )
        down, across = found[0] / told[0], found[1] / told[1]
        boxes = objects.boxes * np.array([across, down, across, down], np.float32)
        return {
            "image": image,
            **objects._replace(boxes=boxes, area=objects.area * np.float32(down * across))._asdict(),
        }

    def name(self, i: int) -> str:
        return self.paths[i]

    def of(self, index: np.ndarray) -> "ObjectFiles":
        """The images with some numbers."""
        paths, objects = ([values[i] for i in index] for values in (self.paths, self.objects))
        return ObjectFiles(paths, self.shapes[index], objects, self.class_names, self.pixels)

    def most(self) -> int:
        """The greatest number of objects in an image."""
        return max((len(objects.label) for objects in self.objects), default=0)

    def counts(self) -> np.ndarray:
        """The number of objects of each class that are to be found, [K] int."""
        labels = np.concatenate([objects.label[~objects.ignored] for objects in self.objects])
        return np.bincount(labels, minlength=len(self.class_names))


def coco_objects(*, path: str, train: str, test: str, test_fraction: float, raw_ids: bool, pixels: Pixels) -> Splits:
    """Opens images with boxes in COCO's form.

    Args:
        path: a .json file, or the folder above "annotations" or above the folders of the splits.
        train, test: names of the splits; without a file for "test", "val" is the test, as in COCO.
        test_fraction: share of the images that is held back if there is no file for the test.
        raw_ids: classes have the numbers of the file, and not their places in the list.
        pixels: how images are decoded.

    Raises:
        UserError: there is no such file, it is not in COCO's form, the splits have other classes, or an image is not there.
    """
    files = coco_files(path, "instances", train, test, LAYOUT)
    splits = opened(files, lambda file: read_objects(file, raw_ids, pixels), test_fraction, LAYOUT)
    learned: Any = splits.train
    if not learned.counts().any():
        raise UserError(f"{files.train} has no object to learn from; {LAYOUT}")
    return splits


def _parse(content: Any) -> tuple[Listed, list[list[Any]]]:
    """What a file lists, and (box, category, ignored, area) of the objects of each image.

    ValueError, KeyError or TypeError if it is not in COCO's form.
    """
    known = listed(content)
    notes: list[list[Any]] = [[] for _ in known.names]
    for note in content["annotations"]:
        about = (box_of(note), note["category_id"], counts_nowhere(note), area_of(note))
        notes[image_of(note, known)].append(about)
    return known, notes


def read_objects(file: Path, raw_ids: bool, pixels: Pixels) -> ObjectFiles:
    """The images of a file in COCO's form, those without objects included, and their objects.

    Boxes are cut at the edges of their image. Boxes without a pixel are left out, and counted in the log.

    Args:
        file: the file.
        raw_ids: as in `coco_objects`.
        pixels: how images are decoded.

    Raises:
        UserError: the file is not in that form, it lists no images or no categories, or an image is not there.
    """
    known, of_images = read_coco(file, LAYOUT, _parse)
    if not known.names or not known.categories:
        raise UserError(f"{file} lists {len(known.names)} images and {len(known.categories)} categories; {LAYOUT}")
    paths = image_paths(file, "instances", known.names, LAYOUT)
    ids = range(max(known.categories) + 1) if raw_ids else sorted(known.categories)
    number = {category: k for k, category in enumerate(ids)}
    found, outside = [], Outside(str(file))
    for size, notes in zip(known.sizes, of_images, strict=True):
        boxes = np.array([box for box, *_ in notes], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        label = np.array([number[category] for _, category, *_ in notes], np.int32)
        ignored, area = (np.array([note[k] for note in notes], kind) for k, kind in ((2, bool), (3, np.float32)))
        found.append(outside.removed(Objects(boxes, label, ignored, area), size))
    outside.tell()
    return ObjectFiles(paths, known.sizes, found, [known.categories.get(i, "-") for i in ids], pixels)
