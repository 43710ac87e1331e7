"""Masked image modelling: prediction of the hidden patches from the visible ones (He et al. 2021, arXiv:2111.06377)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import augment, losses, masking, metrics
from vitax.nn.patches import patchify, unpatchify
from vitax.specs import ImageSpec
from vitax.tasks.task import Aux, Batch, Task, Variables


def masked_image(
    model: nn.Module, spec: ImageSpec, *, mask_ratio: float = 0.75, normalize_targets: bool = True
) -> Task:
    """Mean squared error of the pixels of hidden patches.

    Args:
        model: `vitax.models.mae.MAE`, which maps (images, visible places) to [B, N, P*P*C] pixels.
        spec: specification of the images.
        mask_ratio: share of the patches that is hidden, see `masking.random_masking`.
        normalize_targets: normalises each target patch, see `losses.patch_mse`; the official models for fine-tuning
            are trained with it, those for visualisation are not.

    Batches: "image" [B, H, W, C] uint8, "valid" [B] bool. Predictions: "features" [B, D], the mean of the encoder's
    patches for the whole image; "reconstruction" [B, H, W, C] uint8, with the hidden patches predicted (each with the
    mean and standard deviation of the true patch, if targets are normalised) and the visible ones unchanged; "visible" [B, N].

    Raises:
        ValueError: the ratio hides nothing or everything.
    """
    p = model.patch_size
    height, width = spec.image_size
    patches = (height // p) * (width // p)
    if int(patches * (1 - mask_ratio)) >= patches:
        raise ValueError(f"mask_ratio={mask_ratio} hides none of {patches} patches")
    masking.random_masking(jax.random.key(0), 1, patches, mask_ratio)  # raises an error if all are hidden
    normalize = functools.partial(augment.normalize, mean=spec.mean, std=spec.std)

    def hide(key: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
        return masking.random_masking(key, batch, patches, mask_ratio)

    def init(key: jax.Array, batch: Batch) -> Variables:
        keep, _ = hide(key, len(batch["image"]))
        return dict(model.init(key, normalize(batch["image"]), keep))

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        mask_key, dropout_key = jax.random.split(key)
        image = normalize(batch["image"])
        keep, visible = hide(mask_key, image.shape[0])
        rngs = {"dropout": dropout_key} if train else None
        pixels = model.apply(variables, image, keep, train=train, rngs=rngs)
        target = patchify(image, p).reshape(pixels.shape)
        values = losses.patch_mse(pixels, target, normalize=normalize_targets)  # [B, N]
        hidden_loss = metrics.masked(values, ~visible & batch["valid"][:, None])
        return metrics.mean(hidden_loss), Aux({"loss": hidden_loss})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        image = normalize(batch["image"])
        everything = jnp.broadcast_to(jnp.arange(patches), (image.shape[0], patches))
        _, seen = model.apply(variables, image, everything, mutable="intermediates")
        (tokens,) = seen["intermediates"]["encoder"]["tokens"]
        keep, visible = hide(jax.random.key(0), image.shape[0])
        pixels = model.apply(variables, image, keep)
        truth = patchify(image, p).reshape(pixels.shape)
        if normalize_targets:
            variance = truth.var(-1, keepdims=True, ddof=1)
            pixels = pixels * jnp.sqrt(variance + 1e-6) + truth.mean(-1, keepdims=True)
        pixels = jnp.where(visible[:, :, None], truth, pixels)
        pixels = unpatchify(pixels.reshape(image.shape[0], height // p, width // p, -1), p)
        return {
            "features": tokens[:, 1:].mean(axis=1).astype(jnp.float32),
            "reconstruction": (augment.to_values if spec.pixel_range else augment.to_bytes)(
                pixels, spec.mean, spec.std
            ),
            "visible": visible,
        }

    return Task(init, loss, predict)
