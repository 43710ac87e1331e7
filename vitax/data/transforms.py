"""Image transforms: functions ``(example, rng) -> example`` over uint8 images; all randomness comes from ``rng``.

`train_transform` and `eval_transform` combine them. Sizes are (height, width) in pixels.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vitax.data.decode import Jpeg
from vitax.data.randaugment import color_jitter, rand_augment, random_erasing

Example = dict[str, Any]  # arrays and NumPy scalars
Size = tuple[int, int]
Step = Callable[..., np.ndarray]

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
    height, width, _ = image.shape
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
    return resize(image, size, interpolation=interpolation, box=(left, top, left + w, top + h))


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
    h, w = size[0] * zoom, size[1] * zoom
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


class Chain(NamedTuple):
    """A transform that applies steps to example["image"] one after the other.

    Attributes:
        fixed: steps ``image -> image``, which are applied first.
        random: steps ``(image, rng) -> image``, which are applied last.
        draft: whether a `Jpeg` is decoded as its crop needs it, and not whole.
    """

    fixed: tuple[Step, ...] = ()
    random: tuple[Step, ...] = ()
    draft: bool = False

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = example["image"] if self.draft else np.asarray(example["image"])
        for step in self.fixed:
            image = step(image)
        for step in self.random:
            image = step(image, rng)
        return {**example, "image": np.ascontiguousarray(image)}


def train_transform(
    image_size: Size,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    interpolation: str = "bicubic",
    crop: str = "random_resized",
    crop_scale: tuple[float, float] = (0.08, 1.0),
    crop_padding: int = 4,
    flip: bool = True,
    color_jitter_strength: float = 0.0,
    randaugment_layers: int = 0,
    randaugment_magnitude: float = 9.0,
    erasing: float = 0.0,
) -> Chain:
    """The transform for training.

    Args:
        image_size: height and width of the results.
        mean, std: normalisation of the data, which is used only for the noise of random erasing.
        interpolation: a key of INTERPOLATIONS.
        crop: "random_resized" (a box of ``crop_scale`` of the area), "pad" (a shift by up to ``crop_padding`` pixels)
            or "center" (no randomness).
        crop_scale: range of the share of the area that "random_resized" crops.
        crop_padding: largest shift of "pad", in pixels.
        flip: mirror images at random; switch it off where left and right have a meaning, as in writing.
        color_jitter_strength: strength of the colour jitter, see `color_jitter`; 0 = off.
        randaugment_layers: number of RandAugment operations per image, see `rand_augment`; 0 = off.
        randaugment_magnitude: mean strength of the RandAugment operations, 0..10.
        erasing: probability of random erasing.

    Raises:
        ValueError: a value is out of its range, or ``crop`` or ``interpolation`` is unknown.
    """
    low, high = crop_scale
    if not 0 < low <= high <= 1:
        raise ValueError(f"crop_scale={crop_scale} must be two numbers in (0, 1], the smaller first")
    for name, value, top in (
        ("crop_padding", crop_padding, math.inf),
        ("color_jitter_strength", color_jitter_strength, math.inf),
        ("randaugment_layers", randaugment_layers, math.inf),
        ("randaugment_magnitude", randaugment_magnitude, 10),
        ("erasing", erasing, 1),
    ):
        if not 0 <= value <= top:
            raise ValueError(f"{name}={value} must lie in 0..{top}")
    _check_interpolation(interpolation)
    cropping = _cropping(crop, crop_scale, crop_padding, dict(size=image_size, interpolation=interpolation))
    steps = list(cropping.random)
    if flip:
        steps.append(random_flip)
    if randaugment_layers:
        steps.append(functools.partial(rand_augment, layers=randaugment_layers, magnitude=randaugment_magnitude))
    if color_jitter_strength:
        steps.append(functools.partial(color_jitter, strength=color_jitter_strength))
    if erasing:
        steps.append(functools.partial(random_erasing, probability=erasing, mean=mean, std=std))
    return Chain(cropping.fixed, tuple(steps), draft=True)


def _cropping(crop: str, scale: tuple[float, float], padding: int, box: dict[str, Any]) -> Chain:
    """The first step of `train_transform`."""
    crops: dict[str, Chain] = {
        "random_resized": Chain(random=(functools.partial(random_resized_crop, scale=scale, **box),)),
        "pad": Chain(random=(functools.partial(pad_crop, padding=padding, **box),)),
        "center": Chain(fixed=(functools.partial(center_crop, **box),)),
    }
    if crop not in crops:
        raise ValueError(f"crop={crop!r} is unknown; choose one of {', '.join(crops)}")
    return crops[crop]


def eval_transform(image_size: Size, *, interpolation: str = "bicubic", test_crop_fraction: float = 0.875) -> Chain:
    """The transform for tests and predictions: `center_crop` with ``test_crop_fraction``.

    Args:
        image_size: height and width of the results.
        interpolation: a key of INTERPOLATIONS.
        test_crop_fraction: factor on the sides of the largest centred box that tests crop; 0 = the whole image is
            resized, whatever its shape, as many models of Hugging Face do.

    Raises:
        ValueError: ``test_crop_fraction`` is not in [0, 1], or ``interpolation`` is unknown.
    """
    if not 0 <= test_crop_fraction <= 1:
        raise ValueError(f"test_crop_fraction={test_crop_fraction} must lie in [0, 1]")
    _check_interpolation(interpolation)
    if not test_crop_fraction:
        return Chain(fixed=(functools.partial(resize, size=image_size, interpolation=interpolation),))
    step = functools.partial(center_crop, size=image_size, fraction=test_crop_fraction, interpolation=interpolation)
    return Chain(fixed=(step,))


def _check_interpolation(interpolation: str) -> None:
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ValueError(f"interpolation={interpolation!r} is unknown; choose one of {known}")
