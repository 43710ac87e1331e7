"""Is what a map calls important important? Pixels are taken away by it, and the predictions watched.

Chefer et al. 2020 (arXiv:2012.09838), section 4: positive perturbation takes the most relevant pixels first (a good map
makes the accuracy fall fast), negative perturbation the least relevant ones (a good map lets it stay).
"""

from collections.abc import Sequence

import numpy as np

FRACTIONS = tuple(i / 10 for i in range(1, 10))


def without(
    image: np.ndarray, heat: np.ndarray, fraction: float, *, most: bool, fill: np.ndarray | float = 0.0
) -> np.ndarray:
    """The image without a part of its pixels.

    Args:
        image: [H, W, C], normalised.
        heat: [H, W]; of equal values chance, always the same, decides which goes first.
        fraction: 0..1 of the pixels.
        most: the most relevant ones go, else the least.
        fill: what comes in their place, a number or [H, W, C]; 0 is the mean colour of normalised images.
    """
    count = round(fraction * heat.size)
    chance = np.random.default_rng(0).permutation(heat.size)
    order = np.lexsort((chance, (-heat if most else heat).reshape(-1)))[:count]
    gone = np.zeros(heat.size, bool)
    gone[order] = True
    return np.where(gone.reshape(heat.shape)[..., None], fill, image).astype(image.dtype)


def area(accuracies: Sequence[float], fractions: Sequence[float] = FRACTIONS) -> float:
    """Area under accuracy over fraction, by trapezoids, divided by the length of the axis: 0..1."""
    return float(np.trapezoid(accuracies, fractions) / (fractions[-1] - fractions[0]))
