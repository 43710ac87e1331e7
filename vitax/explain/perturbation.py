"""Is what a map calls important important? Pixels are taken away by it, and the predictions watched.

Chefer et al. 2020 (arXiv:2012.09838), section 4: positive perturbation takes the most relevant pixels first (a good map
makes the accuracy fall fast), negative perturbation the least relevant ones (a good map lets it stay).
"""

from collections.abc import Sequence

import numpy as np

FRACTIONS = tuple(i / 10 for i in range(1, 10))


def without(image: np.ndarray, heat: np.ndarray, fraction: float, *, most: bool) -> np.ndarray:
    """The image with a part of its pixels at 0, the mean colour of normalised images.

    Args:
        image: [H, W, C], normalised.
        heat: [H, W].
        fraction: 0..1 of the pixels.
        most: the most relevant ones go, else the least.
    """
    count = round(fraction * heat.size)
    order = np.argsort(-heat if most else heat, axis=None, kind="stable")[:count]
    gone = np.zeros(heat.size, bool)
    gone[order] = True
    return np.where(gone.reshape(heat.shape)[..., None], 0, image).astype(image.dtype)


def area(accuracies: Sequence[float], fractions: Sequence[float] = FRACTIONS) -> float:
    """Area under accuracy over fraction, by trapezoids, divided by the length of the axis: 0..1."""
    return float(np.trapezoid(accuracies, fractions) / (fractions[-1] - fractions[0]))
