"""Metrics as (sum, count) pairs, so that averages over any number of batches, hosts or micro-batches are exact."""

import math

import jax
import jax.numpy as jnp

Metric = tuple[jax.Array, jax.Array]  # (sum, count), both float32 scalars


def masked(values: jax.Array, valid: jax.Array) -> Metric:
    """Sum and count of the entries that are valid.

    Args:
        values: [...] numbers of any real dtype; invalid entries are ignored, NaN included.
        valid: [...] bool of the same shape, True = the entry counts.

    Raises:
        ValueError: the shapes differ.
    """
    if values.shape != valid.shape:
        raise ValueError(f"values {values.shape} and valid {valid.shape} must have the same shape")
    values = jnp.where(valid, values, 0).astype(jnp.float32)
    return values.sum(), valid.sum(dtype=jnp.float32)


def mean(metric: Metric) -> jax.Array:
    """The mean of a (sum, count) pair; 0 where nothing was counted."""
    total, count = metric
    return total / jnp.maximum(count, 1)


def top_k(logits: jax.Array, labels: jax.Array, k: int = 1) -> jax.Array:
    """Hits: True if the true class is among the k largest logits; a tie counts as a hit only up to k classes.

    Args:
        logits: [..., K] class scores.
        labels: [...] int, true class in 0..K-1.
        k: number of largest logits, 1..K.

    Returns:
        [...] bool, True = hit.

    Raises:
        ValueError: k is not in 1..K.
    """
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k={k} must lie in 1..{logits.shape[-1]}, the number of classes")
    true_logit = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    index = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    # Equal scores rank by class index, as argmax does: K equal logits must not score 100 %.
    ahead = (logits > true_logit) | ((logits == true_logit) & (index < labels[..., None]))
    # Every comparison with NaN is false: without this line a broken model would score 100 %.
    return (ahead.sum(-1) < k) & ~jnp.isnan(true_logit[..., 0])


def psnr(squared_error: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of mean squared errors [...] on the scale 0..1; at most 120."""
    return -10 * jnp.log10(jnp.maximum(squared_error, 1e-12))


def reported(name: str, total: float, count: float) -> float:
    """The number to report for a (sum, count): the mean, or its exponential if the name ends with "perplexity".

    Returns:
        The number; NaN if the count is 0.
    """
    if not count:
        return math.nan
    mean = total / count
    return math.exp(min(mean, 700.0)) if name.endswith("perplexity") else mean
