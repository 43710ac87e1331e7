"""What a source of examples is, and the ones that need nothing from outside."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vitax.data.holdout import equal_shares, stratified_folds


class Source(Protocol):
    """Examples by index.

    class_names: of the labels; empty where there are none.
    labels: [n] int, of all examples; None where there are none, or where all would have to be read for them.
    """

    class_names: Sequence[str]
    labels: np.ndarray | None

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict[str, np.ndarray]: ...

    def name(self, i: int) -> str: ...


class Splits(NamedTuple):
    """What a run learns from and what it is tested on, and where both were found."""

    train: Source
    test: Source
    origin: str


def identity(source: Source) -> dict[str, Any]:
    """What tells two states of a data set apart: size, classes, and a digest of the names of the examples.

    Of more than two million examples every second, third, ... name counts.
    """
    digest = hashlib.blake2b(digest_size=8)
    for i in range(0, len(source), max(1, len(source) // 1_000_000)):
        digest.update(source.name(i).encode() + b"\0")
    return {"examples": len(source), "classes": list(source.class_names), "names": digest.hexdigest()}


class Arrays:
    """Examples that are in memory already: {"image": [n, H, W, C] uint8, "label": [n] int32}."""

    def __init__(self, arrays: dict[str, np.ndarray], class_names: Sequence[str], origin: str):
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"arrays differ in length: {sizes}")
        self.arrays, self.class_names, self.origin = arrays, tuple(class_names), origin
        self.labels = arrays.get("label")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {name: array[i] for name, array in self.arrays.items()}

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


OVERHEAD = 500  # bytes of Python objects around a kept example, about


class Cached:
    """Keeps decoded examples in memory until the budget is used up; the rest is read again each time."""

    def __init__(self, source: Source, budget: int):
        self.source, self.class_names = source, source.class_names
        self.budget = self.left = budget
        self.labels = source.labels
        self.kept: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        if i in self.kept:
            return self.kept[i]
        example = self.source[i]
        size = OVERHEAD + sum(np.asarray(value).nbytes for value in example.values())
        if size <= self.left:  # without a lock: threads may overspend by the few examples they hold
            self.left -= size
            self.kept[i] = example
        return example

    def name(self, i: int) -> str:
        return self.source.name(i)


class Subset:
    """Some examples of a source, by index."""

    def __init__(self, source: Source, index: np.ndarray):
        self.source, self.index, self.class_names = source, index, source.class_names
        self.labels = None if source.labels is None else source.labels[index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return self.source[int(self.index[i])]

    def name(self, i: int) -> str:
        return self.source.name(int(self.index[i]))


def chosen(splits: Splits, *, fold: int = 0, num_folds: int = 0, train_examples: int = 0) -> Splits:
    """Cross-validation, or fewer examples, within the training split; the test split proper stays untouched.

    Args:
        fold: the one to test on, 0..num_folds-1; the others are learned from.
        num_folds: each class is dealt out to so many; 0 = no cross-validation.
        train_examples: learn from so many examples, an equal share of every class; 0 = from all.

    Raises:
        ValueError: data without labels, or a fold that does not exist.
    """
    labels = splits.train.labels
    if (num_folds or train_examples) and labels is None:
        raise ValueError("num_folds and train_examples need labels, which these data do not have, or not at hand")
    if fold and not num_folds:
        raise ValueError(f"fold={fold} needs num_folds")
    if num_folds:
        if not 0 <= fold < num_folds:
            raise ValueError(f"fold={fold} must lie in 0..{num_folds - 1}")
        parts = stratified_folds(np.asarray(labels), num_folds)
        rest = np.sort(np.concatenate([part for i, part in enumerate(parts) if i != fold]))
        splits = Splits(
            Subset(splits.train, rest),
            Subset(splits.train, parts[fold]),
            f"fold {fold} of {num_folds} of the training split of {splits.origin}",
        )
    if train_examples:
        count = len(splits.train)
        if not 0 < train_examples <= count:
            raise ValueError(f"train_examples={train_examples} must lie in 1..{count}")
        labels = np.asarray(splits.train.labels)
        kept = equal_shares(labels, train_examples)
        origin = f"{splits.origin}, {len(kept)} examples to learn from"
        splits = Splits(Subset(splits.train, kept), splits.test, origin)
    return splits
