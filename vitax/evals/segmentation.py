"""Segmentation of whole images, measured by one confusion matrix over all pixels."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax.data.mask_transforms import Window, scaled_size
from vitax.data.masks import IGNORED
from vitax.evals.evaluation import Evaluation, Given
from vitax.pipelines import Reader
from vitax.tasks import Task, Variables

LOGGER = logging.getLogger("vitax")
Size = tuple[int, int]


class Inference(NamedTuple):
    """How a whole image of any size is segmented.

    Attributes:
        mode: "slide": windows of the size of the crops in training; "whole": the whole image at once, for which every new size
            is compiled.
        stride: distance of neighbouring windows / their side, in (0, 1]; probabilities are averaged where windows overlap.
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

        @functools.partial(jax.jit, static_argnames="size")
        def probabilities(variables: Variables, windows: jax.Array, size: Size) -> jax.Array:
            """Probabilities [B, h, w, K] of windows [B, H, W, C], resized to a size."""
            found = task.predict(variables, {"image": windows})["probabilities"]
            return jax.image.resize(found, (len(windows), *size, found.shape[-1]), "bilinear")

        self.probabilities = probabilities

    def __call__(self, variables: Variables, image: np.ndarray) -> np.ndarray:
        """Probabilities [H, W, K] float32 of the classes of each pixel of an image [H, W, C], on the scale 0..255.

        Args:
            variables: variables of the model.
            image: the image, of any size.
        """
        size = image.shape[:2]
        total: Any = 0.0
        count = 0
        for scale in self.inference.scales:
            full = scaled_size(size, self.transform.short_side * scale)
            for mirrored in (False, True)[: 1 + self.inference.flip]:
                found = _resized(self._once(variables, image[:, ::-1] if mirrored else image, full), size)
                total, count = total + (found[:, ::-1] if mirrored else found), count + 1
        return total / count

    def _once(self, variables: Variables, image: np.ndarray, full: Size) -> Any:
        """Probabilities [*full, K] of an image that is resized to a size."""
        fill = self.transform.fill
        if self.inference.mode == "whole":
            whole = Window(full, 0, 0, full).image(image, fill)
            return np.asarray(self.probabilities(variables, whole[None], full))[0]
        total: Any = None
        counts = np.zeros((*full, 1), np.float32)
        for top, left in self._places(full):
            window = Window(full, top, left, self.transform.size)
            height, width = (min(a, b - c) for a, b, c in zip(window.size, full, (top, left), strict=True))
            found = np.asarray(self.probabilities(variables, window.image(image, fill)[None], window.size))[0]
            if total is None:
                total = np.zeros((*full, found.shape[-1]), np.float32)
            total[top : top + height, left : left + width] += found[:height, :width]
            counts[top : top + height, left : left + width] += 1
        return total / counts

    def _places(self, full: Size) -> Iterator[tuple[int, int]]:
        """The first row and column of each window; the last ones end with the image."""
        axes = []
        for length, side in zip(full, self.transform.size, strict=True):
            step = max(1, int(side * self.inference.stride))
            axes.append([*range(0, max(1, length - side), step), max(0, length - side)])
        return ((top, left) for top in sorted(set(axes[0])) for left in sorted(set(axes[1])))


def _resized(probabilities: np.ndarray, size: Size) -> np.ndarray:
    """Probabilities [h, w, K] at another size, bilinear."""
    if probabilities.shape[:2] == size:
        return probabilities
    shape = (*size, probabilities.shape[-1])
    return np.asarray(jax.image.resize(jnp.asarray(probabilities), shape, "bilinear", antialias=False))


def confusion(classes: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """How many pixels of each true class (rows) were given each class (columns), [K, K] int64.

    Args:
        classes: [H, W] int, the predicted classes.
        mask: [H, W] int, the true ones; IGNORED counts nowhere.
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
        found = segment(variables, np.asarray(example["image"])).argmax(-1)
        matrix += confusion(found, example["mask"], count)
    return matrix
