"""Decoding of images that are no photographs: many channels, 16 bits, or floating point, with their values as they are."""

import io

import numpy as np
from PIL import Image

from vitax.specs import Pixels

NO_DATA = 42113  # the tag of GDAL with the value that stands for nothing
ORIENTATION = 274
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
DEPTH = 24  # place of the byte with the bits of a channel in a PNG


def decode_values(data: bytes, pixels: Pixels) -> np.ndarray:
    """The values in an image file, none of them converted, on the scale on which ``pixels.pixel_range`` is 255.

    A TIFF may have any number of channels, in any order of its axes, of 8 to 32 bits, whole or floating-point. Pixels that
    GDAL marks as without data become 0. Other formats are read by Pillow where it keeps their values: 8 bits, or 16 bits of grey.

    Args:
        data: content of the whole file.
        pixels: the file must have exactly these channels.

    Returns:
        [H, W, C] float32.

    Raises:
        ValueError, OSError: the file cannot be read, has other channels or more pixels, or what its values mean is not clear.
    """
    return scaled_values(
        _tiff(data, pixels.max_pixels) if data[:4] in TIFF else _picture(data, pixels.max_pixels), pixels
    )


def scaled_values(values: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Values [H, W, C] on the scale on which ``pixels.pixel_range`` is 255, float32.

    Raises:
        ValueError: there are other channels, too many pixels, or values that are not finite.
    """
    height, width, channels = values.shape
    if channels != pixels.channels:
        raise ValueError(f"{channels} channels, and data.channels={pixels.channels}")
    if height * width > pixels.max_pixels:
        raise ValueError(f"{width}x{height} is above {pixels.max_pixels:,} pixels; raise data.max_pixels")
    return on_scale(values, pixels.pixel_range)


def on_scale(values: np.ndarray, pixel_range: float) -> np.ndarray:
    """Values of any shape on the scale on which ``pixel_range`` is 255, float32.

    Raises:
        ValueError: some of them are not finite.
    """
    scaled = values.astype(np.float32) * np.float32(255 / pixel_range)
    if not np.isfinite(scaled).all():
        raise ValueError("it holds values that are not finite")
    return scaled


def _tiff(data: bytes, max_pixels: int) -> np.ndarray:
    """The values [H, W, C] of the picture in a TIFF.

    Its axes of time or depth are channels, if they are as many.

    Raises:
        ValueError, OSError: it cannot be read, holds several pictures, or what its values mean is not clear.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ValueError('a TIFF with its own values needs tifffile: pip install "vitax[tiff]"') from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            # Smaller copies and masks, which GDAL keeps in the same file, are no pictures of their own.
            pictures = [one for one in file.series if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
            if len(pictures) != 1:
                raise ValueError(f"a TIFF with {len(pictures)} pictures")
            page = file.pages.first
            _check(page)
            if pictures[0].is_multifile:
                raise ValueError("a part of an OME-TIFF of several files: write all channels to one file")
            if page.imagewidth * page.imagelength > max_pixels:
                raise ValueError(
                    f"{page.imagewidth}x{page.imagelength} is above {max_pixels:,} pixels; raise data.max_pixels"
                )
            values, axes, empty = pictures[0].asarray(), pictures[0].axes, page.tags.get(NO_DATA)
    except (ValueError, OSError):
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise ValueError(f"a TIFF that cannot be read: {type(error).__name__}: {error}") from error
    kept = [axis for axis, size in zip(axes, values.shape, strict=True) if size > 1 or axis in "YX"]
    values = values.reshape([size for axis, size in zip(axes, values.shape, strict=True) if axis in kept])
    if len(kept) > 3 or kept.count("Y") != 1 or kept.count("X") != 1:
        raise ValueError(
            f"a TIFF of shape {values.shape} with the axes {axes}, where rows, columns and channels belong"
        )
    values = values[..., None] if len(kept) == 2 else values
    order = [kept.index("Y"), kept.index("X")]
    values = values.transpose(*order, next(place for place in range(3) if place not in order))
    if values.dtype.kind not in "uif":
        raise ValueError(f"a TIFF with values of type {values.dtype}")
    if empty is not None:
        values = np.where(_is_empty(values, str(empty.value)), 0, values)
    return values


def _is_empty(values: np.ndarray, tag: str) -> np.ndarray:
    """Where values are the one that stands for nothing; GDAL writes it as a decimal, which the type of the values may round.

    Raises:
        ValueError: the tag is no number.
    """
    try:
        nothing = float(tag)
    except ValueError as error:
        raise ValueError(f"a TIFF whose value for no data is {tag!r}, which is not a number") from error
    if np.isnan(nothing):
        return np.isnan(values)
    if values.dtype.kind == "f":
        limits = np.finfo(values.dtype)
        return values == np.clip(nothing, float(limits.min), float(limits.max)).astype(values.dtype)
    return values.astype(np.float64) == nothing


def _check(page) -> None:
    """Refuses a page whose values are not what they seem.

    Raises:
        ValueError: values are numbers of colours, inverted, or coded as lightness; or the picture is turned.
    """
    kind = page.photometric.name
    if kind not in ("MINISBLACK", "RGB"):
        raise ValueError(f"a TIFF whose values are {kind}, not brightness: save it as grey or RGB channels")
    turned = page.tags.get(ORIENTATION)
    if turned is not None and turned.value != 1:
        raise ValueError(f"a TIFF that is turned (orientation {int(turned.value)}): save it upright")


def _picture(data: bytes, max_pixels: int) -> np.ndarray:
    """The values [H, W, C] of a file that Pillow reads.

    Raises:
        ValueError, OSError: it cannot be read, or Pillow would change its values.
    """
    with Image.open(io.BytesIO(data)) as image:
        depth = data[DEPTH] if image.format == "PNG" else 8
        # Of other formats and depths, Pillow rescales the values or drops bits without a word.
        kept = ("I;16", "I") if depth == 16 else ("L", "LA", "RGB", "RGBA") if depth == 8 else ()
        if image.format not in ("PNG", "JPEG", "WEBP", "BMP") or image.mode not in kept:
            raise ValueError(
                f"a {image.format} of mode {image.mode}{f' and {depth} bits' if depth != 8 else ''}, whose values Pillow may "
                "convert: save it as a TIFF"
            )
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} is above {max_pixels:,} pixels; raise data.max_pixels")
        if image.getexif().get(ORIENTATION, 1) != 1:
            raise ValueError("an image that its EXIF tag turns: save it upright")
        values = np.asarray(image)
    return values.reshape(*values.shape[:2], -1)
