"""Embedding of images and their captions in one space (Radford et al. 2021, arXiv:2103.00020)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import augment, losses, metrics
from vitax.specs import PairSpec
from vitax.tasks.task import Aux, Batch, Task, Variables


def contrastive(model: nn.Module, spec: PairSpec, *, loss: str = "softmax", max_scale: float = 100.0) -> Task:
    """Matching of captions and images within the whole batch, over all devices.

    With ``accumulate``, examples are compared only within their micro-batch.

    Args:
        model: `vitax.models.clip.CLIP`, which maps (images, tokens) to `Embeddings`.
        spec: specification of the images and captions.
        loss: "softmax" (`losses.contrastive`) or "sigmoid" (`losses.sigmoid_contrastive`; the model needs
            ``logit_bias``).
        max_scale: upper limit of the inverse of the learned temperature, which is kept in 1..max_scale.

    Batches: "image" [B, H, W, C] uint8, "tokens" [B, L] int, "valid" [B] bool. Metrics: "image_to_text" and
    "text_to_image", the shares of examples whose own partner is the nearest in the batch. Predictions: "image" and
    "text" [B, E] of length 1; "features" [B, E], equal to "image"; "scale" and "bias" [B], which turn products of the
    two into logits.

    Raises:
        ValueError: the loss is unknown or does not suit the model, or max_scale is below 1.
    """
    if loss not in ("softmax", "sigmoid"):
        raise ValueError(f"loss={loss!r} is unknown; choose 'softmax' or 'sigmoid'")
    if (loss == "sigmoid") != model.logit_bias:
        raise ValueError(f"loss={loss!r} does not suit model.logit_bias={model.logit_bias}")
    if max_scale < 1:
        raise ValueError(f"max_scale={max_scale} must be at least 1")
    normalize = functools.partial(augment.normalize, mean=spec.image.mean, std=spec.image.std)

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, normalize(batch["image"]), batch["tokens"]))

    def embed(variables: Variables, batch: Batch, train: bool = False):
        collections = [name for name in variables if name != "params"] if train else False
        image = normalize(batch["image"])
        out = model.apply(variables, image, batch["tokens"], train=train, mutable=collections)
        out, updates = out if train else (out, {})
        return out._replace(scale=clipped(out.scale, 1.0, max_scale)), updates

    def value(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        out, updates = embed(variables, batch, train)
        valid = batch["valid"]
        if loss == "softmax":
            values = losses.contrastive(out.image, out.text, out.scale, valid)
        else:
            values = losses.sigmoid_contrastive(out.image, out.text, out.scale, out.bias, valid)
        products = jnp.where(valid[None, :], out.image @ out.text.T, -jnp.inf)
        partner = jnp.arange(len(valid))
        backward = jnp.where(valid[None, :], out.text @ out.image.T, -jnp.inf)
        batch_metrics = {
            "loss": metrics.masked(values, valid),
            "image_to_text": metrics.masked(metrics.top_k(products, partner), valid),
            "text_to_image": metrics.masked(metrics.top_k(backward, partner), valid),
            "scale": (out.scale, jnp.ones(())),
        }
        return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics, updates)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, _ = embed(variables, batch)
        rows = jnp.ones(out.image.shape[0])
        return {
            "image": out.image,
            "text": out.text,
            "features": out.image,
            "scale": out.scale * rows,
            "bias": out.bias * rows,
        }

    return Task(init, value, predict)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def clipped(x: jax.Array, low: float, high: float) -> jax.Array:
    """x, clipped to low..high, with a gradient that lets a parameter return from the limits.

    At and beyond the limits, the gradient passes only if a step against it leads back, as if the parameter itself were
    clipped after each update. With the gradient of `jnp.clip`, a parameter beyond the limits would never return.
    """
    return jnp.clip(x, low, high)


def _clipped_forward(x: jax.Array, low: float, high: float):
    return jnp.clip(x, low, high), x


def _clipped_backward(low: float, high: float, x: jax.Array, gradient: jax.Array):
    outward = ((x >= high) & (gradient < 0)) | ((x <= low) & (gradient > 0))
    return (jnp.where(outward, 0.0, gradient),)


clipped.defvjp(_clipped_forward, _clipped_backward)
