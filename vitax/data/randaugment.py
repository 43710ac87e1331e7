"""RandAugment, colour jitter and random erasing.

RandAugment (Cubuk et al. 2019, arXiv:1909.13719) has the form that DeiT, MAE and Swin train with, which timm calls
``rand-m9-mstd0.5-inc1``: there are fifteen operations whose strength grows with the magnitude. Each drawn operation is
applied with probability 1/2, and its magnitude is drawn from a normal distribution each time. Unlike in timm, pixels
from outside the image are always grey, and interpolation is always bilinear.
"""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GREY = 128
FULL_MAGNITUDE = 10.0


def color_jitter(image: np.ndarray, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    """Scales brightness, contrast and saturation by U(1 - strength, 1 + strength) each, in random order.

    Args:
        image: [H, W, C] uint8; a grey image has no saturation to change.
        strength: largest change of a factor, above 0; factors below 0 are raised to 0.
    """
    picture = _to_pil(image)
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    for k in rng.permutation(len(enhancers)):
        factor = max(0.0, rng.uniform(1 - strength, 1 + strength))
        picture = enhancers[k](picture).enhance(factor)
    return np.asarray(picture).reshape(image.shape)


def random_erasing(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    probability: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
) -> np.ndarray:
    """Fills one random box with noise (Zhong et al. 2017, arXiv:1708.04896; noise per pixel, as in DeiT and Swin).

    Args:
        image: [H, W, C] uint8 or float32; the result has the same shape and type.
        rng: source of the randomness.
        probability: probability that a box is erased.
        mean, std: mean and standard deviation of the noise, per channel on the scale 0..1: the normalisation of the
            data.
        area: range of the box's share of the image (up to 0.4 in the paper, up to a third in DeiT and Swin).
        ratio: range of the box's height / width, drawn uniformly on the log scale.
    """
    if rng.random() >= probability:
        return image
    height, width, channels = image.shape
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            noise = rng.normal(mean, std, (h, w, channels)) * 255
            image = image.copy()
            image[top : top + h, left : left + w] = noise.clip(0, 255).astype(image.dtype)
            return image
    return image


def rand_augment(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    layers: int,
    magnitude: float,
    magnitude_std: float = 0.5,
    probability: float = 0.5,
) -> np.ndarray:
    """Applies ``layers`` operations, drawn with replacement from OPERATIONS.

    Args:
        image: [H, W, C] uint8.
        layers: number of operations that are drawn.
        magnitude: mean strength, 0 (weakest) to 10.
        magnitude_std: standard deviation of the strength; draws are clipped to 0..10.
        probability: probability that a drawn operation is applied.
    """
    picture = _to_pil(image)
    for k in rng.integers(len(OPERATIONS), size=layers):
        if rng.random() < probability:
            drawn = np.clip(rng.normal(magnitude, magnitude_std), 0, FULL_MAGNITUDE)
            picture = OPERATIONS[k](picture, float(drawn / FULL_MAGNITUDE), rng)
    return np.asarray(picture).reshape(image.shape)


def _to_pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _signed(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    fill = (GREY,) * len(picture.getbands())
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BILINEAR,
        fillcolor=fill if len(fill) > 1 else GREY,
    )


# Each operation is a function (picture, strength 0..1, rng) -> picture.


def _auto_contrast(picture, strength, rng):
    return ImageOps.autocontrast(picture)


def _equalize(picture, strength, rng):
    return ImageOps.equalize(picture)


def _invert(picture, strength, rng):
    return ImageOps.invert(picture)


def _rotate(picture, strength, rng):
    fill = (GREY,) * len(picture.getbands())
    return picture.rotate(
        _signed(30 * strength, rng), Image.Resampling.BILINEAR, fillcolor=fill if len(fill) > 1 else GREY
    )


def _posterize(picture, strength, rng):
    # From 4 bits down to 1; with 0 bits, the image would be black.
    return ImageOps.posterize(picture, max(1, 4 - int(4 * strength)))


def _solarize(picture, strength, rng):
    return ImageOps.solarize(picture, 256 - min(256, int(256 * strength)))


def _solarize_add(picture, strength, rng):
    add = min(128, int(110 * strength))
    table = [min(255, value + add) if value < 128 else value for value in range(256)]
    return picture.point(table * len(picture.getbands()))


def _color(picture, strength, rng):
    return ImageEnhance.Color(picture).enhance(max(0.1, 1 + _signed(0.9 * strength, rng)))


def _contrast(picture, strength, rng):
    return ImageEnhance.Contrast(picture).enhance(max(0.1, 1 + _signed(0.9 * strength, rng)))


def _brightness(picture, strength, rng):
    return ImageEnhance.Brightness(picture).enhance(max(0.1, 1 + _signed(0.9 * strength, rng)))


def _sharpness(picture, strength, rng):
    return ImageEnhance.Sharpness(picture).enhance(max(0.1, 1 + _signed(0.9 * strength, rng)))


def _shear_x(picture, strength, rng):
    return _affine(picture, (1, _signed(0.3 * strength, rng), 0, 0, 1, 0))


def _shear_y(picture, strength, rng):
    return _affine(picture, (1, 0, 0, _signed(0.3 * strength, rng), 1, 0))


def _translate_x(picture, strength, rng):
    return _affine(picture, (1, 0, _signed(0.45 * strength, rng) * picture.width, 0, 1, 0))


def _translate_y(picture, strength, rng):
    return _affine(picture, (1, 0, 0, 0, 1, _signed(0.45 * strength, rng) * picture.height))


OPERATIONS = (
    _auto_contrast,
    _equalize,
    _invert,
    _rotate,
    _posterize,
    _solarize,
    _solarize_add,
    _color,
    _contrast,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
