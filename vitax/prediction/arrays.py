"""Predictions of an objective without its own predictor: the arrays that its task predicts for images."""

from collections.abc import Iterable, Iterator
from typing import Any

from vitax.prediction.images import read_images
from vitax.prediction.trained import TrainedRun, predictions
from vitax.specs import channels_of


def predict_arrays(run: TrainedRun, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Every array that the task predicts, as nested lists, and "file", for each image, see `read_images`."""
    examples = read_images(images, run.reader.blank, channels_of(run.reader.spec))
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
        else:
            yield {"file": file, **{name: value.tolist() for name, value in row.items()}}
