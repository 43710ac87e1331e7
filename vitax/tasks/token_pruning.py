"""Token pruning, learned with a teacher that sees all tokens (Rao et al. 2021, arXiv:2106.02034, section 3.3)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import augment, losses, metrics
from vitax.specs import ImageSpec
from vitax.tasks.classes import class_targets
from vitax.tasks.task import Aux, Batch, Task, Variables


def token_pruning(
    model: nn.Module,
    spec: ImageSpec,
    *,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    ratio_weight: float = 2.0,
    logit_weight: float = 0.5,
    token_weight: float = 0.5,
) -> Task:
    """Four losses: cross entropy, share of tokens kept, and the teacher's logits and tokens (equations 12 to 16).

    The teacher is the dense model with its own parameters, which are not trained (collection "teacher"). Like the
    student's backbone, they come from ``init_from``.

    Args:
        model: `vitax.models.dynamic_vit.DynamicViT`.
        spec: specification of the images.
        label_smoothing, mixup, cutmix: as in `classification`.
        ratio_weight: weight of `losses.keep_ratio`.
        logit_weight: weight of `losses.kl_divergence` from the teacher's logits.
        token_weight: weight of the mean squared distance between the tokens that are kept to the end and the
            teacher's tokens.

    Batches: "image" [B, H, W, C] uint8, "label" [B] int, "valid" [B] bool. Metrics: "accuracy" of the pruned model,
    "accuracy_dense" of the same parameters when nothing is dropped, "accuracy_teacher". Predictions: "logits" and
    "probabilities" [B, K], "features" [B, D], and "kept{stage}" [B, n], the patches left after each stage.

    Raises:
        ValueError: the images have no labels, or a value is out of its range.
    """
    if not model.num_classes:
        raise ValueError("these images have no labels; choose data with labels, for example a folder of class folders")
    for name, weight in (("ratio", ratio_weight), ("logit", logit_weight), ("token", token_weight)):
        if weight < 0:
            raise ValueError(f"{name}_weight={weight} must not be negative")
    dense = model.clone(stages=(), keep_ratios=())
    normalize = functools.partial(augment.normalize, mean=spec.mean, std=spec.std)

    def init(key: jax.Array, batch: Batch) -> Variables:
        student, teacher = jax.random.split(key)
        image = normalize(batch["image"])
        return {**model.init(student, image), "teacher": dense.init(teacher, image)["params"]}

    def teach(variables: Variables, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [B, K] and patch tokens [B, N, D] of the teacher."""
        frozen = {"params": jax.lax.stop_gradient(variables["teacher"])}
        logits, seen = dense.apply(frozen, image, mutable="intermediates")
        (tokens,) = seen["intermediates"]["tokens"]
        return logits, tokens[:, 1:]

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool):
        labels = class_targets(batch, model.num_classes)
        mix_key, dropout_key = jax.random.split(key)
        params = {"params": variables["params"]}
        if not train:
            image, valid = normalize(batch["image"]), batch["valid"]
            logits = model.apply(params, image)
            batch_metrics = {"loss": metrics.masked(losses.softmax_cross_entropy(logits, labels), valid)}
            for name, values in (
                ("accuracy", logits),
                ("accuracy_dense", dense.apply(params, image)),
                ("accuracy_teacher", teach(variables, image)[0]),
            ):
                batch_metrics[name] = metrics.masked(metrics.top_k(values, batch["label"]), valid)
            return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics)

        image, targets, valid = augment.mixup_or_cutmix(
            mix_key, batch["image"], losses.smooth_labels(labels, label_smoothing), batch["valid"], mixup, cutmix
        )
        image = normalize(image)
        out = model.apply(params, image, train=True, rngs={"dropout": dropout_key})
        teacher_logits, teacher_tokens = teach(variables, image)
        # The mean is over all kept tokens of the batch; this loss must not influence which tokens are kept.
        kept = jax.lax.stop_gradient(out.keep[-1]) * valid[:, None]  # [B, N]
        distance = jnp.square(out.tokens.astype(jnp.float32) - teacher_tokens).mean(-1)  # [B, N]
        parts = {
            "cross_entropy": metrics.masked(losses.softmax_cross_entropy(out.logits, targets), valid),
            "keep_ratio": metrics.masked(losses.keep_ratio(out.keep, model.keep_ratios), valid),
            "logit_distillation": metrics.masked(losses.kl_divergence(out.logits, teacher_logits), valid),
            "token_distillation": (jnp.sum(distance * kept), jnp.sum(kept)),
        }
        weights = (1.0, ratio_weight, logit_weight, token_weight)
        value = sum(w * metrics.mean(part) for w, part in zip(weights, parts.values(), strict=True))
        count = valid.sum(dtype=jnp.float32)
        batch_metrics = {
            "loss": (value * count, count),
            **parts,
            "kept": metrics.masked(out.keep[-1].mean(-1), valid),
            "accuracy": metrics.masked(metrics.top_k(out.logits, batch["label"]), valid),
        }
        return value, Aux(batch_metrics)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        params = {"params": variables["params"]}
        image = normalize(batch["image"])
        logits, seen = model.apply(params, image, mutable="intermediates")
        kept = {k: v[0] for k, v in seen["intermediates"].items() if k.startswith("kept")}
        features = model.clone(num_classes=0).apply(params, image)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "features": features, **kept}

    return Task(init, loss, predict)
