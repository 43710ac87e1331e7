"""Numbers predicted from images or texts."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax import losses, metrics
from vitax.specs import TargetSpec
from vitax.tasks.inputs import network_of
from vitax.tasks.task import Aux, Batch, Task, Variables

KINDS = ("l1", "l2", "huber")


def regression(model: nn.Module, spec: TargetSpec, *, error: str = "l2", delta: float = 1.0) -> Task:
    """The error of numbers, each of which is normalised by its mean and standard deviation in the training.

    Args:
        model: module with a field ``num_classes`` that gives [B, T] numbers, see `vitax.tasks.inputs.network_of`.
        spec: specification of the images or texts, and of the numbers.
        error: "l1", the absolute error; "l2", half the squared error; or "huber", see `losses.huber`.
        delta: error, in standard deviations, from which "huber" is linear.

    Batches: "image" or "tokens" and "segments", "target" [B, T] float, NaN for unknown, which is ignored, "valid" [B] bool. The
    metric "mae" is the mean absolute error in the units of the data, over all numbers. Predictions: "values" [B, T] in those
    units, and "features" [B, D].

    Raises:
        ValueError: ``error`` is unknown, or ``delta`` is not above 0.
    """
    if error not in KINDS:
        raise ValueError(f"error={error!r} is unknown; choose one of {', '.join(KINDS)}")
    if not delta > 0:
        raise ValueError(f"delta={delta} must be above 0")
    difference: Callable[[jax.Array, jax.Array], jax.Array] = {
        "l1": losses.absolute_error,
        "l2": losses.half_squared_error,
        "huber": functools.partial(losses.huber, delta=delta),
    }[error]
    mean, std = (np.asarray(x, np.float32)[None] for x in (spec.target_mean, spec.target_std))
    network = network_of(model, spec.inputs)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        outputs, updates = network.apply(variables, batch, train, key)
        known = ~jnp.isnan(batch["target"]) & batch["valid"][:, None]
        targets = jnp.where(known, (batch["target"] - mean) / std, 0)
        found = {
            "loss": metrics.masked(difference(outputs, targets), known),
            "mae": metrics.masked(losses.absolute_error(outputs, targets) * std, known),
        }
        return metrics.mean(found["loss"]), Aux(found, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        outputs, features = network.predict(variables, batch)
        return {"values": outputs * std + mean, "features": features}

    return Task(network.init, loss, predict)
