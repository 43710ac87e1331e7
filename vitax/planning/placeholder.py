"""Placeholder images, for plans and timings without data."""

from collections.abc import Sequence
from typing import Any

from vitax import build
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.reading import reads_images
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
        self.labels = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.example

    def name(self, i: int) -> str:
        return str(i)


def placeholder_pipeline(config: Config, examples: int, classes: int) -> Pipeline:
    """The pipeline that `vitax.build.open_pipeline` would return for images, but without any images.

    Args:
        config: resolved config of the run.
        examples: number of examples.
        classes: number of classes.

    Raises:
        UserError: the run takes no images, or a number is less than 1.
    """
    if not reads_images(config):
        raise UserError("--examples replaces images only; texts need their tokenizer: give data")
    if min(examples, classes) < 1:
        raise UserError(f"--examples={examples} and --classes={classes} must be at least 1")
    names = [str(k) for k in range(classes)]
    reader = build.read_pipeline(config, {"class_names": names})
    source = Blank(reader.blank, examples, names)
    reader = reader._replace(transform=lambda example, rng: example)
    splits = Splits(source, source, f"{examples:,} placeholder images")
    return Pipeline(splits, reader.transform, reader, "images", f"{classes:,} classes")
