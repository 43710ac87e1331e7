"""The contract between an objective and the training loop: three pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from vitax.metrics import Metric

Variables = dict[str, Any]  # {"params": tree, other collections such as "batch_stats": tree}
Batch = dict[str, jax.Array]  # every array has the batch as its leading axis; "valid": [B] bool


class Aux(NamedTuple):
    """Metrics and updates that a loss returns besides its value."""

    metrics: dict[str, Metric]  # name -> (sum, count); "loss" must be among them
    updates: dict[str, Any] = {}  # new values of non-parameter collections; absent = unchanged


class Task(NamedTuple):
    """An objective. The loop, evaluation, checkpoints and sharding work for any Task and name no particular one.

    Attributes:
        init: ``(key, batch) -> variables``. Only the collection "params" is differentiated; the others are either
            updated through `Aux` (running statistics) or stay unchanged (a frozen teacher).
        loss: ``(variables, batch, key, train) -> (loss, aux)``. The loss is a mean over valid entries, and
            ``aux.metrics["loss"]`` is its (sum, count); micro-batches are weighted by that count.
        predict: ``(variables, batch) -> {name: [B, ...] array}``, for evaluators and ``vitax.predict``.
    """

    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array, bool], tuple[jax.Array, Aux]]
    predict: Callable[[Variables, Batch], dict[str, jax.Array]]
