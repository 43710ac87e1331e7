"""Detection of objects as a set of boxes (Carion et al. 2020, arXiv:2005.12872)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitax import boxes, losses, metrics
from vitax.specs import BoxSpec
from vitax.tasks.images import of_images
from vitax.tasks.task import Aux, Batch, Task, Variables


class Weights(NamedTuple):
    """Factors of the three parts of a cost or of a loss: the class, the distance of the boxes, and their overlap."""

    label: float
    box: float
    giou: float


class Truth(NamedTuple):
    """True objects: boxes [B, N, 4] with centres, label [B, N] int, and counts [B, N] bool, True = there is such an object."""

    boxes: jax.Array
    label: jax.Array
    counts: jax.Array


Parts = dict[str, metrics.Metric]


def assigned(logits: jax.Array, found: jax.Array, truth: Truth, cost: Weights) -> jax.Array:
    """The prediction that is assigned to each true object (section 3.1, equations 1 and 2), [B, N] int32.

    Args:
        logits: [B, Q, K + 1].
        found: [B, Q, 4] predicted boxes.
        truth: the true objects.
        cost: factors of the parts of the cost.
    """
    probabilities = jax.nn.softmax(logits)
    of_class = jnp.take_along_axis(
        probabilities, jnp.where(truth.counts, truth.label, 0)[:, None, :], axis=2
    )  # [B, Q, N]
    apart = jnp.abs(found[:, :, None, :] - truth.boxes[:, None, :, :]).sum(-1)
    overlap = boxes.generalized_iou(boxes.corners(found)[:, :, None, :], boxes.corners(truth.boxes)[:, None, :, :])
    return boxes.match(cost.box * apart - cost.label * of_class - cost.giou * overlap, truth.counts)


def set_loss(
    logits: jax.Array, found: jax.Array, truth: Truth, valid: jax.Array, cost: Weights, no_object_weight: float
) -> Parts:
    """The parts of the loss of one layer (section 3.1, equation 3), with the count by which each is a mean.

    Args:
        logits: [B, Q, K + 1].
        found: [B, Q, 4] predicted boxes.
        truth: the true objects.
        valid: [B] bool.
        cost: factors of the parts of the cost by which objects are assigned.
        no_object_weight: weight of "no object" in the cross entropy.

    Returns:
        "class_loss", a mean over the weights of the predictions; "box_loss" and "giou_loss", means over the true objects.
    """
    none = logits.shape[-1] - 1
    chosen = assigned(logits, found, truth, cost)
    taken = jax.nn.one_hot(chosen, logits.shape[1], dtype=jnp.int32) * truth.counts[..., None]  # [B, N, Q]
    label = none + (taken * (truth.label - none)[..., None]).sum(axis=1)  # [B, Q]
    weights = jnp.where(label == none, no_object_weight, 1.0) * valid[:, None]
    entropy = losses.softmax_cross_entropy(logits, jax.nn.one_hot(label, none + 1))
    own = jnp.take_along_axis(found, chosen[..., None], axis=1)  # [B, N, 4]
    overlap = boxes.generalized_iou(boxes.corners(own), boxes.corners(truth.boxes))
    return {
        "class_loss": (jnp.where(weights > 0, entropy * weights, 0).sum(), weights.sum()),
        "box_loss": metrics.masked(jnp.abs(own - truth.boxes).sum(-1), truth.counts),
        "giou_loss": metrics.masked(1 - overlap, truth.counts),
    }


def detection(
    model: Any,
    spec: BoxSpec,
    *,
    class_cost: float = 1.0,
    box_cost: float = 5.0,
    giou_cost: float = 2.0,
    class_weight: float = 1.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    no_object_weight: float = 0.1,
    auxiliary: bool = True,
) -> Task:
    """Cross entropy, distance and overlap of the predictions that are assigned to the true objects.

    Args:
        model: detector, see `vitax.models.detector`.
        spec: specification of the images and the classes.
        class_cost, box_cost, giou_cost: factors of the probability of the class, of the distance of the boxes (L1) and of the
            generalised intersection over union, by which predictions are assigned to objects.
        class_weight, box_weight, giou_weight: factors of the same three in the loss.
        no_object_weight: weight of "no object" in the cross entropy.
        auxiliary: while training, the loss of every layer of the decoder counts, not that of the last one only (section 3.2).

    Batches: "image" [B, H, W, C] uint8, "size" [B, 2] int, the height and width of each picture at the top left of its image;
    "boxes" [B, N, 4], centre, width and height as shares of the picture; "label" [B, N] int, -1 = no object; "ignored" [B, N]
    bool, crowds, which are not learned; "valid" [B] bool. Means are over the objects of a batch; with ``accumulate``, over those
    of a micro-batch. Metrics: "loss", "class_loss", "box_loss", "giou_loss", the latter of the last layer. Predictions: "scores"
    [B, Q], "classes" [B, Q] int32, "boxes" [B, Q, 4], and "logits" [B, Q, K + 1].

    Raises:
        ValueError: a weight is negative, or a picture may have more objects than the model has queries.
    """
    given = dict(class_cost=class_cost, box_cost=box_cost, giou_cost=giou_cost)
    given |= dict(class_weight=class_weight, box_weight=box_weight, giou_weight=giou_weight)
    for name, value in {**given, "no_object_weight": no_object_weight}.items():
        if value < 0:
            raise ValueError(f"{name}={value} must not be negative")
    if spec.max_objects > model.num_queries:
        raise ValueError(
            f"data.max_objects={spec.max_objects} objects need as many queries; the model has num_queries={model.num_queries}"
        )
    images = of_images(model, spec.inputs)
    cost = Weights(class_cost, box_cost, giou_cost)
    factors = dict(class_loss=class_weight, box_loss=box_weight, giou_loss=giou_weight)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        counts = (batch["label"] >= 0) & ~batch["ignored"] & batch["valid"][:, None]
        # The gradient of an overlap with a box without area would be no number, although it does not count.
        whole = jnp.broadcast_to(jnp.array([0.5, 0.5, 1.0, 1.0]), batch["boxes"].shape)
        truth = Truth(jnp.where(counts[..., None], batch["boxes"], whole), batch["label"], counts)
        out, updates = images.apply(variables, batch["image"], batch["size"], train=train, key=key)
        of_layer = lambda logits, found: set_loss(logits, found, truth, batch["valid"], cost, no_object_weight)
        mean = lambda total, count: total / jnp.where(count > 0, count, 1)  # a count of weights may be below 1
        weighted = lambda parts: jnp.stack([factors[name] * mean(*part) for name, part in parts.items()]).sum()
        last = of_layer(out.logits, out.boxes)
        value = weighted(last)
        if train and auxiliary and len(out.earlier[0]):
            value += jax.vmap(lambda *layer: weighted(of_layer(*layer)))(*out.earlier).sum()
        valid = batch["valid"].sum(dtype=jnp.float32)
        return value, Aux({"loss": (value * valid, valid), **last}, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, _ = images.apply(variables, batch["image"], batch["size"], train=False, key=None)
        probabilities = jax.nn.softmax(out.logits)[..., :-1]
        classes = probabilities.argmax(-1).astype(jnp.int32)
        return {"scores": probabilities.max(-1), "classes": classes, "boxes": out.boxes, "logits": out.logits}

    return Task(images.init, loss, predict)
