"""What ``vitax.predict`` does for each task: PREDICTORS is the table."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vitax.data.source import Source
from vitax.prediction.image_outputs import example_damaged, reconstruct, restore_images
from vitax.prediction.images import classify, example_image
from vitax.prediction.pairs import example_pair, zero_shot
from vitax.prediction.texts import (
    classify_text,
    continue_text,
    example_beginning,
    example_labelled,
    example_masked,
    example_source,
    fill_in,
    translate,
)
from vitax.runs.saved import TrainedRun, load_run


class Predictor(NamedTuple):
    """predict: (run, what was named on the command line, flags) -> one JSON object for each input.
    example: (test source, folder of the run) -> what to type to try it."""

    predict: Callable[..., Iterator[dict[str, Any]]]
    example: Callable[[Source, Path], str]


PREDICTORS = {
    "classification": Predictor(classify, example_image),
    "token_pruning": Predictor(classify, example_image),
    "masked_words": Predictor(fill_in, example_masked),
    "language": Predictor(continue_text, example_beginning),
    "text_classification": Predictor(classify_text, example_labelled),
    "translation": Predictor(translate, example_source),
    "contrastive": Predictor(zero_shot, example_pair),
    "restoration": Predictor(restore_images, example_damaged),
    "masked_image": Predictor(reconstruct, example_image),
}

__all__ = ["PREDICTORS", "Predictor", "TrainedRun", "load_run"]
