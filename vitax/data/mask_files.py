"""Pictures of masks: the number of a class in each pixel, and colours for people."""

import colorsys
import os

import numpy as np
from PIL import Image

SHARE = 0.55  # of the colours in an overlay; the rest is the image


def colours(count: int) -> np.ndarray:
    """Colours that differ from their neighbours, [count, 3] uint8; the first one, often the background, is dark."""
    found = [
        colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.85, 0.6, 1.0)[k % 3], (0.95, 0.75, 0.6)[k // 3 % 3])
        for k in range(count - 1)
    ]
    return (255 * np.array([(0.12, 0.12, 0.14), *found])[:count]).round().astype(np.uint8)


def write_mask(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Writes a mask to a PNG whose values are the classes.

    Up to 256 classes are written with a palette, so that people see colours and programs read numbers; more as 16-bit grey.

    Args:
        path: path of the file.
        mask: [H, W] int, classes from 0 on.
    """
    if mask.max(initial=0) > 255:
        Image.fromarray(mask.astype(np.uint16)).save(path, "PNG")
        return
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette(colours(256).tobytes())
    picture.save(path, "PNG")


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image under the colours of its classes, [H, W, 3] uint8; pixels below class 0, which count nowhere, stay as they are.

    Args:
        image: [H, W, 1 or 3] uint8.
        mask: [H, W] int.
    """
    tints = colours(int(mask.max(initial=0)) + 1)[np.maximum(mask, 0)]
    mixed = (1 - SHARE) * image.astype(np.float32) + SHARE * tints
    return np.where((mask >= 0)[..., None], mixed, image).round().astype(np.uint8)
