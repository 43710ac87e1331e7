"""Predictions of a trained run, one function for each objective: PREDICTORS is the table."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.prediction.arrays import example_arrays, predict_arrays
from vitax.prediction.detection import detect
from vitax.prediction.images import classify, estimate, example_image, image_files, label
from vitax.prediction.output import written
from vitax.prediction.pairs import example_pair, zero_shot
from vitax.prediction.reconstruction import reconstruct
from vitax.prediction.restoration import example_damaged, restore_images
from vitax.prediction.segmentation import segment_images
from vitax.prediction.texts import (
    classify_text,
    continue_text,
    estimate_text,
    example_beginning,
    example_labelled,
    example_masked,
    example_source,
    fill_in,
    label_text,
    lines_of,
    translate,
)
from vitax.prediction.trained import TrainedRun, load_run


class Predictor(NamedTuple):
    """The predictions of a trained run of one objective.

    Attributes:
        predict: (run, inputs, *, options) -> one JSON object for each input.
        inputs: names on the command line -> inputs: files of images, or lines of text.
        example: (data of a run, its folder) -> arguments of the command line to try it.
        draws: whether its results contain pictures, see `vitax.prediction.output.PICTURES`.
    """

    predict: Callable[..., Iterator[dict[str, Any]]]
    inputs: Callable[[Sequence[str]], Any]
    example: Callable[[Pipeline, Path], str]
    draws: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that ``predict`` takes."""
        parameters = inspect.signature(self.predict).parameters
        return tuple(name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY)


PREDICTORS = {
    "classification": Predictor(classify, image_files, example_image),
    "multilabel": Predictor(label, image_files, example_image),
    "regression": Predictor(estimate, image_files, example_image),
    "token_pruning": Predictor(classify, image_files, example_image),
    "masked_words": Predictor(fill_in, lines_of, example_masked),
    "language": Predictor(continue_text, lines_of, example_beginning),
    "text_classification": Predictor(classify_text, lines_of, example_labelled),
    "text_multilabel": Predictor(label_text, lines_of, example_labelled),
    "text_regression": Predictor(estimate_text, lines_of, example_labelled),
    "translation": Predictor(translate, lines_of, example_source),
    "contrastive": Predictor(zero_shot, image_files, example_pair),
    "restoration": Predictor(restore_images, image_files, example_damaged, draws=True),
    "segmentation": Predictor(segment_images, image_files, example_image, draws=True),
    "detection": Predictor(detect, image_files, example_image, draws=True),
    "masked_image": Predictor(reconstruct, image_files, example_image, draws=True),
}
# For an objective that is not in the table.
DEFAULT = Predictor(predict_arrays, image_files, example_arrays)


def predictor_of(task_name: str) -> Predictor:
    """The predictor of an objective; for one that is not in the table, the predictor of its arrays for images."""
    return PREDICTORS.get(task_name, DEFAULT)


def predict(
    run: TrainedRun, inputs: Any, *, out: str = "", done: Sequence[dict[str, Any]] = (), **options: Any
) -> Iterator[dict[str, Any]]:
    """One JSON object for each input named on a command line; predicted images are written to files.

    Args:
        run: the trained run.
        inputs: files and folders of images, or files with one text per line.
        done: rows of the first inputs, which are left out.
        out: folder for images; "" = RUN/predictions.
        options: options of the predictor of the run's objective.

    Raises:
        UserError: this objective does not take an option, an input does not exist, or a row that is done belongs to
            another input.
    """
    predictor = predictor_of(run.task_name)
    check_options(run, {**options, "out": out} if out else options)
    items = iter(predictor.inputs(inputs))
    for row in done:
        before, item = next(iter(row.values())), next(items, None)  # a row begins with the name of its input
        if item is None or before != str(item):
            now = "nothing" if item is None else item
            raise UserError(f"the inputs have changed: {before} is done, and {now} is in its place now")
    rows = predictor.predict(run, items, **options)
    return written(rows, run.path, out) if predictor.draws else rows


def check_options(run: TrainedRun, options: Mapping[str, Any]) -> None:
    """Rejects options that have no meaning for the objective of a run.

    Raises:
        UserError: an option has no meaning, or ``top`` is less than 1.
    """
    if options.get("top", 1) < 1:
        raise UserError(f"--top={options['top']} must be at least 1")
    predictor = predictor_of(run.task_name)
    known = (*predictor.options, *(("out",) if predictor.draws else ()))
    if unknown := sorted(set(options) - set(known)):
        names = ", ".join(f"--{name}" for name in known) or "none"
        raise UserError(f"--{unknown[0]} has no meaning for a run of {run.task_name}; its options: {names}")


__all__ = ["PREDICTORS", "Predictor", "TrainedRun", "check_options", "load_run", "predict", "predictor_of"]
