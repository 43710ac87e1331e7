"""Pictures of masks: the number of a class in each pixel, and colours for people."""

import colorsys
import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vitax.data.tiff import pictures

IGNORED = -1  # in the masks that a model sees: a pixel that is ignored
SAMPLED = 100  # masks that are read to find their numbers
SHARE = 0.55  # of the colours in an overlay; the rest is the image


class MaskRules(NamedTuple):
    """What the numbers in a mask mean.

    Attributes:
        ignored: number of the pixels that are ignored; -1 = none.
        reduce_zero_label: 0 is ignored too, and class 1 of the files is the first one, as in ADE20K.
    """

    ignored: int = 255
    reduce_zero_label: bool = False


def read_mask(data: bytes, classes: int, rules: MaskRules) -> np.ndarray:
    """A mask from a picture of numbers: grey of 1 to 16 bits, or the numbers of a palette's colours.

    Args:
        data: the contents of the file.
        classes: number of classes.
        rules: what the numbers mean.

    Returns:
        [H, W] int16 in 0..classes-1, or IGNORED.

    Raises:
        ValueError: the file has colours or is compressed with losses, or a number is that of no class.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            _check_picture(picture)
            numbers = np.asarray(picture).astype(np.int32) // _spread(picture, data)
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many kinds for damaged files
        raise ValueError(f"it is damaged, or no picture: {error}") from error
    ignored = numbers == rules.ignored
    if rules.reduce_zero_label:
        ignored |= numbers == 0
        numbers = numbers - 1
    wrong = ~ignored & ((numbers < 0) | (numbers >= classes))
    if wrong.any():
        first = int(numbers[wrong].min()) + rules.reduce_zero_label
        raise ValueError(
            f"the value {first} is not a class: there are {classes} classes, and data.ignored={rules.ignored}"
            + (", and 0 is ignored too" if rules.reduce_zero_label else "")
        )
    return np.where(ignored, IGNORED, numbers).astype(np.int16)


def _check_picture(picture: Image.Image) -> None:
    """Raises ValueError unless the values that Pillow gives are the numbers that the file holds."""
    lossy = picture.format == "TIFF" and picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    if lossy or picture.format not in ("PNG", "TIFF", "BMP", "GIF"):
        kind = f"{picture.format}{' of this compression' if lossy else ''}"
        raise ValueError(f"{kind} may change numbers; masks have to be PNG files, or TIFF, BMP or GIF without losses")
    if picture.format == "TIFF" and set(picture.tag_v2.get(258, (1,))) - {1, 8, 16}:  # type: ignore[attr-defined]
        raise ValueError("a TIFF of other than 1, 8 or 16 bits for each number; write a PNG")
    if picture.format == "TIFF" and picture.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
        raise ValueError("a TIFF in which 0 is white, so that Pillow would turn its numbers round; write a PNG")
    count = pictures(picture) if picture.format == "TIFF" else getattr(picture, "n_frames", 1)
    if count > 1:
        raise ValueError(f"it has {count} pictures, of which only the first one would be read; write a PNG")
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise ValueError(
            f"it has colours ({picture.mode}), where the number of a class belongs in each pixel; write a grey PNG, or one "
            "with a palette"
        )
    if picture.getexif().get(274, 1) != 1:
        raise ValueError("its EXIF data rotate it; save it as it lies on its image, without EXIF data")


def numbers_in(files: Sequence[str]) -> np.ndarray:
    """The numbers that occur in the masks of some files, ascending; what is no mask is left out."""
    found: set[int] = set()
    for file in files[:: -(-len(files) // SAMPLED)]:
        with contextlib.suppress(ValueError, OSError):
            found |= set(np.unique(read_mask(Path(file).read_bytes(), 1 << 15, MaskRules(-1))).tolist())
    return np.array(sorted(found))


def _spread(picture: Image.Image, data: bytes) -> int:
    """The factor by which Pillow has spread the grey values of a PNG of 2 or 4 bits over 0..255."""
    if picture.format != "PNG" or picture.mode != "L":
        return 1
    depth = data[24]  # of the header, which is the first part of the file
    return {2: 85, 4: 17}.get(depth, 1)


def colours(count: int) -> np.ndarray:
    """Colours that differ from their neighbours, [count, 3] uint8; the first one, often the background, is dark."""
    found = [
        colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.85, 0.6, 1.0)[k % 3], (0.95, 0.75, 0.6)[k // 3 % 3])
        for k in range(count - 1)
    ]
    return (255 * np.array([(0.12, 0.12, 0.14), *found])[:count]).round().astype(np.uint8)


def write_mask(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Writes a mask to a PNG whose values are the classes.

    Up to 256 classes are written with a palette, so that people see colours and programs read numbers; more as 16-bit grey.

    Args:
        path: path of the file.
        mask: [H, W] int, classes from 0 on.
    """
    if mask.max(initial=0) > 255:
        Image.fromarray(mask.astype(np.uint16)).save(path, "PNG")
        return
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette(colours(256).tobytes())
    picture.save(path, "PNG")


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image under the colours of its classes, [H, W, 3] uint8; pixels below class 0, which are ignored, stay as they are.

    Args:
        image: [H, W, 1 or 3] uint8.
        mask: [H, W] int.
    """
    tints = colours(int(mask.max(initial=0)) + 1)[np.maximum(mask, 0)]
    mixed = (1 - SHARE) * image.astype(np.float32) + SHARE * tints
    return np.where((mask >= 0)[..., None], mixed, image).round().astype(np.uint8)
