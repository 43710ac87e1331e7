"""Predictions of an objective without its own predictor: the arrays that its task predicts for images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.prediction.images import example_image, image_readers
from vitax.prediction.trained import TrainedRun, predictions


def predict_arrays(run: TrainedRun, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Every array that the task predicts, as nested lists, and "file", for each image, see `image_readers`.

    Raises:
        UserError: the objective is one of texts.
    """
    if "image" not in run.reader.blank:
        raise UserError(f"{run.task_name} is an objective of texts without an entry in vitax.prediction.PREDICTORS")
    examples = image_readers(images, run)
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
        else:
            yield {"file": file, **{name: value.tolist() for name, value in row.items()}}


def example_arrays(pipeline: Pipeline, path: Path) -> str:
    """The file of the first test image, see `example_image`; "FILES..." if the data are texts."""
    return example_image(pipeline, path) if "image" in pipeline.reader.blank else "FILES..."
