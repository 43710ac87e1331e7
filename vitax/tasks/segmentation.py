"""Semantic segmentation: a class for each pixel."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import losses, metrics
from vitax.specs import MaskSpec
from vitax.tasks.images import of_images
from vitax.tasks.task import Aux, Batch, Task, Variables


def segmentation(
    model: nn.Module,
    spec: MaskSpec,
    *,
    auxiliary_weight: float = 0.4,
    class_weights: tuple[float, ...] = (),
    focal_gamma: float = 0.0,
    dice_weight: float = 0.0,
) -> Task:
    """Cross entropy of the classes of pixels, with an auxiliary head and, if asked for, the Dice loss.

    Args:
        model: segmenter, see `vitax.models.segmenter`.
        spec: specification of the images and the classes.
        auxiliary_weight: weight of the loss of the auxiliary head.
        class_weights: factor of each class in the cross entropy; () = 1. Only while training.
        focal_gamma: exponent of the focal loss, 0 = off, see `losses.class_cross_entropy`; only while training.
        dice_weight: weight of `losses.dice`, 0 = off; only while training.

    Batches: "image" [B, H, W, C] uint8, "mask" [B, H, W] int, -1 = ignored, "valid" [B] bool. The means are over all
    pixels that count. Metrics: "loss", "pixel_accuracy". Predictions: "logits" and "probabilities" [B, H, W, K], and "classes"
    [B, H, W] int32.

    Raises:
        ValueError: a weight is negative, or the number of class weights is not that of the classes.
    """
    for name, value in (("auxiliary_weight", auxiliary_weight), ("dice_weight", dice_weight)):
        if value < 0:
            raise ValueError(f"{name}={value} must not be negative")
    if class_weights and (len(class_weights) != len(spec.names) or min(class_weights) < 0):
        raise ValueError(f"class_weights={class_weights} must be a number for each of {len(spec.names)} classes")
    images = of_images(model, spec.inputs)

    def pixel_loss(logits: jax.Array, classes: jax.Array, counts: jax.Array, train: bool) -> metrics.Metric:
        """Cross entropy over the pixels that count, each as often as the weight of its class."""
        onehot = jax.nn.one_hot(classes, logits.shape[-1])
        if not train:
            return metrics.masked(losses.softmax_cross_entropy(logits, onehot), counts)
        weights = jnp.asarray(class_weights) if class_weights else None
        return metrics.masked(losses.class_cross_entropy(logits, onehot, weights, focal_gamma), counts)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        classes = batch["mask"].astype(jnp.int32)  # [B, H, W]
        counts = (classes >= 0) & batch["valid"][:, None, None]
        classes = jnp.where(counts, classes, 0)
        out, updates = images.apply(variables, batch["image"], train=train, key=key)
        logits, auxiliary = out if train else (out, None)
        main = pixel_loss(logits, classes, counts, train)
        value = metrics.mean(main)
        if auxiliary is not None:
            value += auxiliary_weight * metrics.mean(pixel_loss(auxiliary, classes, counts, train))
        if train and dice_weight:
            value += dice_weight * losses.dice(logits, classes, counts)
        found = {
            "loss": (value * main[1], main[1]),
            "pixel_accuracy": metrics.masked(logits.argmax(-1) == classes, counts),
        }
        return value, Aux(found, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = images.apply(variables, batch["image"], train=False, key=None)
        classes = logits.argmax(-1).astype(jnp.int32)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "classes": classes}

    return Task(images.init, loss, predict)
