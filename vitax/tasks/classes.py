"""What the classifications of images and of texts share: weights of classes, and the focal loss."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vitax import losses
from vitax.tasks.task import Batch


def class_loss(
    num_classes: int, counts: Sequence[int], class_weights: str | tuple[float, ...], focal_gamma: float
) -> Callable[[jax.Array, jax.Array, bool], jax.Array]:
    """The cross entropy of a classification.

    Args:
        num_classes: number K of classes.
        counts: number of training examples of each class; () = unknown.
        class_weights: "" = 1 for all; "auto" = n / (K n_k) for a class with n_k of n training examples, so that all
            classes count alike; or K numbers, "1, 2.5, 1". The loss is a mean over examples, not over weights.
        focal_gamma: see `losses.class_cross_entropy`.

    Returns:
        Function (logits [B, K], targets [B, K], train) -> [B]. Weights and focus are for training only: the loss of a
        test is the plain cross entropy.

    Raises:
        ValueError: there are not K positive weights, the counts are not known, or ``focal_gamma`` is out of its range.
    """
    if focal_gamma and not focal_gamma >= 1:
        raise ValueError(f"focal_gamma={focal_gamma} must be 0 or at least 1")
    weights = weights_of(num_classes, counts, class_weights)

    def loss(logits: jax.Array, targets: jax.Array, train: bool) -> jax.Array:
        if not train:
            return losses.softmax_cross_entropy(logits, targets)
        each = None if weights is None else jnp.asarray(weights, jnp.float32)
        return losses.class_cross_entropy(logits, targets, each, focal_gamma)

    return loss


def class_targets(batch: Batch, num_classes: int) -> jax.Array:
    """The share of each class that a batch asks for, [B, K]: its "target" where labels are soft, otherwise its "label" alone."""
    return batch["target"] if "target" in batch else jax.nn.one_hot(batch["label"], num_classes)


def weights_of(num_classes: int, counts: Sequence[int], class_weights: str | tuple[float, ...]) -> np.ndarray | None:
    """The weight of each class, [K], or None for equal weights; see `class_loss`.

    Raises:
        ValueError: there are not K positive weights, the counts are not known, or a class has no training example.
    """
    if not class_weights:
        return None
    if class_weights == "auto":
        if len(counts) != num_classes:
            raise ValueError("class_weights='auto' needs data that list the classes of all training examples")
        if min(counts) < 1:
            raise ValueError(
                f"class_weights='auto' needs a training example of every class; class {int(np.argmin(counts))} has none"
            )
        return sum(counts) / (num_classes * np.asarray(counts, np.float64))
    if isinstance(class_weights, str):
        try:
            class_weights = tuple(float(part) for part in class_weights.strip(" ()[]").split(",") if part.strip())
        except ValueError as error:
            raise ValueError(
                f"class_weights={class_weights!r} is neither 'auto' nor a number for each class"
            ) from error
    if len(class_weights) != num_classes or not all(0 < weight < np.inf for weight in class_weights):
        raise ValueError(f"class_weights={class_weights} must be {num_classes} positive numbers, one for each class")
    return np.asarray(class_weights)
