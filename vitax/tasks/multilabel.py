"""Several labels for each image or text."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import losses, metrics
from vitax.specs import TargetSpec
from vitax.tasks.inputs import network_of
from vitax.tasks.task import Aux, Batch, Task, Variables


def multilabel(model: nn.Module, spec: TargetSpec, *, label_smoothing: float = 0.0) -> Task:
    """Binary cross entropy of each label; labels do not exclude one another.

    Args:
        model: module with a field ``num_classes`` that gives [B, K] logits, see `vitax.tasks.inputs.network_of`.
        spec: specification of the images or texts, and of the labels.
        label_smoothing: s in [0, 1); the targets 0 and 1 become s / 2 and 1 - s / 2; only while training.

    Batches: "image" or "tokens" and "segments", "target" [B, K] float: 0, 1, or NaN for unknown, which is ignored, "valid" [B]
    bool. The metric "accuracy" is the share of the labels that are right at a probability of a half. Predictions: "logits"
    and "probabilities" [B, K], and "features" [B, D].

    Raises:
        ValueError: ``label_smoothing`` is out of its range.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
    network = network_of(model, spec.inputs)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        logits, updates = network.apply(variables, batch, train, key)
        known = ~jnp.isnan(batch["target"]) & batch["valid"][:, None]
        labels = jnp.where(known, batch["target"], 0)
        targets = labels * (1 - label_smoothing) + label_smoothing / 2 if train else labels
        found = {
            "loss": metrics.masked(losses.binary_cross_entropy(logits, targets), known),
            "accuracy": metrics.masked((logits > 0) == (labels > 0.5), known),
        }
        return metrics.mean(found["loss"]), Aux(found, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, features = network.predict(variables, batch)
        return {"logits": logits, "probabilities": jax.nn.sigmoid(logits), "features": features}

    return Task(network.init, loss, predict)
