"""The protocol of a source of examples, and sources that hold arrays or wrap another source."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vitax.data.holdout import equal_shares, stratified_folds
from vitax.errors import UserError


class Source(Protocol):
    """Examples by index: ``source[i]`` is {name: array}, or the text or texts that a pipeline makes into arrays.

    Attributes:
        class_names: names of the classes; empty if there are no labels.
        labels: [n] int, labels of all examples; None if there are none, or if every example would have to be read.
    """

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Any: ...

    def name(self, i: int) -> str: ...


class Splits(NamedTuple):
    """The sources that a run learns from and is tested on.

    Attributes:
        train: source of the training split.
        test: source of the test split.
        origin: description of the place where they were found, for a person.
        validation: source of the split by which the best checkpoint is chosen; None = the test split.
    """

    train: Source
    test: Source
    origin: str
    validation: Source | None = None

    @classmethod
    def of(cls, parts: Iterable[Source], origin: str) -> "Splits":
        """The splits of two sources, the first one for training."""
        train, test = parts
        return cls(train, test, origin)

    def sources(self) -> tuple[Source, ...]:
        """The sources that there are, the training split first."""
        return (self.train, self.test) if self.validation is None else (self.train, self.test, self.validation)

    def map(self, function: Callable[[Any], Source]) -> "Splits":
        """The splits with a function applied to each source."""
        train, test, *validation = map(function, self.sources())
        return Splits(train, test, self.origin, *validation)


def class_counts(source: Source) -> list[int]:
    """The number of examples of each class; [] = the source has no classes, or does not list its labels."""
    if source.labels is None or not source.class_names:
        return []
    return np.bincount(source.labels, minlength=len(source.class_names)).tolist()


def check_names(splits: Splits) -> None:
    """Checks that classes can be told apart.

    Raises:
        UserError: two classes have the same name.
    """
    if twice := [name for name, count in Counter(splits.train.class_names).items() if count > 1]:
        raise UserError(f"{splits.origin} has several classes with the name {twice[0]!r}")


def check_classes(splits: Splits) -> None:
    """Checks the classes of labelled data, whatever they come from.

    Raises:
        UserError: there is only one class, two classes have the same name, or a class has no training example.
    """
    names, labels = list(splits.train.class_names), splits.train.labels
    if not names:
        return
    if len(names) < 2:
        raise UserError(f"{splits.origin} has only one class, {names[0]!r}, but at least two are needed")
    check_names(splits)
    if labels is None:
        return
    counts = np.bincount(labels, minlength=len(names))
    if missing := [names[k] for k in range(len(names)) if not counts[k]]:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise UserError(
            f"{splits.origin}: of {len(names):,} classes, {len(missing):,} have no training example "
            f"({', '.join(map(repr, missing[:3]))}{more}); labels have to be numbered from 0 without gaps"
        )


class Arrays:
    """Examples that are already in memory: {"image": [n, H, W, C] uint8, "label": [n] int32}."""

    def __init__(self, arrays: dict[str, np.ndarray], class_names: Sequence[str], origin: str):
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"arrays differ in length: {sizes}")
        self.arrays, self.class_names, self.origin = arrays, tuple(class_names), origin
        self.labels = arrays.get("label")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {name: array[i] for name, array in self.arrays.items()}

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


OVERHEAD = 500  # approximate bytes of the Python objects around a cached example


class Cached:
    """A source that keeps decoded examples in memory until its budget is used up and reads the rest each time.

    Args:
        source: source of the examples.
        budget: bytes of memory to use.
    """

    def __init__(self, source: Source, budget: int):
        self.source, self.class_names = source, source.class_names
        self.budget = self.left = budget
        self.labels = source.labels
        self.kept: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if i in self.kept:
            return self.kept[i]
        example = self.source[i]
        size = OVERHEAD + sum(getattr(value, "nbytes", OVERHEAD) for value in example.values())
        if size <= self.left:  # there is no lock: threads may overspend by the few examples that they hold
            self.left -= size
            self.kept[i] = example
        return example

    def name(self, i: int) -> str:
        return self.source.name(i)

    def __getattr__(self, name: str) -> Any:  # lengths of texts
        if name in ("sizes", "length"):
            return getattr(self.source, name)
        raise AttributeError(name)


class Subset:
    """The examples of a source with the given indices."""

    def __init__(self, source: Source, index: np.ndarray):
        self.source, self.index, self.class_names = source, index, source.class_names
        self.labels = None if source.labels is None else source.labels[index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.source[int(self.index[i])]

    def name(self, i: int) -> str:
        return self.source.name(int(self.index[i]))


class Renumbered(Subset):
    """The examples of some classes, which are numbered anew.

    Args:
        source: source of {"label", ...}.
        kept: numbers of the classes, ascending; they become 0, 1, 2, ...
    """

    def __init__(self, source: Source, kept: Sequence[int]):
        old: Any = source.labels
        super().__init__(source, np.flatnonzero(np.isin(old, kept)))
        self.class_names = tuple(source.class_names[k] for k in kept)
        self.labels = np.searchsorted(kept, old[self.index]).astype(np.int32)

    def __getitem__(self, i: int) -> dict[str, Any]:
        assert self.labels is not None
        return {**super().__getitem__(i), "label": self.labels[i]}


def without_classes(splits: Splits, *, ignored_classes: tuple[str, ...] = ()) -> Splits:
    """Splits without the examples of some classes.

    Args:
        splits: the splits of a dataset.
        ignored_classes: names of the classes to leave out, such as "unknown"; their examples are dropped from every split.

    Raises:
        ValueError: the data have no labels, or no such class; or fewer than two classes, or no example, would remain.
    """
    if not ignored_classes:
        return splits
    _labels(splits, "ignored_classes")
    names = list(splits.train.class_names)
    if unknown := sorted(set(ignored_classes) - set(names)):
        raise ValueError(
            f"ignored_classes: {unknown[0]!r} is none of the classes, such as {', '.join(map(repr, names[:5]))}"
        )
    kept = [k for k, name in enumerate(names) if name not in ignored_classes]
    parts = splits.map(lambda source: Renumbered(source, kept))
    if len(kept) < 2 or not all(map(len, parts.sources())):
        raise ValueError(f"ignored_classes={ignored_classes} leaves {len(kept)} classes, or a split without an example")
    count = sum(map(len, splits.sources())) - sum(map(len, parts.sources()))
    left = f"{count:,} examples of {len(names) - len(kept)} ignored classes left out"
    return parts._replace(origin=f"{splits.origin}, {left}")


def folded(splits: Splits, *, fold: int = 0, num_folds: int = 0) -> Splits:
    """Splits for cross-validation: it tests on a part of the training split, and leaves the test split unused.

    Args:
        splits: the splits of a dataset.
        fold: number of the fold to test on, 0..num_folds-1; the other folds are learned from.
        num_folds: number of folds, over which each class is spread evenly; 0 = no cross-validation.

    Raises:
        ValueError: the data have no labels, or the fold is out of its range.
    """
    if not num_folds:
        if fold:
            raise ValueError(f"fold={fold} needs num_folds")
        return splits
    parts = stratified_folds(_labels(splits, "num_folds"), num_folds)
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold={fold} must lie in 0..{num_folds - 1}")
    rest = np.sort(np.concatenate([part for i, part in enumerate(parts) if i != fold]))
    return splits._replace(
        train=Subset(splits.train, rest),
        test=Subset(splits.train, parts[fold]),
        origin=f"fold {fold} of {num_folds} of the training split of {splits.origin}",
    )


def reduced(splits: Splits, *, train_examples: int = 0) -> Splits:
    """Splits with fewer training examples.

    Args:
        splits: the splits of a dataset.
        train_examples: number of examples to learn from, with an equal share of every class; 0 = all.

    Raises:
        ValueError: the data have no labels, or the number is out of its range.
    """
    if not train_examples:
        return splits
    labels, count = _labels(splits, "train_examples"), len(splits.train)
    if not 0 < train_examples <= count:
        raise ValueError(f"train_examples={train_examples} must lie in 1..{count}")
    index = equal_shares(labels, train_examples)
    return splits._replace(train=Subset(splits.train, index), origin=f"{splits.origin}, {len(index)} training examples")


def _labels(splits: Splits, key: str) -> np.ndarray:
    if splits.train.labels is None:
        raise ValueError(f"{key} needs labels, which these data do not have or do not list")
    return np.asarray(splits.train.labels)
