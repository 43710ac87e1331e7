"""What objectives on words share."""

import flax.linen as nn
import jax

from vitax import losses, metrics
from vitax.specs import TextSpec
from vitax.tasks.task import Aux


def check_padding(model: nn.Module, spec: TextSpec) -> None:
    """Rejects a model that mixes padding into its texts if the tokenizer has no token for the padding.

    Raises:
        ValueError: the model does, and there is no such token.
    """
    if spec.pad < 0 and getattr(model, "mixes_padding", False):
        raise ValueError(
            f"{type(model).__name__} mixes padding into the text, and the tokenizer has no token for it; choose a "
            "tokenizer with [PAD] or <pad>"
        )


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
