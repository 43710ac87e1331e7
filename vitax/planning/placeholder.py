"""Placeholder examples, for plans and timings without data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitax import build
from vitax.data.device_crops import blank_crop
from vitax.data.source import Splits
from vitax.data.tokens import Vocabulary, load_vocabulary, placeholder_vocabulary
from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.reading import has_classes, has_targets, has_texts, side_on_device
from vitax.schema import Config


class Blank:
    """A source of placeholder examples; nothing is ever read.

    Args:
        example: the example to return for every index.
        count: number of examples.
        class_names: names of the classes.
    """

    def __init__(self, example: dict[str, Any], count: int, class_names: Sequence[str]):
        self.example, self.count, self.class_names = example, count, class_names
        self.labels = np.arange(count) % len(class_names) if class_names else None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.example

    @property
    def length(self) -> int:
        """The length of its texts; 0 = it has none."""
        rows = (x for name, x in self.example.items() if name != "target")
        return max((len(x) for x in rows if np.ndim(x) == 1), default=0)

    def sizes(self) -> np.ndarray:
        """The length of each text, [n] int: all are taken for the longest, because there are none to measure."""
        return np.full(self.count, self.length)

    def name(self, i: int) -> str:
        return str(i)


class Unchanged:
    """A transform that leaves examples as they are, with the settings of another transform, which evaluations read."""

    def __init__(self, transform: Any):
        self.__dict__.update(vars(transform) if hasattr(transform, "__dict__") else {})

    def __call__(self, example: dict[str, Any], rng: Any) -> dict[str, Any]:
        return example


def placeholder_pipeline(config: Config, examples: int, classes: int) -> Pipeline:
    """The pipeline that `vitax.build.open_pipeline` would return, but without any data.

    Args:
        config: resolved config of the run.
        examples: number of examples.
        classes: number of classes, for data that have them.

    Raises:
        UserError: a number is less than 1.
    """
    if min(examples, classes) < 1:
        raise UserError(f"--examples={examples} and --classes={classes} must be at least 1")
    names = [str(k) for k in range(classes)] if has_classes(config) else []
    record: dict[str, Any] = {"class_names": names, "pairs": False}
    if has_targets(config):
        names = record["class_names"] = [str(k) for k in range(classes)]
        record |= {"target_mean": [0.0] * classes, "target_std": [1.0] * classes}
    else:
        record["class_counts"] = [max(1, examples // classes)] * len(names)
    if has_texts(config):
        record["tokenizer"] = build.call_data(config, stand_in).to_json()
    reader = build.read_pipeline(config, record)
    side = side_on_device(config)
    source = Blank(blank_crop(reader.blank, side) if side else reader.blank, examples, names)
    reader = reader._replace(transform=Unchanged(reader.transform))
    test = Blank(reader.blank, min(examples, 10_000), names)  # evaluations prepare their test, and are not planned
    splits = Splits(source, test, f"{examples:,} placeholder examples")
    return Pipeline(splits, reader.transform, reader, "examples", f"{len(names):,} classes")


def stand_in(*, tokenizer: str = "", vocab_size: int = 8000, lowercase: bool = False) -> Vocabulary:
    """The tokenizer of a run or, if it would be trained, one with as many tokens that mean nothing.

    Args:
        tokenizer: path of a tokenizer.json or vocab.txt; "" = it would be trained.
        vocab_size: number of tokens.
        lowercase: as in `vitax.data.tokens.vocabulary`.
    """
    if tokenizer:
        return load_vocabulary(tokenizer, lowercase)
    return placeholder_vocabulary(vocab_size)
