"""Metrics are (sum, count) pairs, so that any number of batches, hosts or micro-batches average exactly."""

import math

import jax
import jax.numpy as jnp

Metric = tuple[jax.Array, jax.Array]  # (sum, count), both float32 scalars


def masked(values: jax.Array, valid: jax.Array) -> Metric:
    """Sum and count of the entries that are valid.

    Args:
        values: [...] numbers of any real dtype; what stands at invalid places is ignored, NaN included.
        valid: [...] bool of the same shape, True = counts.

    Raises:
        ValueError: the shapes differ.
    """
    if values.shape != valid.shape:
        raise ValueError(f"values {values.shape} and valid {valid.shape} must have one shape")
    values = jnp.where(valid, values, 0).astype(jnp.float32)
    return values.sum(), valid.sum(dtype=jnp.float32)


def mean(metric: Metric) -> jax.Array:
    """The mean of a (sum, count) pair; 0 where nothing was counted."""
    total, count = metric
    return total / jnp.maximum(count, 1)


def top_k(logits: jax.Array, labels: jax.Array, k: int = 1) -> jax.Array:
    """Whether the true class is among the k largest logits; a tie counts as a hit only up to k classes.

    Args:
        logits: [..., K] class scores.
        labels: [...] int, true class in 0..K-1.
        k: 1..K.

    Returns:
        [...] bool.

    Raises:
        ValueError: k is not in 1..K.
    """
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k={k} must lie in 1..{logits.shape[-1]}, the number of classes")
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    index = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    # Equal scores rank by class index, as argmax does: K equal logits must not score 100 %.
    ahead = (logits > own) | ((logits == own) & (index < labels[..., None]))
    # A NaN compares false with everything: without this line a broken model would score 100 %.
    return (ahead.sum(-1) < k) & ~jnp.isnan(own[..., 0])


def psnr(squared_error: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of mean squared errors [...] on the scale 0..1; at most 120."""
    return -10 * jnp.log10(jnp.maximum(squared_error, 1e-12))


def reported(name: str, total: float, count: float) -> float:
    """What people are told of a (sum, count): the mean; of one whose name ends with "perplexity", its exponential."""
    if not count:
        return math.nan
    mean = total / count
    return math.exp(min(mean, 700.0)) if name.endswith("perplexity") else mean
