"""Batches of texts of like length: a few shapes, each with about as many tokens, in place of one that is mostly padding.

A bucket holds the texts that fit its length and no shorter one; the shorter it is, the more texts are in one of its
batches. Which texts are in batch number k is a pure function of (seed, k).
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np


def cut(example: dict[str, Any], length: int, whole: int) -> dict[str, Any]:
    """An example whose texts, rows of ``whole`` integers that are filled up at their ends, are cut to ``length``."""
    a_text = lambda x: np.shape(x) == (whole,) and np.issubdtype(x.dtype, np.integer)
    return {name: x[:length] if a_text(x) else x for name, x in example.items()}


class Buckets:
    """The buckets of a source, and the batches of its epochs.

    Args:
        sizes: [n] int, the length that each example needs.
        lengths: lengths of the buckets, ascending; the last one is the greatest that an example may have.
        batch_size: number of examples in a batch of the longest bucket; a batch of a bucket of half that length has twice
            as many.
        seed: seed of the order.

    Attributes:
        unit: the examples of every batch are a multiple of it: the largest power of two that divides ``batch_size`` and is at
            most a quarter of it. It depends on nothing else, so that a run may continue on other devices.
        rows: {length: examples in a batch}, of the buckets that have examples.

    Raises:
        ValueError: the lengths are not ascending, or an example is longer than all of them.
    """

    def __init__(self, sizes: np.ndarray, lengths: Sequence[int], batch_size: int, seed: int):
        if not lengths or list(lengths) != sorted(set(lengths)) or min(lengths) < 1:
            raise ValueError(f"buckets={tuple(lengths)} must be positive lengths in ascending order")
        if sizes.max() > lengths[-1]:
            raise ValueError(f"an example of length {sizes.max()} is in none of buckets={tuple(lengths)}")
        self.unit = max(2**k for k in range(32) if k == 0 or (batch_size % 2**k == 0 and 2**k <= batch_size // 4))
        place = np.searchsorted(lengths, sizes)
        self.members = {length: np.flatnonzero(place == k) for k, length in enumerate(lengths) if (place == k).any()}
        self.rows = {length: batch_size * lengths[-1] // length // self.unit * self.unit for length in self.members}
        self.seed, self.sizes, self.lengths = seed, sizes, np.asarray(lengths)
        self.batches = sum(-(-len(members) // self.rows[length]) for length, members in self.members.items())
        self._epochs: dict[int, list[tuple[int, np.ndarray]]] = {}
        self._lock = threading.Lock()

    def batch(self, step: int) -> tuple[int, np.ndarray]:
        """The length and the examples [rows] of batch number ``step``; -1 = none, in the last batch of a bucket."""
        epoch, place = divmod(step, self.batches)
        with self._lock:
            if epoch not in self._epochs:
                for old in [number for number in self._epochs if number < epoch - 1]:
                    del self._epochs[old]
                self._epochs[epoch] = self._epoch(epoch)
            return self._epochs[epoch][place]

    def fitting(self, index: np.ndarray) -> np.ndarray:
        """The length of the smallest bucket that all examples of a row fit: index [n, rows] int, to [n] int.

        Indices beyond the examples stand for padding.
        """
        needed = np.append(self.sizes, 0)[np.minimum(index, len(self.sizes))].max(axis=1)
        return self.lengths[np.searchsorted(self.lengths, needed)]

    def _epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """The batches of an epoch, in a random order: every example is in one of them."""
        rng = np.random.default_rng((self.seed, epoch))
        batches = []
        for length, members in self.members.items():
            rows = self.rows[length]
            shuffled = np.pad(rng.permutation(members), (0, -len(members) % rows), constant_values=-1)
            batches += [(length, part) for part in shuffled.reshape(-1, rows)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def padding(self) -> tuple[float, float]:
        """The share of padding in the batches of an epoch, without and with buckets, 0..1."""
        filled, last = int(self.sizes.sum()), max(self.members)
        whole = sum(length * self.rows[length] * -(-len(m) // self.rows[length]) for length, m in self.members.items())
        return 1 - filled / (len(self.sizes) * last), 1 - filled / whole

    def __str__(self) -> str:
        before, after = self.padding()
        shapes = ", ".join(f"{rows} of {length}" for length, rows in self.rows.items())
        return f"buckets: {shapes} tokens; {after:.0%} padding, {before:.0%} without them"

    def __getstate__(self) -> dict:  # a lock cannot be sent to worker processes
        return {**self.__dict__, "_lock": None, "_epochs": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ = {**state, "_lock": threading.Lock()}
