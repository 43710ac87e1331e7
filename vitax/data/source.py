"""What a source of examples is, and the ones that need nothing from outside."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Source(Protocol):
    """Examples by index."""

    class_names: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict[str, np.ndarray]: ...

    def name(self, i: int) -> str: ...


class Splits(NamedTuple):
    """What a run learns from and what it is tested on, and where both were found."""

    train: Source
    test: Source
    origin: str


def identity(source: Source) -> dict[str, Any]:
    """What tells two states of a data set apart: size, classes, and a digest of the names of all examples."""
    digest = hashlib.blake2b(digest_size=8)
    for i in range(len(source)):
        digest.update(source.name(i).encode() + b"\0")
    return {
        "examples": len(source),
        "classes": list(source.class_names),
        "names": digest.hexdigest(),
    }


class Arrays:
    """Examples that are in memory already: {"image": [n, H, W, C] uint8, "label": [n] int32}."""

    def __init__(self, arrays: dict[str, np.ndarray], class_names: Sequence[str], origin: str):
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"arrays differ in length: {sizes}")
        self.arrays, self.class_names, self.origin = arrays, tuple(class_names), origin

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {name: array[i] for name, array in self.arrays.items()}

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


class Cached:
    """Keeps decoded examples in memory until the budget is used up; the rest is read again each time."""

    def __init__(self, source: Source, budget: int):
        self.source, self.class_names, self.left = source, source.class_names, budget
        self.kept: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        if i in self.kept:
            return self.kept[i]
        example = self.source[i]
        size = sum(np.asarray(value).nbytes for value in example.values())
        if size <= self.left:  # without a lock: threads may overspend by the few examples they hold
            self.left -= size
            self.kept[i] = example
        return example

    def name(self, i: int) -> str:
        return self.source.name(i)
