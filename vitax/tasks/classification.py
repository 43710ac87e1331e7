"""Image classification."""

import flax.linen as nn
import jax

from vitax import augment, losses, metrics
from vitax.specs import ImageSpec
from vitax.tasks.classes import class_loss, class_targets
from vitax.tasks.images import of_images
from vitax.tasks.task import Aux, Batch, Task, Variables


def classification(
    model: nn.Module,
    spec: ImageSpec,
    *,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    class_weights: str | tuple[float, ...] = "",
    focal_gamma: float = 0.0,
) -> Task:
    """Softmax cross entropy over exclusive classes.

    Args:
        model: module with a field ``num_classes`` that maps [B, H, W, C] images to [B, K] logits.
        spec: specification of the images.
        label_smoothing: share of the target that is spread over all classes, 0..1; only while training.
        mixup: alpha of mixup, 0 = off, see `augment.mixup_or_cutmix`; only while training.
        cutmix: alpha of CutMix, 0 = off, see `augment.mixup_or_cutmix`; only while training.
        class_weights: "auto" = rare classes count more, so that all classes count alike; or a number for each class; see
            `vitax.tasks.classes.class_loss`. Only while training.
        focal_gamma: exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002; 2 is usual), 0 = off; only while
            training.

    Batches: "image" [B, H, W, C] uint8, "label" [B] int, "valid" [B] bool, and with soft labels "target"
    [B, K], of which "label" is the largest. Predictions: "logits" and
    "probabilities", both [B, K], and "features" [B, D], the inputs of the head.

    Raises:
        ValueError: the images have no labels, or a value is out of its range.
    """

    if not model.num_classes:
        raise ValueError("these images have no labels; choose data with labels, for example a folder of class folders")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
    if mixup < 0 or cutmix < 0:
        raise ValueError(f"mixup={mixup} and cutmix={cutmix} must not be negative")
    cross_entropy = class_loss(model.num_classes, spec.class_counts, class_weights, focal_gamma)
    images = of_images(model, spec)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        labels = class_targets(batch, model.num_classes)  # [B, K]
        image, valid = batch["image"], batch["valid"]
        mix_key, dropout_key = jax.random.split(key)
        targets = labels
        if train:
            targets = losses.smooth_labels(labels, label_smoothing)
            image, targets, valid = augment.mixup_or_cutmix(mix_key, image, targets, valid, mixup, cutmix)
        logits, updates = images.apply(variables, image, train=train, key=dropout_key)
        values = cross_entropy(logits, targets, train)  # [B]
        batch_metrics = {"loss": metrics.masked(values, valid)}
        # The labels are those of the unmixed images: while training with mixup, the accuracy stays low by design.
        batch_metrics["accuracy"] = metrics.masked(metrics.top_k(logits, batch["label"]), valid)
        if not train and model.num_classes > 5:
            batch_metrics["accuracy_top5"] = metrics.masked(metrics.top_k(logits, batch["label"], k=5), valid)
        return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = images.apply(variables, batch["image"], train=False, key=None)
        features = images.features(variables, batch["image"])
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "features": features}

    return Task(images.init, loss, predict)
