"""What objectives on words share."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax import losses, metrics
from vitax.specs import TextSpec
from vitax.tasks.task import Aux, Variables


def check_words(label_smoothing: float, logits_chunks: int) -> None:
    """Rejects values of an objective that are out of their ranges.

    Raises:
        ValueError: one is.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
    if logits_chunks < 1:
        raise ValueError(f"logits_chunks={logits_chunks} must be at least 1 (1 = all logits at once)")


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


def logits_later(
    model: nn.Module, chunks: int
) -> tuple[dict[str, bool], Callable[[Variables], Callable[[jax.Array], jax.Array]]]:
    """How a model gives its logits to `next_words`: at once; or later and in parts, from its hidden states.

    Returns:
        Arguments of the model, and the function from its variables to ``logits_of``, see `next_words`. Only with several
        chunks does the model need an argument ``hidden`` and a method ``logits``.
    """
    if chunks == 1:
        return {}, lambda variables: lambda logits: logits
    return {"hidden": True}, lambda variables: lambda x: model.apply(variables, x, method="logits")


def next_words(
    logits_of: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    words: jax.Array,
    counted: jax.Array,
    *,
    smoothing: float,
    chunks: int,
) -> tuple[jax.Array, Aux]:
    """Cross entropy of words, with "perplexity" (never smoothed) and "accuracy".

    Args:
        logits_of: maps hidden states [B, n, D] to logits [B, n, V].
        x: [B, N, D] hidden states; or the logits, if ``logits_of`` changes nothing.
        words: [B, N] int, the true words.
        counted: [B, N] bool, the words that count.
        smoothing: 0..1, see `losses.smoothed_words`.
        chunks: number of parts of the N places whose logits are computed one after another, and computed again for the
            gradient, so that at most N / chunks of them are in memory; 1 = all at once, and kept.
    """

    def scores(x: jax.Array, words: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = logits_of(x)
        plain = losses.masked_words(logits, words)
        values = losses.smoothed_words(logits, words, smoothing) if smoothing else plain
        return values, plain, metrics.top_k(logits, words)

    values, plain, correct = scores(x, words) if chunks == 1 else _in_chunks(scores, (x, words), chunks)
    batch_metrics = {
        "loss": metrics.masked(values, counted),
        "perplexity": metrics.masked(plain, counted),
        "accuracy": metrics.masked(correct, counted),
    }
    return metrics.mean(batch_metrics["loss"]), Aux(batch_metrics)


def _in_chunks(function: Callable, arrays: tuple[jax.Array, ...], count: int) -> tuple[jax.Array, ...]:
    """The function of arrays [B, N, ...], computed for one of ``count`` parts of the second axis after another."""
    length = arrays[0].shape[1]
    size = -(-length // count)

    def parts(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, ((0, 0), (0, count * size - length)) + ((0, 0),) * (array.ndim - 2))
        return jnp.moveaxis(padded.reshape(len(array), count, size, *array.shape[2:]), 1, 0)

    results = jax.lax.map(jax.checkpoint(lambda chunk: function(*chunk)), tuple(map(parts, arrays)))
    return tuple(jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length] for x in results)
