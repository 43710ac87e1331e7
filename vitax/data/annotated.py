"""Images and the objects in them, as annotation files give them: names of classes and boxes in pixels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.decode import header_of, orientation
from vitax.data.objects import ObjectFiles, Objects, Outside
from vitax.errors import UserError
from vitax.specs import Pixels


class Annotated(NamedTuple):
    """An image and the objects in it.

    Attributes:
        image: path of the image.
        size: its height and width in pixels.
        names: names of the classes of the objects.
        boxes: [n, 4] left, top, right and bottom as given in the file.
        difficult: [n] bool, True = an object that is not evaluated.
    """

    image: str
    size: tuple[int, int]
    names: list[str]
    boxes: np.ndarray
    difficult: np.ndarray


def class_names(training: Sequence[Annotated], layout: str) -> list[str]:
    """The classes of the images of the training, in the order of the alphabet.

    Raises:
        UserError: none of them has an object; ``layout`` = what is expected.
    """
    classes = sorted({name for each in training for name in each.names})
    if not classes:
        raise UserError(f"none of {len(training)} images of the training has an object; {layout}")
    return classes


def check_apart(one: Sequence[Annotated], other: Sequence[Annotated], where: str) -> None:
    """Checks two splits, which ``where`` names.

    Raises:
        UserError: they share an image.
    """
    if shared := sorted({each.image for each in one} & {each.image for each in other}):
        raise UserError(f"{where} share {len(shared)} images, such as {shared[0]}")


def image_size(path: str) -> tuple[int, int]:
    """The height and width of an upright image, from its header.

    Raises:
        OSError, ValueError: it cannot be opened.
    """
    with header_of(path) as picture:
        turned = orientation(picture) >= 5
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def source_of(
    found: Sequence[Annotated], where: str, classes: Sequence[str], pixels: Pixels, first: int = 0
) -> ObjectFiles:
    """The images of a split. Boxes are cut at the edges of their images; boxes without a pixel are left out, and logged.

    Args:
        found: the images.
        where: where they come from, for messages.
        classes: names of the classes.
        pixels: how images are decoded.
        first: number of the first pixel; with 1, the last pixel of a box belongs to it.

    Raises:
        UserError: an object has another class, or the sides of a box are swapped.
    """
    number = {name: k for k, name in enumerate(classes)}
    outside, objects = Outside(where), []
    for each in found:
        if unknown := sorted(set(each.names) - set(classes)):
            raise UserError(f"{each.image} has an object {unknown[0]!r}, which no training image has")
        if (each.boxes[:, 2:] < each.boxes[:, :2]).any():
            raise UserError(f"{each.image} has a box whose right or bottom side lies before its left or top side")
        boxes = each.boxes - [first, first, 0, 0]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        label = np.array([number[name] for name in each.names], np.int32)
        objects.append(outside.removed(Objects(boxes, label, each.difficult, area), each.size))
    outside.tell()
    sizes: Any = np.array([each.size for each in found], int)
    return ObjectFiles([each.image for each in found], sizes, objects, classes, pixels)
