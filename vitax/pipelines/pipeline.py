"""What a kind of data has to offer, from files to batches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.loader import Transform
from vitax.data.source import Splits

# ``take(function, *given)`` calls a function with its keyword-only arguments from config.data.
Take = Callable[..., Any]


class Reader(NamedTuple):
    """What testing and predicting need to read one example; nothing of it opens the training data.

    spec: one of `vitax.specs`.
    fields: of the model, that follow from the data: num_classes, image_size, vocab_size.
    transform: of test examples.
    record: JSON, kept in every checkpoint: class names, tokenizer.
    blank: an example of zeros, shaped like a transformed one.
    """

    spec: Any
    fields: dict[str, Any]
    transform: Transform
    record: dict[str, Any]
    blank: dict[str, np.ndarray]

    def pad(self, examples: Sequence[dict[str, np.ndarray]], batch_size: int) -> dict[str, np.ndarray]:
        """A full batch of transformed examples, filled up with blank ones that are not valid."""
        rows = [*examples, *[self.blank] * (batch_size - len(examples))]
        batch = {name: np.stack([row[name] for row in rows]) for name in self.blank}
        return {**batch, "valid": np.arange(batch_size) < len(examples)}


class Pipeline(NamedTuple):
    """Opened data.

    augment: transform of training examples.
    unit: what an example is called in the log.
    about: a few words for a person.
    """

    splits: Splits
    augment: Transform
    reader: Reader
    unit: str
    about: str


class Kind(NamedTuple):
    """A kind of data.

    functions: those whose keyword-only arguments are the keys of config.data.
    open: take -> Pipeline.
    read: (take, record) -> Reader, for a run whose data are not at hand.
    """

    functions: tuple[Callable[..., Any], ...]
    open: Callable[[Take], Pipeline]
    read: Callable[[Take, dict[str, Any]], Reader]
