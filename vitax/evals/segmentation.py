"""Segmentation of whole images, measured by one confusion matrix over all pixels."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.special

from vitax.data.mask_files import IGNORED
from vitax.data.mask_transforms import Window
from vitax.evals.evaluation import Evaluation, Given
from vitax.pipelines import Reader
from vitax.tasks import Task, Variables

LOGGER = logging.getLogger("vitax")
Size = tuple[int, int]
STRIPE = 64  # rows that are resized at the same time


class Inference(NamedTuple):
    """How a whole image of any size is segmented.

    Attributes:
        mode: "slide": windows of the size of the crops in training; "whole": the whole image at once, for which every new size
            is compiled.
        stride: distance of neighbouring windows / their side, in (0, 1]; logits are averaged where windows overlap.
        flip: whether the mirrored image counts too.
        scales: factors of the size of the image that count alike.
    """

    mode: str = "slide"
    stride: float = 2 / 3
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)


class Segmentation:
    """A trained segmenter as a function of whole images.

    Args:
        task: the objective.
        reader: reader of the run, which knows sizes and normalisation.
        inference: how an image is segmented.

    Raises:
        ValueError: a value of the inference is out of its range.
    """

    def __init__(self, task: Task, reader: Reader, inference: Inference):
        if inference.mode not in ("slide", "whole"):
            raise ValueError(f"inference={inference.mode!r} is neither 'slide' nor 'whole'")
        if not 0 < inference.stride <= 1:
            raise ValueError(f"stride={inference.stride} must lie in (0, 1]")
        if not inference.scales or min(inference.scales) <= 0:
            raise ValueError(f"scales={inference.scales} must be positive numbers")
        self.inference, self.transform = inference, reader.transform
        self.logits = jax.jit(lambda variables, windows: task.predict(variables, {"image": windows})["logits"])

    def __call__(self, variables: Variables, image: np.ndarray) -> np.ndarray:
        """The classes [H, W] int32 of the pixels of an image [H, W, C], on the scale 0..255.

        As in mmsegmentation, logits are averaged where windows overlap and resized to the image; of several scales and
        mirrored images, probabilities are averaged.

        Args:
            variables: variables of the model.
            image: the image, of any size.
        """
        height, width = image.shape[:2]
        maps = []
        for scale in self.inference.scales:
            full = self.transform.full_size((height, width), scale)
            maps.append(self._once(variables, image, full))
            if self.inference.flip:
                maps.append(self._once(variables, image[:, ::-1], full)[:, ::-1])
        classes = np.empty((height, width), np.int32)
        for top in range(0, height, STRIPE):  # all rows of a large image and many classes would take gigabytes
            rows = np.arange(top, min(top + STRIPE, height))
            parts = [_resized(found, rows, (height, width)) for found in maps]
            total = parts[0] if len(parts) == 1 else sum(scipy.special.softmax(part, axis=-1) for part in parts)
            classes[rows] = np.argmax(total, axis=-1)
        return classes

    def _once(self, variables: Variables, image: np.ndarray, full: Size) -> np.ndarray:
        """Logits [*full, K] of an image that is resized to a size."""
        fill = self.transform.fill
        if self.inference.mode == "whole":
            whole = Window(full, 0, 0, full).image(image, fill)
            return np.asarray(self.logits(variables, whole[None]))[0]
        total: Any = None
        counts = np.zeros((*full, 1), np.float32)
        for top, left in self._places(full):
            window = Window(full, top, left, self.transform.size)
            height, width = (min(a, b - c) for a, b, c in zip(window.size, full, (top, left), strict=True))
            found = np.asarray(self.logits(variables, window.image(image, fill)[None]))[0]
            if total is None:
                total = np.zeros((*full, found.shape[-1]), np.float32)
            total[top : top + height, left : left + width] += found[:height, :width]
            counts[top : top + height, left : left + width] += 1
        total /= counts
        return total

    def _places(self, full: Size) -> Iterator[tuple[int, int]]:
        """The first row and column of each window; the last ones end with the image."""
        axes = []
        for length, side in zip(full, self.transform.size, strict=True):
            step = max(1, int(side * self.inference.stride))
            axes.append([*range(0, max(1, length - side), step), max(0, length - side)])
        return ((top, left) for top in sorted(set(axes[0])) for left in sorted(set(axes[1])))


def _resized(found: np.ndarray, rows: np.ndarray, size: Size) -> np.ndarray:
    """Some rows of a map [h, w, K] that is resized to a size, bilinear, with the centres of pixels at halves."""

    def between(at: np.ndarray, old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two old places around each new one, and the weight of the second."""
        place = np.clip((at + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, old - 1), (place - low).astype(np.float32)

    if found.shape[:2] == size:
        return found[rows]
    low, high, share = between(rows, found.shape[0], size[0])
    part = found[low] + share[:, None, None] * (found[high] - found[low])
    low, high, share = between(np.arange(size[1]), found.shape[1], size[1])
    return part[:, low] + share[None, :, None] * (part[:, high] - part[:, low])


def confusion(classes: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """How many pixels of each true class (rows) were given each class (columns), [K, K] int64.

    Args:
        classes: [H, W] int, the predicted classes.
        mask: [H, W] int, the true ones; pixels that are IGNORED are left out.
        count: number K of classes.
    """
    counts = mask != IGNORED
    pairs = count * mask[counts].astype(np.int64) + classes[counts]
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def scores(matrix: np.ndarray) -> dict[str, float]:
    """The measures of a confusion matrix [K, K]: "miou", "pixel_accuracy", "class_accuracy".

    The means are over the classes that occur: of the intersection over union, of those that are true or predicted anywhere; of
    the accuracy, of those that are true anywhere.
    """
    hits, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    union = true + found - hits
    mean = lambda values, of: float((values[of > 0] / of[of > 0]).mean()) if (of > 0).any() else float("nan")
    return {
        "miou": mean(hits, union),
        "pixel_accuracy": float(hits.sum() / matrix.sum()) if matrix.sum() else float("nan"),
        "class_accuracy": mean(hits, true),
    }


MEASURES = ("miou", "whole_pixel_accuracy", "class_accuracy")


def whole_masks(
    given: Given,
    *,
    inference: str = "slide",
    stride: float = 2 / 3,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
) -> Evaluation | None:
    """Segments every image of the test split as a whole, at its own size.

    Measures "miou", the mean intersection over union of the classes, "class_accuracy", the mean of their accuracies, and
    "whole_pixel_accuracy", all from one confusion matrix of all pixels.

    Args:
        inference: "slide" = windows of the size of the crops; "whole" = the whole image at once; "" = off.
        stride: distance of neighbouring windows / their side, in (0, 1].
        flip: the mirrored image counts too.
        scales: factors of the size of the image that count alike, such as (0.5, 0.75, 1.0, 1.25, 1.5, 1.75).

    Raises:
        ValueError: a value is out of its range.
    """
    if not inference:
        return None
    segment = Segmentation(given.task, given.reader, Inference(inference, stride, flip, scales))

    def run(variables: Variables) -> dict[str, float]:
        matrix = total_confusion(segment, variables, given.splits.test)
        found = scores(matrix)
        return {name: found[name.removeprefix("whole_")] for name in MEASURES}

    return Evaluation(MEASURES, run)


def total_confusion(
    segment: Callable[[Variables, np.ndarray], np.ndarray], variables: Variables, source: Any
) -> np.ndarray:
    """The confusion matrix [K, K] of all images of a source; what cannot be read is left out and told."""
    count = len(source.class_names)
    matrix = np.zeros((count, count), np.int64)
    for i in range(len(source)):
        try:
            example = source[i]
        except (ValueError, OSError) as error:
            LOGGER.warning("skipped %s: %s", source.name(i), error)
            continue
        found = segment(variables, np.asarray(example["image"]))
        matrix += confusion(found, example["mask"], count)
    return matrix
