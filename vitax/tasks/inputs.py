"""What objectives share: a model of images or of texts, applied to batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from vitax import masking
from vitax.specs import ImageSpec, TextSpec
from vitax.tasks.images import of_images
from vitax.tasks.task import Batch, Variables
from vitax.tasks.words import check_padding


class Network(NamedTuple):
    """A model as functions of batches.

    Attributes:
        init: (key, batch) -> variables.
        apply: (variables, batch, train, key) -> outputs [B, K], and updates of its statistics.
        predict: (variables, batch) -> outputs [B, K], and features [B, D], the inputs of the head.
    """

    init: Callable[[jax.Array, Batch], Variables]
    apply: Callable[[Variables, Batch, bool, jax.Array | None], tuple[jax.Array, dict[str, Any]]]
    predict: Callable[[Variables, Batch], tuple[jax.Array, jax.Array]]


def network_of(model: nn.Module, spec: ImageSpec | TextSpec) -> Network:
    """A model with one output vector for each image, text or pair of texts.

    Args:
        model: module that maps images [B, H, W, C] to [B, K]; or `vitax.models.bert.BERT` or `vitax.models.fnet.FNet` with
            ``heads`` "classes".
        spec: specification of the images or texts: batches have "image" [B, H, W, C] uint8, or "tokens" and "segments"
            [B, L] int.

    Raises:
        ValueError: a model of texts has no classes, or needs padding that the tokenizer lacks.
    """
    if isinstance(spec, TextSpec):
        return _of_texts(model, spec)
    images = of_images(model, spec)

    def apply(variables: Variables, batch: Batch, train: bool, key: jax.Array | None):
        return images.apply(variables, batch["image"], train=train, key=key)

    def predict(variables: Variables, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return apply(variables, batch, False, None)[0], images.features(variables, batch["image"])

    return Network(images.init, apply, predict)


def _of_texts(model: nn.Module, spec: TextSpec) -> Network:
    if model.heads != "classes":
        raise ValueError(f"model.heads={model.heads!r} has no classes; choose 'classes'")
    check_padding(model, spec)

    def run(variables: Variables, batch: Batch, **options: Any) -> dict[str, jax.Array]:
        mask = masking.lengths(batch["tokens"], spec.pad)
        return model.apply(variables, batch["tokens"], segments=batch["segments"], mask=mask, **options)

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, batch["tokens"], segments=batch["segments"]))

    def apply(variables: Variables, batch: Batch, train: bool, key: jax.Array | None):
        return run(variables, batch, train=train, rngs={"dropout": key} if train else None)["logits"], {}

    def predict(variables: Variables, batch: Batch) -> tuple[jax.Array, jax.Array]:
        out = run(variables, batch)
        return out["logits"], out["pooled"]

    return Network(init, apply, predict)
