"""Classification of texts, or of pairs of texts (Devlin et al. 2018, arXiv:1810.04805, section 4.1)."""

import flax.linen as nn
import jax

from vitax import losses, metrics
from vitax.specs import TextSpec
from vitax.tasks.classes import class_loss
from vitax.tasks.inputs import network_of
from vitax.tasks.task import Aux, Batch, Task, Variables


def text_classification(
    model: nn.Module,
    spec: TextSpec,
    *,
    label_smoothing: float = 0.0,
    class_weights: str | tuple[float, ...] = "",
    focal_gamma: float = 0.0,
) -> Task:
    """Softmax cross entropy over exclusive classes.

    Args:
        model: `vitax.models.bert.BERT` or `vitax.models.fnet.FNet` with ``heads`` "classes".
        spec: specification of the texts.
        label_smoothing: share of the target that is spread over all classes, 0..1; only while training.
        class_weights: "auto" = rare classes count more, so that all classes count alike; or a number for each class; see
            `vitax.tasks.classes.class_loss`. Only while training.
        focal_gamma: exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002; 2 is usual), 0 = off; only while
            training.

    Batches: "tokens", "segments" [B, L] int, "label" [B] int, "valid" [B] bool. Predictions: "logits" and
    "probabilities" [B, K], "features" [B, D].

    Raises:
        ValueError: the model has no classes, or a value is out of its range.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
    texts = network_of(model, spec)
    cross_entropy = class_loss(model.num_classes, spec.class_counts, class_weights, focal_gamma)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        logits, _ = texts.apply(variables, batch, train, key)
        targets = jax.nn.one_hot(batch["label"], model.num_classes)
        if train:
            targets = losses.smooth_labels(targets, label_smoothing)
        values = cross_entropy(logits, targets, train)
        batch_metrics = {
            "loss": metrics.masked(values, batch["valid"]),
            "accuracy": metrics.masked(metrics.top_k(logits, batch["label"]), batch["valid"]),
        }
        return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, features = texts.predict(variables, batch)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "features": features}

    return Task(texts.init, loss, predict)
