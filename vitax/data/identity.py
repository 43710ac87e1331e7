"""The identity of a dataset, by which a run that continues finds out that its data have changed."""

import hashlib
import os
from typing import Any

import numpy as np

from vitax.data.source import Source


def identity(source: Source) -> dict[str, Any]:
    """The identity of a state of a dataset: its size, its classes, and digests of the names and labels of its examples.

    Labels are classes, targets or boxes, as far as the source knows them without reading each example. For two million examples or more, the digest includes only every second, third, ... name, and from ten million on only
    some 2,000 names, each of which may have to be read from another file.
    """
    digest = hashlib.blake2b(digest_size=8)
    count = 1_000_000 if len(source) < 10_000_000 else 2_000
    for i in range(0, len(source), max(1, len(source) // count)):
        digest.update(os.fsencode(source.name(i)) + b"\0")
    found = {"examples": len(source), "classes": list(source.class_names), "names": digest.hexdigest()}
    return {**found, "labels": _digest(_annotations(source))}


def _annotations(source: Any) -> Any:
    """Targets, objects or labels of all examples: arrays, in lists and tuples; None = none that it knows."""
    for name in ("targets", "objects", "labels"):
        if (found := getattr(source, name, None)) is not None:
            return found
    inner = _annotations(source.source) if hasattr(source, "source") else None
    return inner[source.index] if isinstance(inner, np.ndarray) and hasattr(source, "index") else inner


def _digest(annotations: Any) -> str:
    """A digest of numbers in arrays, lists and tuples."""
    digest = hashlib.blake2b(digest_size=8)
    pending = [annotations]
    while pending:
        values = pending.pop()
        if isinstance(values, list | tuple):
            pending += [*values, len(values)]
        elif values is not None:
            array = np.asarray(values)
            digest.update(str(array.shape).encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()
