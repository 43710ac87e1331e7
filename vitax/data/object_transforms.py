"""Transforms of an image together with the boxes in it, to a picture at the top left of an image of fixed size."""

import math
from typing import Any, NamedTuple

import numpy as np

from vitax.data.crops import resize
from vitax.data.randaugment import color_jitter

Example = dict[str, Any]
Size = tuple[int, int]
WHOLE = (0.5, 0.5, 1.0, 1.0)  # the box of an object that is not there: any with an area would do


def fitted_size(size: Size, short_side: int, long_side: int, box: Size) -> Size:
    """The size (height, width) of a picture whose shorter side has a length, in whole pixels.

    It is smaller if the longer side would exceed ``long_side``, or the picture a box (height, width).
    """
    factor = min(short_side / min(size), long_side / max(size), box[0] / size[0], box[1] / size[1])
    height, width = (max(1, min(round(side * factor), most)) for side, most in zip(size, box, strict=True))
    return height, width


def moved(example: Example, left: float, top: float, width: float, height: float) -> Example:
    """The boxes of an example in a window of its image, cut at its edges; objects that are outside are left out.

    Args:
        example: "boxes" [n, 4], left, top, right and bottom in pixels, and "label", "ignored", "area" [n].
        left, top, width, height: the window in pixels.
    """
    boxes = example["boxes"] - np.array([left, top, left, top], np.float32)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return {**example, "boxes": boxes[kept], **{name: example[name][kept] for name in ("label", "ignored", "area")}}


class BoxTransform(NamedTuple):
    """Transform of {"image", "boxes", "label", "ignored", "area"} to arrays of fixed shapes.

    Attributes:
        size: height and width of the images that pictures are put into.
        max_objects: number N of boxes of an example.
        short_sides: lengths of the shorter side of the picture, one of which is drawn.
        long_side: greatest length of the longer side.
        fill: value of each channel beyond the picture.
        crop_scale: range of each side of a crop, as a share of the image's side; half of the images are cropped; (1, 1) = none.
        flip: whether half of the images are mirrored.
        jitter: strength of the colour jitter; 0 = off.
    """

    size: Size
    max_objects: int
    short_sides: tuple[int, ...]
    long_side: int
    fill: tuple[float, ...]
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    jitter: float = 0.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example with these arrays.

        "image" [H, W, C], "size" [2] int32 height and width of the picture in it, "original" [2] int32 those of the decoded picture; "boxes"
        [N, 4] float32 centre (x, y), width and height as shares of the picture; "label" [N] int32, -1 = no object; "ignored" [N]
        bool; "area" [N] float32 in pixels of the decoded picture.
        """
        image = np.asarray(example["image"])
        original = image.shape[:2]
        if self.flip and rng.random() < 0.5:
            image, boxes = image[:, ::-1], example["boxes"].copy()
            boxes[:, [0, 2]] = original[1] - boxes[:, [2, 0]]
            example = {**example, "boxes": boxes}
        if self.crop_scale != (1.0, 1.0) and rng.random() < 0.5:
            h, w = (max(1, round(side * rng.uniform(*self.crop_scale))) for side in original)
            top, left = int(rng.integers(original[0] - h + 1)), int(rng.integers(original[1] - w + 1))
            image, example = image[top : top + h, left : left + w], moved(example, left, top, w, h)
        short = self.short_sides[int(rng.integers(len(self.short_sides)))] if len(self.short_sides) > 1 else None
        full = fitted_size(image.shape[:2], short or self.short_sides[0], self.long_side, self.size)
        piece = resize(np.ascontiguousarray(image), full, interpolation="bilinear")
        if self.jitter:
            piece = color_jitter(piece, rng, strength=self.jitter)
        out = np.empty((*self.size, image.shape[2]), image.dtype)
        out[:] = np.asarray(self.fill, np.float64).round().astype(image.dtype)
        out[: full[0], : full[1]] = piece
        pixels = {"image": out, "size": np.array(full, np.int32), "original": np.array(original, np.int32)}
        return pixels | self._objects(example, image.shape[:2])

    def _objects(self, example: Example, size: Size) -> Example:
        """The objects as arrays of ``max_objects`` rows; an example without any, such as a picture to predict, has none."""
        there = np.asarray(example.get("label", ())) >= 0
        count = int(there.sum())
        if count > self.max_objects:
            raise ValueError(f"it has {count} objects, more than data.max_objects={self.max_objects}")
        boxes = np.tile(np.array(WHOLE, np.float32), (self.max_objects, 1))
        label = np.full(self.max_objects, -1, np.int32)
        ignored, area = np.zeros(self.max_objects, bool), np.zeros(self.max_objects, np.float32)
        if count:
            corners = example["boxes"][there] / np.array([size[1], size[0], size[1], size[0]], np.float32)
            boxes[:count] = np.concatenate(
                [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
            )
            label[:count], ignored[:count], area[:count] = (
                example[name][there] for name in ("label", "ignored", "area")
            )
        return {"boxes": boxes, "label": label, "ignored": ignored, "area": area}


def train_objects(
    image_size: Size,
    max_objects: int,
    mean: tuple[float, ...],
    *,
    short_side: int = 0,
    long_side: int = 0,
    short_sides: tuple[int, ...] = (),
    crop_scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    color_jitter_strength: float = 0.0,
) -> BoxTransform:
    """The transform for training: mirrored, cut and scaled at random, much as DETR was trained.

    Args:
        image_size: height and width of the images.
        max_objects: number of boxes of an example.
        mean: mean of each channel on the scale 0..1, which is the value beyond a picture.
        short_side: length of the shorter side of a picture; 0 = the shorter side of ``image_size``. A picture that would exceed
            ``long_side`` or ``image_size`` is smaller.
        long_side: greatest length of the longer side; 0 = that of ``image_size``.
        short_sides: lengths of the shorter side in training, one of which is drawn; () = ``short_side``.
        crop_scale: range of each side of a crop, as a share of the image's side; half of the images are cropped; (1, 1) = none.
        flip: mirror images at random; switch it off where left and right have a meaning.
        color_jitter_strength: strength of the colour jitter, see `color_jitter`; 0 = off.

    Raises:
        ValueError: a value is out of its range.
    """
    low, high = crop_scale
    if not 0 < low <= high <= 1:
        raise ValueError(f"crop_scale={crop_scale} must be two numbers in (0, 1], the smaller first")
    if min(short_sides, default=1) < 1 or not 0 <= color_jitter_strength < math.inf:
        raise ValueError(
            f"short_sides={short_sides} must be positive, and color_jitter_strength={color_jitter_strength} not negative"
        )
    plain = eval_objects(image_size, max_objects, mean, short_side=short_side, long_side=long_side)
    return plain._replace(
        short_sides=short_sides or plain.short_sides, crop_scale=crop_scale, flip=flip, jitter=color_jitter_strength
    )


def eval_objects(
    image_size: Size, max_objects: int, mean: tuple[float, ...], *, short_side: int = 0, long_side: int = 0
) -> BoxTransform:
    """The transform for tests and predictions: the whole picture, resized.

    Args:
        image_size, max_objects, mean, short_side, long_side: as in `train_objects`.

    Raises:
        ValueError: a side is negative.
    """
    if short_side < 0 or long_side < 0:
        raise ValueError(f"short_side={short_side} and long_side={long_side} must not be negative")
    fill = tuple(255 * value for value in mean)
    return BoxTransform(image_size, max_objects, (short_side or min(image_size),), long_side or max(image_size), fill)
