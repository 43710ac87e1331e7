"""The loss that objectives for next-word prediction share."""

import jax

from vitax import losses, metrics
from vitax.tasks.task import Aux


def next_words(logits: jax.Array, words: jax.Array, counted: jax.Array, smoothing: float) -> tuple[jax.Array, Aux]:
    """Cross entropy of words, with "perplexity" (never smoothed) and "accuracy".

    Args:
        logits: [B, N, V].
        words: [B, N] int, the true words.
        counted: [B, N] bool, the words that count.
        smoothing: 0..1, see `losses.smoothed_words`.
    """
    plain = losses.masked_words(logits, words)
    values = losses.smoothed_words(logits, words, smoothing) if smoothing else plain
    batch_metrics = {
        "loss": metrics.masked(values, counted),
        "perplexity": metrics.masked(plain, counted),
        "accuracy": metrics.masked(metrics.top_k(logits, words), counted),
    }
    return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics)
