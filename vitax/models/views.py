"""Views of image models: the facts, besides variables, that explanations and reports need about a model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax.models.clip import CLIP
from vitax.models.dynamic_vit import DynamicViT
from vitax.models.mae import MAE

Variables = Any


def _logits(model: nn.Module) -> Callable[[Variables, jax.Array], jax.Array]:
    return lambda variables, images: model.apply(variables, images, train=False)


def _nothing_pruned(variables: Variables, images: jax.Array) -> dict[int, jax.Array]:
    return {}


class View(NamedTuple):
    """An image model, as explanations and reports see it.

    Attributes:
        encode: function (variables, normalised images [B, H, W, C]) -> logits [B, K] or, for a model without classes,
            features.
        stride: side of a patch in pixels; for features in several resolutions, that of the finest resolution.
        pooled: input of the head: "token", one token; "tokens", all tokens before the patches; "mean", all patches.
        layers: number of attention layers that count, from the first; None = all.
        has_classes: True if ``encode`` returns logits of classes.
        tower: function from the parameters of the model to those of the ViT that it is or contains; None = no ViT.
        kept: function (variables, images) -> {layer: [n] patches of the first image that are left from that layer on,
            best first}.
    """

    encode: Callable[[Variables, jax.Array], jax.Array]
    stride: int
    pooled: str = "mean"
    layers: int | None = None
    has_classes: bool = True
    tower: Callable[[Variables], Variables] | None = None
    kept: Callable[[Variables, jax.Array], dict[int, jax.Array]] = _nothing_pruned

    def grid(self, images: jax.Array) -> tuple[int, int]:
        """Rows and columns of the patches of images [..., H, W, C]."""
        return images.shape[-3] // self.stride, images.shape[-2] // self.stride


def view_of_vit(model: nn.Module) -> View:
    """ViT and DeiT: the class token, both tokens of a distilled DeiT, or the mean of the patches."""
    pooled = "token" if model.pooling == "token" else "mean"
    pooled = "tokens" if model.distillation_token else pooled
    return View(_logits(model), model.patch_size, pooled, tower=lambda params: params)


def view_of_dynamic_vit(model: DynamicViT) -> View:
    """DynamicViT: a ViT that drops patches between blocks."""

    def kept(variables: Variables, images: jax.Array) -> dict[int, jax.Array]:
        _, state = model.apply(variables, images, mutable="intermediates")
        intermediates = state["intermediates"]
        return {layer: intermediates[f"kept{stage}"][0][0] for stage, layer in enumerate(model.stages)}

    return View(_logits(model), model.patch_size, "token", tower=lambda params: params, kept=kept)


def view_of_mae(model: MAE) -> View:
    """MAE: the encoder on all patches; the layers of the decoder do not count."""

    def encode(variables: Variables, images: jax.Array) -> jax.Array:
        h, w = (side // model.patch_size for side in images.shape[1:3])
        all_patches = jnp.broadcast_to(jnp.arange(h * w), (images.shape[0], h * w))
        _, state = model.apply(variables, images, all_patches, mutable="intermediates")
        return state["intermediates"]["encoder"]["tokens"][0].mean(axis=1)

    return View(
        encode, model.patch_size, "token", layers=model.depth, has_classes=False, tower=lambda params: params["encoder"]
    )


def view_of_clip(model: CLIP) -> View:
    """CLIP: its image tower, a ViT, or a ResNet whose stem and stages halve the sides five times."""

    def encode(variables: Variables, images: jax.Array) -> jax.Array:
        return model.apply(variables, images, method="encode_image")

    resnet = model.image_tower == "resnet"
    return View(
        encode,
        32 if resnet else model.patch_size,
        "token" if model.image_pooling == "token" else "mean",
        has_classes=False,
        tower=None if resnet else lambda params: params["image"],
    )


def view_of_patches(model: nn.Module) -> View:
    """Swin, Mixer, FNet: the mean of all patches."""
    return View(_logits(model), model.patch_size)


def view_of_nat(model: nn.Module) -> View:
    """NAT: its stem halves the sides twice."""
    return View(_logits(model), 4)
