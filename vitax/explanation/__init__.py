"""Explanations of the predictions of a trained run: EXPLAINERS is the table."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vitax.errors import UserError
from vitax.explanation.dense import explain_dense, explained_dense
from vitax.explanation.images import explain_images, explained_images
from vitax.explanation.texts import explain_texts, explained_texts
from vitax.prediction import TrainedRun, predictor_of
from vitax.runs.foreign import FEATURES

EXPLAINERS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "classification": explain_images,
    "multilabel": explain_images,
    "regression": explain_images,
    "token_pruning": explain_images,
    "contrastive": explain_images,
    "masked_image": explain_images,
    "segmentation": explain_dense,
    "detection": explain_dense,
    "text_classification": explain_texts,
    "text_multilabel": explain_texts,
    "text_regression": explain_texts,
    "masked_words": explain_texts,
}


def explain(run: TrainedRun, inputs: Sequence[str], **options: Any) -> Iterator[dict[str, Any]]:
    """One JSON object for each input, see `explain_images`, `explain_dense` and `explain_texts`, which take the options.

    Args:
        run: the trained run.
        inputs: files and folders of images, or files with one text per line.
        options: options of the function for the objective of the run.

    Raises:
        UserError: runs with this objective cannot be explained, or an option has no meaning for them.
    """
    if run.task_name not in EXPLAINERS:
        raise UserError(f"a run of {run.task_name} cannot be explained; these can: {', '.join(EXPLAINERS)}")
    explainer = EXPLAINERS[run.task_name]
    if "labels" in options and run.task_name != "contrastive":
        raise UserError(f"--labels has no meaning for a run of {run.task_name}: it has its own classes")
    if "region" in options and explainer is not explain_dense:
        raise UserError(
            f"--region has no meaning for a run of {run.task_name}: its classes are those of whole images or texts"
        )
    return explainer(run, predictor_of(run.task_name).inputs(inputs), **options)


def explained(run: TrainedRun, inputs: list[Any], **options: Any) -> list[Any]:
    """The explanations as objects, without files: `ImageExplanation` for images, dictionaries for texts.

    Args:
        run: the trained run.
        inputs: images, or texts.
        options: options of `explained_images` or `explained_texts`.

    Raises:
        UserError: runs with this objective cannot be explained, or an image cannot be read.
    """
    if run.task_name not in (*EXPLAINERS, FEATURES):
        raise UserError(f"a model for {run.task_name} has nothing to explain; these have: {', '.join(EXPLAINERS)}")
    if EXPLAINERS.get(run.task_name) is explain_texts:
        return list(explained_texts(run, inputs, **options))
    results = []
    function = explained_dense if EXPLAINERS.get(run.task_name) is explain_dense else explained_images
    for name, result in function(run, inputs, **options):
        if isinstance(result, Exception):
            raise UserError(f"{name}: {result}") from result
        results.append(result)
    return results
