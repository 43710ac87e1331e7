"""Decoding of image files of any kind to uint8 arrays."""

import contextlib
import io
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from vitax.data.tiff import check_tiff
from vitax.data.turbo import decode_jpeg
from vitax.data.values import decode_values
from vitax.sniff import seems
from vitax.specs import RGB, Pixels

LOGGER = logging.getLogger("vitax")
with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
with contextlib.suppress(ImportError):
    import pillow_jxl  # noqa: F401  (it registers itself)
# Formats that Pillow only recognises, or hands to another program.
NOT_DECODED = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF", "PDF"}
Image.init()
EXTENSIONS = frozenset(
    extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN.keys() - NOT_DECODED
)
KNOWN = ".jpg .png .webp .tif .gif .bmp and whatever else Pillow decodes"
# Texts in a PNG are no part of the picture; Pillow's limit of 1 MB would refuse a picture for their sake.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SCALES = (8, 4, 2)  # at which a decoder of JPEG gives a picture for less work
Box = tuple[float, float, float, float]
# Folders that cameras, network disks and desktops make; their images are copies.
COPIES = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information"}


def decode_image(data: bytes, pixels: Pixels = RGB) -> np.ndarray:
    """Decodes the bytes of an image file and turns the image upright according to its EXIF tag.

    Grey, palette, RGBA (transparency is dropped, as in torchvision and timm), CMYK and 16-bit files are converted;
    the first frame of an animation is used. A JPEG of more than ``pixels.max_pixels`` pixels is decoded at a half, a quarter or
    an eighth of its size. With a ``pixels.pixel_range``, nothing is converted: see `vitax.data.values.decode_values`.

    Args:
        data: content of the whole file.
        pixels: channels, greatest number of pixels, and range of the values.

    Returns:
        [H, W, C] uint8, or float32 with a ``pixels.pixel_range``; with ``pixels.draft``, a JPEG may be a `Jpeg`.

    Raises:
        ValueError, OSError: the data are not an image, are damaged or have more than ``pixels.max_pixels`` pixels.
    """
    if pixels.channels not in (1, 3) and not pixels.pixel_range:
        raise ValueError(f"channels={pixels.channels} is neither 1 (grey) nor 3 (RGB)")
    try:
        if pixels.pixel_range:
            return decode_values(data, pixels)
        with Image.open(io.BytesIO(data)) as image:
            if pixels.draft and _waits(image, pixels):
                return Jpeg(data, pixels, image.size)  # type: ignore[return-value]
            return to_array(image, pixels, data)
    except UnidentifiedImageError as error:
        kind = seems(data[:256])
        raise ValueError(f"not an image{kind}" if kind else "not an image, or damaged at its beginning") from error
    except (ValueError, OSError, MemoryError):
        raise
    # Pillow's decoders raise nearly anything for damaged data: SyntaxError, struct.error, IndexError, KeyError...
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def header_of(file: str | Path | IO[bytes]) -> Iterator[Image.Image]:
    """An image file of which only the header is read.

    Raises:
        ValueError, OSError: it is not an image, or its header claims more pixels than Pillow opens.
    """
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    with image:
        yield image


def _waits(image: Image.Image, pixels: Pixels) -> bool:
    """Whether an image can be decoded later: a JPEG that is upright, not too large, and in grey or colour."""
    small = image.width * image.height <= pixels.max_pixels
    return image.format == "JPEG" and image.mode in ("L", "RGB") and small and orientation(image) == 1


def to_array(image: Image.Image, pixels: Pixels, data: bytes = b"") -> np.ndarray:
    """An opened image as [H, W, channels] uint8, converted as `decode_image` does.

    Args:
        image: an image of which nothing is decoded yet.
        pixels: as in `decode_image`.
        data: content of its file, if it is at hand: a usual JPEG is then decoded sooner.

    Raises:
        ValueError: more than ``pixels.max_pixels`` pixels, or values without a known range.
    """
    if image.width * image.height > pixels.max_pixels:
        # Decoders of JPEG can give a half, a quarter or an eighth; others leave the size as it is.
        width, height = image.size
        scale = next((s for s in (2, 4, 8) if width * height <= pixels.max_pixels * s * s), 8)
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
        data = b""
    if image.width * image.height > pixels.max_pixels:
        raise ValueError(
            f"{image.width}x{image.height} is above {pixels.max_pixels:,} pixels; make it smaller, or raise data.max_pixels"
        )
    if image.format == "TIFF":
        check_tiff(image)
    mode = "RGB" if pixels.channels == 3 else "L"
    method = UPRIGHT.get(orientation(image))
    if data and method is None and (found := decode_jpeg(data, image, mode)) is not None:
        return found
    if method is not None:
        image = image.transpose(method)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_uint8(np.asarray(image)))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:  # convert() copies even without a change
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, pixels.channels)


class Undecodable(ValueError):
    """The content of a JPEG is damaged, which shows only when it is decoded."""


class Jpeg:
    """An upright JPEG, of which only the header was read.

    ``numpy.asarray`` gives all of its pixels.

    Args:
        data: content of the file.
        pixels: how it is decoded.
        size: (width, height) in pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, data: bytes, pixels: Pixels, size: tuple[int, int]):
        self.data, self.pixels = data, pixels
        self.shape = (size[1], size[0], pixels.channels)
        self.nbytes = len(data)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self.decoded(1)

    def decoded(self, scale: int) -> np.ndarray:
        """The picture at a ``scale``-th of its size, rounded up, [h, w, C] uint8.

        Raises:
            Undecodable: the file is damaged.
        """
        height, width, _ = self.shape
        try:
            with Image.open(io.BytesIO(self.data)) as image:
                if scale > 1:
                    image.draft(None, (width // scale, height // scale))
                return to_array(image, self.pixels, b"" if scale > 1 else self.data)
        except Exception as error:  # decoders raise nearly anything
            raise Undecodable(f"{type(error).__name__}: {error}") from error

    def for_box(self, box: Box | None, size: tuple[int, int]) -> tuple[np.ndarray, Box | None]:
        """The pixels from which a box is resized, and the box in them.

        The picture is decoded at a half, a quarter or an eighth, as long as the box keeps twice the pixels of ``size``.

        Args:
            box: (left, top, right, bottom) in pixels of the whole picture; None = all of it.
            size: (height, width) to which the box will be resized.

        Raises:
            Undecodable: the file is damaged.
        """
        height, width, _ = self.shape
        left, top, right, bottom = box or (0, 0, width, height)
        fits = lambda s: (right - left) / s >= 2 * size[1] and (bottom - top) / s >= 2 * size[0]
        scale = next((s for s in SCALES if fits(s)), 1)
        if scale == 1:
            return self.decoded(1), box
        found = self.decoded(scale)
        # The last pixel of a row or column stands for fewer pixels of the picture where its side is no multiple.
        right, bottom = min(right / scale, found.shape[1]), min(bottom / scale, found.shape[0])
        return found, (left / scale, top / scale, right, bottom)


def orientation(image: Image.Image) -> int:
    """The orientation in the EXIF data, 1..8; 1 = upright, also if they cannot be read: they are no part of the picture.

    `PIL.ImageOps.exif_transpose` writes all EXIF data again, and fails at any tag that it cannot write. Pillow turns a TIFF
    itself when it loads it, and gives the size of the upright picture before.
    """
    try:
        if image.format == "TIFF":
            return 1
        value = image.getexif().get(ORIENTATION, 1)
        return value if isinstance(value, int) else 1
    except Exception:
        return 1


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """The high byte of 16-bit grey values, which Pillow itself would clip at 255."""
    if values.dtype.kind == "f":
        raise ValueError("a floating-point image has no known range; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("pixel values do not fit in 16 bits; save the image with 8 or 16 bits")
    return (values.astype(np.uint32) >> 8).astype(np.uint8)


def visible(name: str) -> bool:
    """True for the name of a file or folder that a user has made: neither hidden, nor of a camera or network disk."""
    return name[0] != "." and name.lower() not in COPIES


def find_images(
    root: str | os.PathLike[str], aside: Counter[str] | None = None, folders: dict[str, int] | None = None
) -> list[str]:
    """The sorted paths of all image files below a folder, without hidden ones; links are followed once.

    Args:
        root: the folder.
        aside: counter of the extensions of the other files, to which this folder's are added.
        folders: {folder: time of its last change in ns}, to which this one and those below are added.
    """

    def unlisted(error: OSError) -> None:
        LOGGER.warning("%s cannot be listed, and is left out: %s", error.filename, error.strerror)
        if folders is not None:
            folders[str(error.filename)] = time.time_ns()

    paths, seen = [], set()
    for folder, children, files in os.walk(root, onerror=unlisted, followlinks=True):
        if folders is not None:
            folders[folder] = os.stat(folder).st_mtime_ns
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder that was visited already
            children.clear()
            continue
        seen.add(real)
        children[:] = [child for child in children if visible(child)]
        for file in filter(visible, files):
            extension = os.path.splitext(file)[1].lower()
            if extension in EXTENSIONS:
                paths.append(os.path.join(folder, file))
            elif aside is not None and file.lower() not in ("thumbs.db", "desktop.ini"):
                aside[extension or "without extension"] += 1
    return sorted(paths)


def tell_aside(root: object, aside: Counter[str]) -> None:
    """Warns, in one line, of files that are left aside because they are no images that can be decoded."""
    if aside:
        kinds = ", ".join(f"{count} {extension}" for extension, count in aside.most_common(8))
        heif = aside.keys() & {".heic", ".heif", ".hif"} and ".heic" not in EXTENSIONS
        hint = "; pip install pillow-heif, and HEIC photos are read" if heif else ""
        if ".jxl" in aside.keys() - EXTENSIONS:
            hint += "; pip install pillow-jxl-plugin, and JPEG XL is read"
        LOGGER.warning("%s: left aside, as no images: %s%s", root, kinds, hint)
