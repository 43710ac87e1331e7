"""Crops of single images: functions ``(image, rng) -> image`` over uint8 images. Sizes are (height, width) in pixels."""

import math
from typing import Any

import numpy as np
from PIL import Image

from vitax.data.decode import Jpeg

Example = dict[str, Any]  # arrays and NumPy scalars
Size = tuple[int, int]

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


def resize(
    image: np.ndarray,
    size: Size,
    *,
    interpolation: str = "bicubic",
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resizes a whole image, or a box of it, with antialiasing.

    Args:
        image: [H, W, C] uint8 with 1 or 3 channels, or float32 with any number; or a `Jpeg`.
        size: height and width of the result.
        interpolation: a key of INTERPOLATIONS.
        box: (left, top, right, bottom) in pixels; None = the whole image.

    Returns:
        [*size, C] of the same type.
    """
    if isinstance(image, Jpeg):
        image, box = image.for_box(box, size)
    height, width, channels = image.shape
    if (height, width) == size and box in (None, (0, 0, width, height)):
        return image
    if box and all(side == int(side) for side in box):  # with whole pixels, the rest need not be copied
        left, top, right, bottom = (int(side) for side in box)
        image, box = image[top:bottom, left:right], None
    scale = lambda part: np.asarray(Image.fromarray(part).resize(size[::-1], INTERPOLATIONS[interpolation], box))
    if image.dtype == np.uint8 and channels == 3:
        return scale(image)
    return np.stack(
        [scale(image[..., k]) for k in range(channels)], axis=-1
    )  # Pillow has no others of several channels


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    size: Size,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bicubic",
) -> np.ndarray:
    """Crops a random box and resizes it (Szegedy et al. 2014, arXiv:1409.4842, section 6).

    Ten boxes are tried; if none fits, the largest centred box within ``ratio`` is taken.

    Args:
        image: [H, W, C] uint8.
        rng: source of the randomness.
        size: height and width (h, w) of the result.
        scale: range of the box's share of the image's area.
        ratio: range of the box's width / height, drawn uniformly on the log scale.
        interpolation: a key of INTERPOLATIONS.

    Returns:
        [h, w, C] uint8.
    """
    return resize(image, size, interpolation=interpolation, box=random_box(image.shape, rng, scale=scale, ratio=ratio))


def random_box(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the box that `random_resized_crop` takes of an image of ``shape``, (H, W, C)."""
    height, width, _ = shape
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            break
    else:
        w = min(width, round(height * ratio[1]))
        h = min(height, round(width / ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def pad_crop(
    image: np.ndarray, rng: np.random.Generator, *, size: Size, padding: int, interpolation: str = "bicubic"
) -> np.ndarray:
    """Resizes an image, surrounds it with black pixels and crops it at random: the usual shift for small images.

    Args:
        image: [H, W, C] uint8.
        rng: source of the randomness.
        size: height and width (h, w) of the result.
        padding: number of black pixels on each side.
        interpolation: a key of INTERPOLATIONS.

    Returns:
        [h, w, C] uint8.
    """
    padded = np.pad(resize(image, size, interpolation=interpolation), ((padding, padding), (padding, padding), (0, 0)))
    top, left = rng.integers(2 * padding + 1, size=2)
    return padded[top : top + size[0], left : left + size[1]]


def center_crop(image: np.ndarray, *, size: Size, fraction: float = 1.0, interpolation: str = "bicubic") -> np.ndarray:
    """Crops the largest centred box with the shape of ``size``, shrunk by ``fraction``, and resizes it.

    The result equals "resize the short side to size / fraction, then crop the centre" without the rounding in between.

    Args:
        image: [H, W, C] uint8.
        size: height and width (h, w) of the result.
        fraction: factor on the sides of the box.
        interpolation: a key of INTERPOLATIONS.

    Returns:
        [h, w, C] uint8.
    """
    return resize(image, size, interpolation=interpolation, box=center_box(image, size, fraction))


def center_box(image: np.ndarray, size: Size, fraction: float) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the box that `center_crop` resizes."""
    height, width, _ = image.shape
    zoom = min(height / size[0], width / size[1]) * fraction
    h, w = min(height, size[0] * zoom), min(width, size[1] * zoom)  # rounding may exceed a side
    top, left = (height - h) / 2, (width - w) / 2
    return left, top, left + w, top + h


def random_flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors an image, [H, W, C] uint8, left to right with probability 1/2."""
    if rng.random() >= 0.5:
        return image
    mirrored = np.empty_like(image)
    for channel in range(image.shape[2]):  # four times as fast as a copy of all channels at once
        mirrored[..., channel] = image[:, ::-1, channel]
    return mirrored
