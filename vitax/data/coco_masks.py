"""Images with masks that are drawn from the outlines in files of COCO's form: polygons, or run lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data.coco_files import (
    Listed,
    area_of,
    coco_files,
    counts_nowhere,
    image_of,
    image_paths,
    listed,
    numbers,
    opened,
    read_coco,
)
from vitax.data.decode import decode_image
from vitax.data.mask_files import IGNORED
from vitax.data.masks import fitted
from vitax.data.objects import LAYOUT
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.specs import Pixels

BACKGROUND = "background"  # class 0: pixels inside no outline


class Outline(NamedTuple):
    """An outline: polygons [x, y, x, y, ...], or {"counts": run lengths, "size": [H, W]}; crowd: its pixels are ignored."""

    shape: Any
    label: int
    crowd: bool
    area: float


class OutlinedFiles:
    """Image files with the outlines in them, which are drawn on demand; where outlines overlap, the smallest is on top.

    Args:
        paths: paths of the images.
        sizes: [n, 2] int, their height and width.
        outlines: the outlines of each image.
        class_names: names of the classes, the background first.
        pixels: how images are decoded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        sizes: np.ndarray,
        outlines: Sequence[Sequence[Outline]],
        class_names: Sequence[str],
        pixels: Pixels,
    ):
        self.paths, self.shapes, self.outlines = list(paths), sizes, list(outlines)
        self.class_names, self.pixels, self.labels = tuple(class_names), pixels, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = decode_image(Path(self.paths[i]).read_bytes(), self.pixels)
        mask = np.zeros(self.shapes[i], np.int16)
        for outline in sorted(self.outlines[i], key=lambda one: -one.area):
            mask[inside(outline.shape, *self.shapes[i])] = IGNORED if outline.crowd else outline.label
        return {"image": image, "mask": fitted(mask, image, self.paths[i], self.pixels)}

    def name(self, i: int) -> str:
        return self.paths[i]

    def of(self, index: np.ndarray) -> "OutlinedFiles":
        """The images with some numbers."""
        paths, outlines = ([values[i] for i in index] for values in (self.paths, self.outlines))
        return OutlinedFiles(paths, self.shapes[index], outlines, self.class_names, self.pixels)


def inside(shape: Any, height: int, width: int) -> np.ndarray:
    """The pixels inside an outline, as COCO's own code draws it, [height, width] bool.

    Args:
        shape: as in `Outline`.
        height, width: of the image.
    """
    from pycocotools import mask  # drawing as the annotations mean it

    compressed = isinstance(shape, dict) and not isinstance(shape["counts"], list)
    found = shape if compressed else mask.frPyObjects(shape, height, width)
    return mask.decode(mask.merge(found) if isinstance(found, list) else found).astype(bool)


def coco_masks(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens images with outlines in COCO's form; the arguments are those of `vitax.data.objects.coco_objects`.

    Raises:
        UserError: there is no such file, it is not in COCO's form, an outline cannot be drawn, the splits have other classes, or
            an image is not there.
    """
    files = coco_files(path, "instances", train, test, LAYOUT)
    return opened(files, lambda file: read_outlines(file, pixels), test_fraction, LAYOUT)


def read_outlines(file: Path, pixels: Pixels) -> OutlinedFiles:
    """The images of a file in COCO's form, and their outlines.

    Args:
        file: the file.
        pixels: how images are decoded.

    Raises:
        UserError: the file is not in that form, an outline cannot be drawn, or an image is not there.
    """

    def parse(content: Any) -> tuple[Listed, list[list[Outline]]]:
        known = listed(content)
        label = {number: k for k, number in enumerate(sorted(known.categories), start=1)}
        outlines: list[list[Outline]] = [[] for _ in known.names]
        for note in content["annotations"]:
            i = image_of(note, known)
            shape = _checked(note, known.sizes[i])
            outlines[i].append(Outline(shape, label[note["category_id"]], counts_nowhere(note), area_of(note)))
        return known, outlines

    known, outlines = read_coco(file, LAYOUT, parse)
    if not known.names or not known.categories:
        raise UserError(f"{file} lists {len(known.names)} images and {len(known.categories)} categories; {LAYOUT}")
    classes = [BACKGROUND, *(known.categories[number] for number in sorted(known.categories))]
    return OutlinedFiles(image_paths(file, "instances", known.names, LAYOUT), known.sizes, outlines, classes, pixels)


def _checked(note: dict[str, Any], size: np.ndarray) -> Any:
    """The outline of an annotation; ValueError if it cannot be drawn."""
    shape, name = note["segmentation"], note.get("id")
    if isinstance(shape, dict):
        if list(shape["size"]) != size.tolist():
            raise ValueError(
                f"the annotation {name!r} has run lengths for {shape['size']}, and its image {size.tolist()}"
            )
        counts = run_lengths(shape["counts"]) if isinstance(shape["counts"], str) else shape["counts"]
        whole = isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts)
        if not whole or sum(counts) != size.prod():
            raise ValueError(
                f"the annotation {name!r} has run lengths that do not fill its image of {size.prod()} pixels"
            )
        return shape
    if not shape or any(len(numbers(polygon, note)) < 6 or len(polygon) % 2 for polygon in shape):
        raise ValueError(f"the annotation {name!r} has a polygon of fewer than three points, or none")
    return shape


def run_lengths(text: str) -> list[int]:
    """The run lengths that COCO writes as a text: five bits in each character, and from the fourth on differences.

    Raises:
        ValueError: the text ends within a number, or has other characters.
    """
    counts: list[int] = []
    value, place = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{text[:40]!r} are not run lengths")
        value |= (bits & 0x1F) << (5 * place)
        place += 1
        if bits & 0x20:  # it goes on
            continue
        if bits & 0x10:  # below zero
            value -= 1 << (5 * place)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, place = 0, 0
    if place:
        raise ValueError(f"{text[:40]!r} are not run lengths")
    return counts
