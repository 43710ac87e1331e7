"""Transforms of an image together with its mask: one box of both, resized, so that pixels and classes stay together."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.crops import resize
from vitax.data.mask_files import IGNORED
from vitax.data.randaugment import color_jitter

Example = dict[str, Any]
Size = tuple[int, int]
ATTEMPTS = 10  # crops that are tried to bound the share of one class, as in mmsegmentation


class Window(NamedTuple):
    """A window of a resized image.

    Attributes:
        full: height and width of the whole image after resizing, in pixels.
        top, left: the first row and column of the window.
        size: height and width of the window; what lies beyond the image is filled up, below and to the right.
    """

    full: Size
    top: int
    left: int
    size: Size

    def image(self, image: np.ndarray, fill: tuple[float, ...]) -> np.ndarray:
        """The window of an image [H, W, C], bilinear with antialiasing; ``fill`` = the value of each channel beyond it."""
        inner = self._inner()
        height, width, channels = image.shape
        (down, across), (h, w) = (height / self.full[0], width / self.full[1]), inner
        box = (self.left * across, self.top * down, (self.left + w) * across, (self.top + h) * down)
        box = (box[0], box[1], min(box[2], width), min(box[3], height))  # rounding may exceed the image by 1e-13
        piece = resize(image, inner, interpolation="bilinear", box=box)
        if inner == self.size:
            return piece
        out = np.empty((*self.size, channels), image.dtype)
        out[:] = np.asarray(fill, np.float64).round().astype(image.dtype)
        out[:h, :w] = piece
        return out

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """The window of a mask [H, W]: for each pixel the class at its centre; IGNORED beyond the mask."""
        h, w = self._inner()
        rows, columns = (
            np.minimum(((first + np.arange(count) + 0.5) * old / new).astype(int), old - 1)
            for first, count, old, new in zip((self.top, self.left), (h, w), mask.shape, self.full, strict=True)
        )
        out = np.full(self.size, IGNORED, mask.dtype)
        out[:h, :w] = mask[rows][:, columns]
        return out

    def _inner(self) -> Size:
        """Height and width of what lies inside the image."""
        return min(self.size[0], self.full[0] - self.top), min(self.size[1], self.full[1] - self.left)


class PairTransform(NamedTuple):
    """Transform of {"image" [H, W, C], "mask" [H, W]}: both are resized and cut to one size.

    Attributes:
        size: height and width of the results.
        short_side: length of the shorter side of the resized image, before the random scale.
        long_side: greatest length of its longer side; 0 = any.
        fill: value of each channel where an image is smaller than the crop.
        random: whether the scale, the place and the rest are drawn; otherwise the scale is 1 and the crop in the middle.
        scale: range of the random scale, which is drawn uniformly.
        max_share: greatest share of one class in a crop; 1 = any.
        flip: whether both are mirrored with probability 1/2.
        jitter: strength of the colour jitter; 0 = off.
    """

    size: Size
    short_side: int
    long_side: int
    fill: tuple[float, ...]
    random: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    max_share: float = 1.0
    flip: bool = False
    jitter: float = 0.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image, mask = np.asarray(example["image"]), example["mask"]
        if not self.random:
            full = self.full_size(image.shape[:2])  # a picture to predict has a mask of another size
            top, left = (max(0, (a - b) // 2) for a, b in zip(full, self.size, strict=True))
            window = Window(full, top, left, self.size)
            return {**example, "image": window.image(image, self.fill), "mask": window.mask(mask)}
        full = self.full_size(mask.shape, rng.uniform(*self.scale))
        window, piece = self._drawn(mask, full, rng)
        image = window.image(image, self.fill)
        if self.flip and rng.random() < 0.5:
            image, piece = image[:, ::-1], piece[:, ::-1]
        if self.jitter:
            image = color_jitter(np.ascontiguousarray(image), rng, strength=self.jitter)
        return {**example, "image": np.ascontiguousarray(image), "mask": np.ascontiguousarray(piece)}

    def full_size(self, size: Sequence[int], scale: float = 1.0) -> Size:
        """The height and width in whole pixels to which an image of a size is resized, times a scale."""
        factor = self.short_side / min(size)
        if self.long_side:
            factor = min(factor, self.long_side / max(size))
        return max(1, round(size[0] * factor * scale)), max(1, round(size[1] * factor * scale))

    def _drawn(self, mask: np.ndarray, full: Size, rng: np.random.Generator) -> tuple[Window, np.ndarray]:
        """A random window in which no class has more than its share, if one is found, and its mask."""
        for _ in range(ATTEMPTS):
            top, left = (int(rng.integers(max(0, a - b) + 1)) for a, b in zip(full, self.size, strict=True))
            window = Window(full, top, left, self.size)
            piece = window.mask(mask)
            counts = np.bincount(piece[piece != IGNORED])
            if self.max_share >= 1 or (np.count_nonzero(counts) > 1 and counts.max() < self.max_share * counts.sum()):
                break
        return window, piece


def train_pairs(
    image_size: Size,
    mean: tuple[float, ...],
    *,
    short_side: int = 0,
    long_side: int = 0,
    crop_scale: tuple[float, float] = (0.5, 2.0),
    max_class_share: float = 0.75,
    flip: bool = True,
    color_jitter_strength: float = 0.0,
) -> PairTransform:
    """The transform for training: a random scale, a crop, a mirror and colours, much as mmsegmentation trains.

    Args:
        image_size: height and width of the crops.
        mean: mean of each channel on the scale 0..1, with which an image is filled up that is smaller than the crop.
        short_side: length to which the shorter side of every image is resized, before the random scale; 0 = the shorter side
            of the crops.
        long_side: greatest length of the longer side before the random scale, which makes longer images smaller; 0 = any.
        crop_scale: range of the random scale.
        max_class_share: greatest share of one class in a crop, if one of ten has less; 1 = any.
        flip: mirror images at random; switch it off where left and right have a meaning.
        color_jitter_strength: strength of the colour jitter, see `color_jitter`; 0 = off.

    Raises:
        ValueError: a value is out of its range.
    """
    low, high = crop_scale
    if not 0 < low <= high or math.isinf(high):
        raise ValueError(f"crop_scale={crop_scale} must be two positive numbers, the smaller first")
    if not 0 < max_class_share <= 1 or color_jitter_strength < 0:
        raise ValueError(
            f"max_class_share={max_class_share} must lie in (0, 1], and color_jitter_strength={color_jitter_strength} must not "
            "be negative"
        )
    return eval_pairs(image_size, mean, short_side=short_side, long_side=long_side)._replace(
        random=True, scale=crop_scale, max_share=max_class_share, flip=flip, jitter=color_jitter_strength
    )


def eval_pairs(image_size: Size, mean: tuple[float, ...], *, short_side: int = 0, long_side: int = 0) -> PairTransform:
    """The transform for the means over a test: the middle of every image; whole images are measured by `evals`.

    Args:
        image_size: height and width of the results.
        mean: as in `train_pairs`.
        short_side: length to which the shorter side of every image is resized; 0 = the shorter side of ``image_size``.
        long_side: greatest length of the longer side, which makes longer images smaller; 0 = any.

    Raises:
        ValueError: a side is negative.
    """
    if short_side < 0 or long_side < 0:
        raise ValueError(f"short_side={short_side} and long_side={long_side} must not be negative")
    return PairTransform(image_size, short_side or min(image_size), long_side, tuple(255 * value for value in mean))
