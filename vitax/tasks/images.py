"""What objectives of images share: a model applied to uint8 images."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from vitax import augment
from vitax.specs import ImageSpec
from vitax.tasks.task import Batch, Variables


class OfImages(NamedTuple):
    """A model of images as functions.

    Attributes:
        init: (key, batch) -> variables.
        apply: (variables, image [B, H, W, C] uint8, further inputs, train=..., key=...) -> outputs, and updates of its
            statistics.
        features: (variables, image) -> [B, D], the inputs of the head.
    """

    init: Callable[[jax.Array, Batch], Variables]
    apply: Callable[..., tuple[Any, dict[str, Any]]]
    features: Callable[[Variables, jax.Array], jax.Array]


def of_images(model: nn.Module, spec: ImageSpec) -> OfImages:
    """A model that maps normalised images [B, H, W, C] to [B, K], as functions of uint8 images."""
    normalize = functools.partial(augment.normalize, mean=spec.mean, std=spec.std)

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, normalize(batch["image"])))

    def apply(variables: Variables, image: jax.Array, *more: jax.Array, train: bool, key: jax.Array | None):
        rngs = {"dropout": key} if train else None
        collections = [name for name in variables if name != "params"] if train else False
        out = model.apply(variables, normalize(image), *more, train=train, rngs=rngs, mutable=collections)
        return out if train else (out, {})

    def features(variables: Variables, image: jax.Array) -> jax.Array:
        return model.clone(num_classes=0).apply(variables, normalize(image))

    return OfImages(init, apply, features)
