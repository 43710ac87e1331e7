"""Parting one set of labelled examples in two, the same way every time."""

import numpy as np


def holdout(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Holds back a share of every class.

    Args:
        labels: [n] int.
        fraction: 0 < fraction < 1; of each class ``round(fraction * size)``, at least 1, are held back.
        seed: of the permutation; the split is a pure function of the arguments.

    Returns:
        Indices that stay and indices held back, both ascending.

    Raises:
        ValueError: a fraction outside (0, 1), or a class with fewer than two examples.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share to hold back is {fraction}; choose it between 0 and 1")
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise ValueError(
                f"class number {label} has {len(members)} example, two are needed to hold one back; "
                "add images, or give a test split of your own"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.append(rng.permutation(members)[:count])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held), held
