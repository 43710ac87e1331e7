"""Objectives, one file for each; TASKS is the table."""

from collections.abc import Callable
from typing import NamedTuple

from vitax.tasks.classification import classification
from vitax.tasks.contrastive import contrastive
from vitax.tasks.crops import resized_first
from vitax.tasks.detection import detection
from vitax.tasks.language import language
from vitax.tasks.masked_image import masked_image
from vitax.tasks.masked_words import masked_words
from vitax.tasks.multilabel import multilabel
from vitax.tasks.regression import regression
from vitax.tasks.restoration import restoration
from vitax.tasks.segmentation import segmentation
from vitax.tasks.task import Aux, Batch, Task, Variables
from vitax.tasks.text_classification import text_classification
from vitax.tasks.token_pruning import token_pruning
from vitax.tasks.translation import translation


class Objective(NamedTuple):
    """An objective and the kind of data that it needs.

    Attributes:
        factory: ``factory(model, spec, *, settings) -> Task``.
        data: kind of data, a key of `vitax.pipelines.KINDS`.
    """

    factory: Callable[..., Task]
    data: str


TASKS = {
    "classification": Objective(classification, "images"),
    "multilabel": Objective(multilabel, "labels"),
    "regression": Objective(regression, "values"),
    "segmentation": Objective(segmentation, "masks"),
    "detection": Objective(detection, "boxes"),
    "masked_image": Objective(masked_image, "images"),
    "token_pruning": Objective(token_pruning, "images"),
    "contrastive": Objective(contrastive, "captions"),
    "masked_words": Objective(masked_words, "texts"),
    "language": Objective(language, "texts"),
    "text_classification": Objective(text_classification, "sentences"),
    "text_multilabel": Objective(multilabel, "text_labels"),
    "text_regression": Objective(regression, "text_values"),
    "translation": Objective(translation, "bitext"),
    "restoration": Objective(restoration, "restoration"),
}

__all__ = ["TASKS", "Aux", "Batch", "Objective", "Task", "Variables", "resized_first"]
