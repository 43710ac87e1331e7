"""Decoding of usual JPEG files by libjpeg-turbo itself, if ``vitax[jpeg]`` is installed: the same bytes as Pillow's, sooner.

Pillow uses the same library, but stores four bytes for each pixel, from which an array is made afterwards.
"""

from typing import Any

import numpy as np
from PIL import Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

COLOURS = {"RGB": "RGB", "L": "GRAY"}  # mode of Pillow -> name in libjpeg-turbo


def decode_jpeg(data: bytes, image: Image.Image, mode: str) -> np.ndarray | None:
    """The pixels of a JPEG, [H, W, C] uint8; None = Pillow has to decode it.

    Args:
        data: content of the file.
        image: the file as Pillow has opened it, of which nothing is decoded yet.
        mode: "RGB" or "L"; files of the other kind are left to Pillow, and so is whatever is damaged or unusual.
    """
    if simplejpeg is None or image.format != "JPEG" or image.mode != mode:
        return None
    decode: Any = simplejpeg.decode_jpeg
    try:
        pixels = decode(data, COLOURS[mode], strict=True)
    except (ValueError, MemoryError):
        return None
    return pixels if pixels.shape[1::-1] == image.size else None
