"""Checks of TIFF files: numbers that Pillow would misread and pictures that it would leave out are refused."""

from typing import Any

from PIL import Image, TiffImagePlugin

SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 254, 258, 262, 339  # tags
REDUCED_OR_MASK = 1 | 4  # bits of the subfile type: a smaller copy, a mask
SIGNED = 2


def check_tiff(image: Image.Image) -> None:
    """Checks an opened TIFF, which is to become uint8.

    Raises:
        ValueError: it has several pictures, integers without a known range, or 16 bits of which 0 is white.
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags: Any = image.tag_v2
    bits = max(tags.get(BITS, (1,)))
    instead = "save it with 8 or 16 bits, or set data.pixel_range"
    if image.mode == "I" and (bits > 16 or SIGNED in tags.get(SAMPLE_FORMAT, (1,))):
        raise ValueError(
            f"a TIFF with {'signed' if bits <= 16 else f'{bits}-bit'} integers has no known range; {instead}"
        )
    if image.mode.startswith("I;16") and bits != 16:
        raise ValueError(f"a TIFF with {bits}-bit integers, whose range Pillow does not tell; {instead}")
    if bits == 16 and tags.get(PHOTOMETRIC) == 0:
        raise ValueError("a TIFF of 16 bits in which 0 is white; save it so that 0 is black")
    if (count := pictures(image)) > 1:
        raise ValueError(f"a TIFF with {count} pictures; save each of them as a file of its own")


def pictures(image: Any) -> int:
    """The number of pictures in an opened TIFF, without smaller copies and masks of them."""
    if not image.is_animated:
        return 1
    count = 0
    for i in range(image.n_frames):
        image.seek(i)
        count += not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED_OR_MASK
    image.seek(0)
    return count
