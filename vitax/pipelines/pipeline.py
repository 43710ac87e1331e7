"""The interface of a kind of data, from files to batches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.loader import Transform
from vitax.data.source import Splits

# ``take(function, *given)`` calls a function with its keyword-only arguments from config.data.
Take = Callable[..., Any]


class Reader(NamedTuple):
    """The reader of single examples for tests and predictions; it does not open the training data.

    Attributes:
        spec: one of `vitax.specs`.
        fields: fields of the model that follow from the data: num_classes, image_size, vocab_size, end_token.
        transform: `Transform` of test examples.
        record: JSON values that are kept in every checkpoint: class names, tokenizer.
        blank: an empty example of zeros and padding, shaped like a transformed one.
    """

    spec: Any
    fields: dict[str, Any]
    transform: Any
    record: dict[str, Any]
    blank: dict[str, Any]

    def pad(self, examples: Sequence[dict[str, Any]], batch_size: int) -> dict[str, np.ndarray]:
        """A full batch of transformed examples, filled up with blank, invalid ones."""
        rows = [*examples, *[self.blank] * (batch_size - len(examples))]
        batch = {name: np.stack([row[name] for row in rows]) for name in self.blank}
        return {**batch, "valid": np.arange(batch_size) < len(examples)}


class Pipeline(NamedTuple):
    """The opened data of a run.

    Attributes:
        splits: sources of the training and the test examples.
        augment: transform of training examples.
        reader: reader of test examples.
        unit: name of the examples in the log, for example "images".
        about: a short description for a person.
    """

    splits: Splits
    augment: Transform
    reader: Reader
    unit: str
    about: str


class Kind(NamedTuple):
    """A kind of data.

    Attributes:
        functions: functions whose keyword-only arguments are the keys of config.data.
        open: ``take -> Pipeline``; opens the data.
        read: ``(take, record) -> Reader``, for a run whose data are not available.
    """

    functions: tuple[Callable[..., Any], ...]
    open: Callable[[Take], Pipeline]
    read: Callable[[Take, dict[str, Any]], Reader]
