"""A test of heat maps by perturbation: pixels are removed in the order of a map, and the accuracy is measured.

Chefer et al. 2020 (arXiv:2012.09838), section 4: positive perturbation removes the most relevant pixels first (a good
map makes the accuracy fall fast), negative perturbation the least relevant ones (a good map keeps the accuracy high).
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
        heat: [H, W] heat map; equal values are removed in a random order that is always the same.
        fraction: share of the pixels to remove, 0..1.
        most: whether to remove the most relevant pixels, instead of the least relevant ones.
        fill: values to put in their place, a number or [H, W, C]; 0 is the mean colour of normalised images.
    """
    count = round(fraction * heat.size)
    chance = np.random.default_rng(0).permutation(heat.size)
    order = np.lexsort((chance, (-heat if most else heat).reshape(-1)))[:count]
    removed = np.zeros(heat.size, bool)
    removed[order] = True
    return np.where(removed.reshape(heat.shape)[..., None], fill, image).astype(image.dtype)


def area(accuracies: Sequence[float], fractions: Sequence[float] = FRACTIONS) -> float:
    """Area under the curve of accuracy over fraction, by trapezoids, divided by the length of the axis: 0..1."""
    return float(np.trapezoid(accuracies, fractions) / (fractions[-1] - fractions[0]))
