"""Which tokens are hidden, as pure functions. True = visible."""

import jax
import jax.numpy as jnp


def random_masking(key: jax.Array, batch: int, tokens: int, ratio: float) -> tuple[jax.Array, jax.Array]:
    """Hides the same number of random tokens in each example (He et al. 2021, arXiv:2111.06377, section 3).

    Args:
        key: random key.
        batch: B.
        tokens: N.
        ratio: share to hide, 0 <= ratio < 1; exactly ``N - int(N * (1 - ratio))`` are hidden.

    Returns:
        keep: [B, int(N * (1 - ratio))] int32, indices of the visible tokens, in random order.
        visible: [B, N] bool.

    Raises:
        ValueError: no token would stay visible.
    """
    kept = int(tokens * (1 - ratio))
    if not 0 < kept <= tokens:
        raise ValueError(f"ratio {ratio} leaves {kept} of {tokens} tokens; choose it so that 1..{tokens} remain")
    return keep_smallest(jax.random.uniform(key, (batch, tokens)), kept)


def keep_smallest(noise: jax.Array, kept: int) -> tuple[jax.Array, jax.Array]:
    """The tokens with the smallest noise stay visible, as in the official code of MAE.

    Args:
        noise: [B, N].
        kept: how many stay, 1..N.

    Returns:
        keep: [B, kept] int32, indices of the visible tokens, smallest noise first.
        visible: [B, N] bool.
    """
    order = jnp.argsort(noise, axis=-1)  # [B, N]
    rank = jnp.argsort(order, axis=-1)  # [B, N], position of each token in that order
    return order[:, :kept], rank < kept


def corrupt_words(
    key: jax.Array, tokens: jax.Array, maskable: jax.Array, *, rate: float, count: int, mask_token: int, vocab_size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hides words as BERT does (Devlin et al. 2018, arXiv:1810.04805, section 3.1 and appendix A.1).

    Of each text, ``rate`` of the maskable tokens, rounded, at least one and at most ``count``, are chosen. Of these 80 %
    become ``mask_token``, 10 % a random token, 10 % stay as they are.

    Args:
        key: random key.
        tokens: [B, L] int.
        maskable: [B, L] bool, False for special tokens and padding.
        rate: 0..1.
        count: M, places to predict in each text; fewer are valid where fewer are chosen.
        mask_token, vocab_size: ids of random tokens are 0..vocab_size-1.

    Returns:
        corrupted: [B, L] int.
        places: [B, M] int, where words were chosen.
        chosen: [B, M] bool, which of the places count.

    Raises:
        ValueError: ``count`` exceeds the length of a text.
    """
    if count > tokens.shape[1]:
        raise ValueError(f"count {count} exceeds the {tokens.shape[1]} tokens of a text")
    place_key, kind_key, word_key = jax.random.split(key, 3)
    noise = jnp.where(maskable, jax.random.uniform(place_key, tokens.shape), 2.0)
    places = jnp.argsort(noise, axis=1)[:, :count]  # [B, M], those not maskable last
    there = maskable.sum(axis=1)
    wanted = jnp.clip(jnp.round(there * rate), 1, count).astype(jnp.int32)
    wanted = jnp.minimum(wanted, there)
    chosen = jnp.arange(count)[None, :] < wanted[:, None]
    kind = jax.random.uniform(kind_key, places.shape)
    random_words = jax.random.randint(word_key, places.shape, 0, vocab_size, tokens.dtype)
    old = jnp.take_along_axis(tokens, places, axis=1)
    new = jnp.where(kind < 0.8, mask_token, jnp.where(kind < 0.9, random_words, old))
    new = jnp.where(chosen, new, old).astype(tokens.dtype)
    rows = jnp.arange(len(tokens))[:, None]
    return tokens.at[rows, places].set(new), places, chosen


def causal(length: int) -> jax.Array:
    """[L, L] bool: row i, what token i sees: itself and those before it."""
    return jnp.tril(jnp.ones((length, length), bool))


def not_padding(tokens: jax.Array, pad: int) -> jax.Array:
    """[B, L] bool: where there is a token."""
    return tokens != pad


def same_segment(segments: jax.Array) -> jax.Array:
    """[B, L] ids of the texts that are packed into one row, to [B, L, L] bool: tokens see those of their own text.

    Args:
        segments: int, 0 = padding, which nobody sees and which sees nobody.
    """
    same = segments[:, :, None] == segments[:, None, :]
    return same & (segments > 0)[:, None, :]
