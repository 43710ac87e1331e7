"""Losses as pure functions, one value per example or per patch: the mean is taken by the caller, who knows what is valid."""

import jax
import jax.numpy as jnp


def smooth_labels(labels: jax.Array, smoothing: float) -> jax.Array:
    """Moves a share of the probability mass to the uniform distribution.

    Szegedy et al. 2015 (arXiv:1512.00567), section 7: ``(1 - smoothing) * labels + smoothing / K``.

    Args:
        labels: [..., K] probabilities, one-hot or mixed.
        smoothing: 0 (nothing) to 1 (uniform).
    """
    return labels * (1.0 - smoothing) + smoothing / labels.shape[-1]


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy of each row, in nats, computed in float32.

    Args:
        logits: [..., K] unnormalised log-probabilities, any float dtype.
        labels: [..., K] probabilities that sum to 1.

    Returns:
        [...] float32, ``-sum_k labels_k log softmax(logits)_k``.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must have one shape")
    return -(labels * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def patch_mse(predicted: jax.Array, target: jax.Array, *, normalize: bool = False) -> jax.Array:
    """Mean squared error of each patch (He et al. 2021, arXiv:2111.06377, section 3).

    Args:
        predicted: [B, N, P*P*C] predicted pixels.
        target: [B, N, P*P*C] true pixels.
        normalize: first gives each target patch mean 0 and variance 1 (unbiased, epsilon 1e-6
            inside the root, as the official code does).

    Returns:
        [B, N] float32. The paper averages this over the masked patches only.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {predicted.shape} and target {target.shape} must have one shape"
        )
    target = target.astype(jnp.float32)
    if normalize:
        mean = target.mean(-1, keepdims=True)
        variance = target.var(-1, keepdims=True, ddof=1)
        target = (target - mean) / jnp.sqrt(variance + 1e-6)
    return jnp.square(predicted.astype(jnp.float32) - target).mean(-1)
