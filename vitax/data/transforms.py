"""Image transforms: functions ``(example, rng) -> example`` over uint8 images; all randomness comes from ``rng``.

`train_transform` and `eval_transform` combine the steps of `vitax.data.crops` and `vitax.data.randaugment`. Sizes are
(height, width) in pixels.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vitax.data.crops import (
    INTERPOLATIONS,
    Example,
    Size,
    center_crop,
    pad_crop,
    random_flip,
    random_resized_crop,
    resize,
)
from vitax.data.device_crops import DeviceCrop
from vitax.data.randaugment import color_jitter, rand_augment, random_erasing

Step = Callable[..., np.ndarray]
GREATEST = {"randaugment_magnitude": 10, "erasing": 1, "resize_on_device": 8192}  # others have no limit


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

    @property
    def draws(self) -> bool:
        """Whether results depend on the random numbers."""
        return bool(self.random)

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
    resize_on_device: int = 0,
) -> Chain | DeviceCrop:
    """The transform for training.

    Args:
        image_size: height and width of the results.
        mean, std: normalisation of the data, which is used only for the noise of random erasing.
        interpolation: a key of `vitax.data.crops.INTERPOLATIONS`.
        crop: "random_resized" (a box of ``crop_scale`` of the area), "pad" (a shift by up to ``crop_padding`` pixels)
            or "center" (no randomness).
        crop_scale: range of the share of the area that "random_resized" crops.
        crop_padding: largest shift of "pad", in pixels.
        flip: mirror images at random; switch it off where left and right have a meaning, as in writing.
        color_jitter_strength: strength of the colour jitter, see `color_jitter`; 0 = off.
        randaugment_layers: number of RandAugment operations per image, see `rand_augment`; 0 = off.
        randaugment_magnitude: mean strength of the RandAugment operations, 0..10.
        erasing: probability of random erasing.
        resize_on_device: side in pixels up to which random crops are sent to the device as they are, and resized there;
            0 = the host resizes all. 512 suits photographs of 500x375 pixels. It helps if an accelerator waits for data, and
            multiplies the traffic to it; a CPU takes longer than it saves. Values differ a little, see `vitax.augment.resize_crops`.

    Raises:
        ValueError: a value is out of its range, a name is unknown, or images that the device resizes are changed after it.
    """
    later = dict(color_jitter_strength=color_jitter_strength, randaugment_layers=randaugment_layers, erasing=erasing)
    ranges = later | dict(crop_padding=crop_padding, randaugment_magnitude=randaugment_magnitude)
    _check_ranges(crop_scale, **ranges, resize_on_device=resize_on_device)
    _check_interpolation(interpolation)
    if resize_on_device:
        _check_device(image_size, resize_on_device, crop, interpolation, later)
        return DeviceCrop(image_size, crop_scale, interpolation, flip, resize_on_device)
    cropping = _cropping(crop, crop_scale, crop_padding, dict(size=image_size, interpolation=interpolation))
    steps = [*cropping.random, random_flip] if flip else list(cropping.random)
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
        interpolation: a key of `vitax.data.crops.INTERPOLATIONS`.
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


def _check_ranges(crop_scale: tuple[float, float], **values: float) -> None:
    low, high = crop_scale
    if not 0 < low <= high <= 1:
        raise ValueError(f"crop_scale={crop_scale} must be two numbers in (0, 1], the smaller first")
    for name, value in values.items():
        top = GREATEST.get(name, math.inf)
        if not 0 <= value <= top:
            raise ValueError(f"{name}={value} must lie in 0..{top}")


def _check_device(image_size: Size, side: int, crop: str, interpolation: str, later: dict[str, float]) -> None:
    """Raises an error if a crop cannot be resized on the device; ``later`` = strengths of the changes after resizing."""
    if side < max(image_size):  # larger crops are sent at this size
        raise ValueError(
            f"resize_on_device={side} must be at least {max(image_size)}, the larger side of image_size={image_size}"
        )
    if any(later.values()):
        raise ValueError(f"resize_on_device: {', '.join(later)} change resized images on the host; set them to 0")
    if crop != "random_resized" or interpolation == "nearest":
        raise ValueError("resize_on_device is for crop='random_resized' with interpolation='bicubic' or 'bilinear'")


def _check_interpolation(interpolation: str) -> None:
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ValueError(f"interpolation={interpolation!r} is unknown; choose one of {known}")
