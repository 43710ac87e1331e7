"""Splits of one set of labelled examples, the same every time."""

from collections.abc import Sequence

import numpy as np


def by_class(labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The classes that occur among labels [n] int, ascending, each with the ascending indices of its examples."""
    order = np.argsort(labels, kind="stable")  # once, as a comparison for each of 20,000 classes takes minutes
    found, starts = np.unique(labels[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def holdout(
    labels: np.ndarray, fraction: float, seed: int = 0, names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Holds back a share of every class.

    Args:
        labels: [n] int.
        fraction: share in (0, 1); ``round(fraction * size)`` examples of each class are held back, but at least one
            is held back and at least one stays.
        seed: seed of the permutation; the split is a pure function of the arguments.
        names: names of the classes, for the message.

    Returns:
        Indices that stay and indices that are held back, both ascending.

    Raises:
        ValueError: ``fraction`` is outside (0, 1), or a class has fewer than two examples.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share to hold back is {fraction}; choose a value between 0 and 1")
    rng = np.random.default_rng(seed)
    held = []
    for label, members in by_class(labels):
        if len(members) < 2:
            raise ValueError(
                f"class {repr(names[label]) if names else f'number {label}'} has {len(members)} example, but two are needed to hold one back; "
                "add examples, or give a test split of your own"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.append(rng.permutation(members)[:count])
    chosen = np.concatenate(held)
    stays = np.ones(len(labels), bool)
    stays[chosen] = False
    return np.flatnonzero(stays), np.flatnonzero(~stays)


def stratified_folds(labels: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """Splits examples into folds; each class is spread over the folds as evenly as possible.

    Args:
        labels: [n] int.
        count: number of folds, at least 2.
        seed: seed of the permutation; the folds are a pure function of the arguments.

    Returns:
        Indices of each fold, ascending; together, the folds hold each example once.

    Raises:
        ValueError: ``count`` is below 2, or a class has fewer examples than folds, so that some folds would lack it.
    """
    if count < 2:
        raise ValueError(f"num_folds={count} is too small; at least two folds are needed")
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for label, ordered in by_class(labels):
        members = rng.permutation(ordered)
        if len(members) < count:
            raise ValueError(
                f"class number {label} has {len(members)} examples, too few for {count} folds; add examples, or "
                "lower num_folds"
            )
        # The folds that get the remainder rotate with the class; otherwise the first folds would get all of it.
        for i, part in enumerate(np.array_split(members, count)):
            parts[(i + int(label)) % count].append(part)
    return [np.sort(np.concatenate(part)) for part in parts]


def equal_shares(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """A part of the examples with the same share of every class.

    Args:
        labels: [n] int.
        count: number of examples in the part, at least one for each class.
        seed: seed of the permutation; the choice is a pure function of the arguments.

    Returns:
        ``count`` indices, ascending.

    Raises:
        ValueError: ``count`` is below the number of classes or above the number of examples.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if not len(classes) <= count <= len(labels):
        raise ValueError(
            f"train_examples={count} must lie in {len(classes)}..{len(labels)}, at least one for each class"
        )
    exact = sizes * count / len(labels)
    quotas = np.maximum(1, np.floor(exact)).astype(int)
    # Missing examples come from the classes with the largest remainders; surplus ones are taken from the largest
    # class, never from a class with a single example.
    order = np.argsort(quotas - exact, kind="stable")
    for place in range(abs(count - quotas.sum())):
        if quotas.sum() < count:
            quotas[order[place % len(order)]] += 1
        else:
            quotas[np.argmax(quotas)] -= 1
    rng = np.random.default_rng(seed)
    parts = [
        rng.permutation(members)[:n]
        for (_, members), n in zip(by_class(labels), np.minimum(quotas, sizes), strict=True)
    ]
    return np.sort(np.concatenate(parts))
