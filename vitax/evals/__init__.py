"""Evaluations that are not a mean; EVALUATORS lists the available ones for each task.

Each is a function ``make(given, *, settings) -> Evaluation``, which returns None if its settings switch it off; the settings
are keys of config.evals.
"""

from collections.abc import Callable

from vitax.evals.classes import classwise
from vitax.evals.detection import average_precision
from vitax.evals.evaluation import Evaluation, Given, together
from vitax.evals.pairs import retrieval, zero_shot
from vitax.evals.probes import probes
from vitax.evals.restoration import whole_images
from vitax.evals.segmentation import whole_masks
from vitax.evals.targets import label_scores, value_scores
from vitax.evals.throughput import throughput
from vitax.evals.translations import bleu

EVALUATORS: dict[str, tuple[Callable[..., Evaluation | None], ...]] = {
    "classification": (probes, classwise),
    "text_classification": (classwise,),
    "multilabel": (label_scores,),
    "regression": (value_scores,),
    "segmentation": (whole_masks,),
    "detection": (average_precision,),
    "text_multilabel": (label_scores,),
    "text_regression": (value_scores,),
    "masked_image": (probes,),
    "token_pruning": (probes, classwise, throughput),
    "contrastive": (zero_shot, retrieval, probes),
    "translation": (bleu,),
    "restoration": (whole_images,),
}

__all__ = ["EVALUATORS", "Evaluation", "Given", "together"]
