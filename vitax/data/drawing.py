"""Images for people: boxes drawn into them, values and channels made visible, PNG files."""

import os
from collections.abc import Sequence
from typing import IO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitax.data.mask_files import colours

LEAST = 480  # pixels; smaller pictures are enlarged, so that the words can be read


def boxed(image: np.ndarray, boxes: np.ndarray, labels: Sequence[int], words: Sequence[str]) -> np.ndarray:
    """A picture with boxes, each in the colour of its class and with a word at its corner.

    Pictures of less than LEAST pixels on their longer side are enlarged by a whole number.

    Args:
        image: [H, W, 1 or 3] uint8.
        boxes: [n, 4] left, top, right, bottom in pixels.
        labels: n numbers of classes.
        words: n words.

    Returns:
        [H', W', 3] uint8.
    """
    height, width = image.shape[:2]
    factor = max(1, -(-LEAST // max(height, width)))
    picture = Image.fromarray(np.broadcast_to(image, (height, width, 3)).astype(np.uint8))
    picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    draw, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 400)
    font = ImageFont.load_default(max(12, max(picture.size) // 45))
    tints = colours(max(labels, default=0) + 2)
    for box, label, word in zip(np.asarray(boxes) * factor, labels, words, strict=True):
        colour = tuple(int(c) for c in tints[label + 1])  # the first colour is black
        left, top, right, bottom = (float(side) for side in box)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        place = draw.textbbox((left + line, top + line), word, font=font)
        draw.rectangle(place, fill=colour)
        dark = sum(colour) > 382
        draw.text((left + line, top + line), word, fill=(0, 0, 0) if dark else (255, 255, 255), font=font)
    return np.asarray(picture)


def write_png(path: str | os.PathLike[str] | IO[bytes], image: np.ndarray) -> None:
    """Writes an image, [H, W, 1 or 3] uint8, or one of values as `viewable` shows it, to a PNG file."""
    image = viewable(image)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path, "PNG")


def viewable(image: np.ndarray) -> np.ndarray:
    """An image [H, W, C] as a picture for a person, [H, W, 1 or 3] uint8.

    Of values or of many channels, the first three are taken, or the first of two, and their 2nd to 98th percentile becomes
    the range from black to white.
    """
    if image.dtype == np.uint8 and image.shape[-1] in (1, 3):
        return np.asarray(image)
    shown = image[..., : 3 if image.shape[-1] > 2 else 1].astype(np.float32)
    low, high = np.percentile(shown, (2, 98))
    return ((shown - low) * (255 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8)
