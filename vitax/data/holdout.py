"""Parting one set of labelled examples, the same way every time."""

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


def stratified_folds(labels: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """Parts examples into folds; each class is dealt out to them as evenly as it goes.

    Args:
        labels: [n] int.
        count: of folds, at least 2.
        seed: of the permutation; the folds are a pure function of the arguments.

    Returns:
        Indices of each fold, ascending; together each example once.

    Raises:
        ValueError: a class with fewer examples than folds: one of them would be tested on what it has not seen.
    """
    if count < 2:
        raise ValueError(f"num_folds={count}; two at least are needed")
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < count:
            raise ValueError(
                f"class number {label} has {len(members)} examples, too few for {count} folds; add images, or "
                "lower num_folds"
            )
        # Where the remainder goes turns with the class, or the first folds would get all of it.
        for i, part in enumerate(np.array_split(members, count)):
            parts[(i + int(label)) % count].append(part)
    return [np.sort(np.concatenate(part)) for part in parts]


def equal_shares(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """A part of the examples with the same share of every class.

    Args:
        labels: [n] int.
        count: how many, one of each class at least.
        seed: of the permutation; the choice is a pure function of the arguments.

    Returns:
        ``count`` indices, ascending.

    Raises:
        ValueError: fewer examples than classes, or more than there are.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if not len(classes) <= count <= len(labels):
        raise ValueError(
            f"train_examples={count} must lie in {len(classes)}..{len(labels)}: one of each class at least"
        )
    exact = sizes * count / len(labels)
    wanted = np.maximum(1, np.floor(exact)).astype(int)
    # The largest remainders get what is left over; a class that got its one for nothing pays with nothing.
    order = np.argsort(wanted - exact, kind="stable")
    for place in range(abs(count - wanted.sum())):
        if wanted.sum() < count:
            wanted[order[place % len(order)]] += 1
        else:
            wanted[np.argmax(wanted)] -= 1
    rng = np.random.default_rng(seed)
    parts = [
        rng.permutation(np.flatnonzero(labels == label))[:n]
        for label, n in zip(classes, np.minimum(wanted, sizes), strict=True)
    ]
    return np.sort(np.concatenate(parts))
