"""Restoration of damaged images (Liang et al. 2021, arXiv:2108.10257, section 3.1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import losses, metrics
from vitax.specs import RestorationSpec
from vitax.tasks.task import Aux, Batch, Task, Variables

LOSSES = {"l1": losses.absolute_error, "charbonnier": losses.charbonnier}


def restoration(model: nn.Module, spec: RestorationSpec, *, loss: str = "l1") -> Task:
    """Distance between restored and true pixels.

    Args:
        model: `vitax.models.swinir.SwinIR`, with the same scale and channels as the data.
        spec: specification of the images.
        loss: "l1" (super-resolution) or "charbonnier" (denoising, JPEG).

    Batches: "damaged" [B, h, w, C] float32 on 0..255, "image" [B, H, W, C] uint8, "valid" [B] bool. Metrics: "loss" on
    the scale 0..1, and "patch_psnr" in dB, the mean over images. Predictions: "restored" [B, H, W, C] uint8.

    Raises:
        ValueError: the loss is unknown, or the scale or channels of the model differ from those of the data.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; choose one of {', '.join(LOSSES)}")
    if (model.scale, model.channels) != (spec.scale, spec.channels):
        raise ValueError(
            f"model.scale={model.scale} and model.channels={model.channels} must be data.scale={spec.scale} and "
            f"data.channels={spec.channels}"
        )
    distance = LOSSES[loss]

    def init(key: jax.Array, batch: Batch) -> Variables:
        return dict(model.init(key, batch["damaged"] / 255))

    def value(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        rngs = {"dropout": key} if train else None
        restored = model.apply(variables, batch["damaged"] / 255, train=train, rngs=rngs)
        target = batch["image"].astype(jnp.float32) / 255
        values = distance(restored, target).mean(axis=(1, 2, 3))
        error = jnp.square(restored.clip(0, 1) - target).mean(axis=(1, 2, 3))
        batch_metrics = {
            "loss": metrics.masked(values, batch["valid"]),
            "patch_psnr": metrics.masked(metrics.psnr(error), batch["valid"]),
        }
        return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        restored = model.apply(variables, batch["damaged"] / 255)
        return {"restored": jnp.round(restored.clip(0, 1) * 255).astype(jnp.uint8)}

    return Task(init, value, predict)
