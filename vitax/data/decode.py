"""Decoding of image files of any kind to uint8 arrays."""

import io
import os
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"]
MAX_PIXELS = 80_000_000  # a header may claim any size; decoding this many pixels takes about 1 GB


def decode_image(data: bytes, channels: int = 3) -> np.ndarray:
    """Decodes the bytes of an image file and turns the image upright according to its EXIF tag.

    Grey, palette, RGBA (transparency is dropped, as in torchvision and timm), CMYK and 16-bit files are converted;
    the first frame of an animation is used.

    Args:
        data: content of the whole file.
        channels: 3 for RGB, 1 for grey.

    Returns:
        [H, W, channels] uint8.

    Raises:
        ValueError, OSError: the data are not an image, are damaged or have more than MAX_PIXELS pixels.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels} is neither 1 (grey) nor 3 (RGB)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return to_array(image, channels)
    except UnidentifiedImageError as error:
        raise ValueError("not an image, or damaged at its beginning") from error
    except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ValueError(str(error)) from error


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """An opened image as [H, W, channels] uint8, converted as `decode_image` does.

    Raises:
        ValueError: above MAX_PIXELS, or values without a known range.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} is above {MAX_PIXELS:,} pixels")
    ImageOps.exif_transpose(image, in_place=True)  # otherwise it also copies upright images
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_uint8(np.asarray(image)))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    mode = "RGB" if channels == 3 else "L"
    if image.mode != mode:  # convert() copies even without a change
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, channels)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """The high byte of 16-bit grey values, which Pillow itself would clip at 255."""
    if values.dtype.kind == "f":
        raise ValueError("a floating-point image has no known range; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("pixel values do not fit in 16 bits; save the image with 8 or 16 bits")
    return (values.astype(np.uint32) >> 8).astype(np.uint8)


def find_images(root: str | os.PathLike[str]) -> list[str]:
    """The sorted paths of all image files below a folder, without hidden ones; links are followed once."""
    paths, seen = [], set()
    for folder, children, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder that was visited already
            children.clear()
            continue
        seen.add(real)
        children[:] = [child for child in children if child[0] != "."]
        paths += [
            os.path.join(folder, file)
            for file in files
            if file[0] != "." and os.path.splitext(file)[1].lower() in EXTENSIONS
        ]
    return sorted(paths)


def write_png(path: str | os.PathLike[str] | IO[bytes], image: np.ndarray) -> None:
    """Writes an image, [H, W, 1 or 3] uint8, to a PNG file."""
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path, "PNG")
