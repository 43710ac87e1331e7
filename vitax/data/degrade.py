"""Damage that a network learns to undo: fewer pixels, noise, JPEG. Sizes are (height, width) in pixels."""

import io

import numpy as np
from PIL import Image

from vitax.data.crops import resize

DEGRADATIONS = ("bicubic", "noise", "jpeg")


def degrade(image: np.ndarray, rng: np.random.Generator, *, kind: str, scale: int, strength: float) -> np.ndarray:
    """A damaged copy of an image.

    Args:
        image: [H, W, C] uint8; for "bicubic", H and W are multiples of ``scale``.
        rng: source of the noise.
        kind: "bicubic" reduces each side to 1/scale, antialiased, like MATLAB's imresize except for its rounding and
            its borders; "noise" adds Gaussian noise; "jpeg" encodes and decodes the image.
        scale: factor of "bicubic"; 1 for noise and JPEG.
        strength: standard deviation of the noise on the scale 0..255, or quality 1..100 of JPEG.

    Returns:
        [H/scale, W/scale, C] float32 on the scale 0..255; noisy values are neither rounded nor clipped, as in the
        papers.
    """
    if kind == "bicubic":
        height, width, _ = image.shape
        small = resize(image, (height // scale, width // scale), interpolation="bicubic")
        return small.astype(np.float32)
    if kind == "noise":
        noise = rng.normal(0, strength, image.shape)
        return (image + noise).astype(np.float32)
    buffer = io.BytesIO()
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(squeezed).save(buffer, "JPEG", quality=int(strength))
    return np.asarray(Image.open(buffer), np.float32).reshape(image.shape)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """The baseline that restoration has to beat: an image, [H, W, C] on 0..255, enlarged bicubically.

    With ``scale`` 1, the image is returned unchanged.
    """
    if scale == 1:
        return image
    height, width, _ = image.shape
    pixels = image.round().clip(0, 255).astype(np.uint8)
    return resize(pixels, (height * scale, width * scale), interpolation="bicubic").astype(np.float32)
