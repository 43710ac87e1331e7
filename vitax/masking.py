"""Which tokens are hidden, as pure functions of a random key. True = visible."""

import jax
import jax.numpy as jnp


def random_masking(
    key: jax.Array, batch: int, tokens: int, ratio: float
) -> tuple[jax.Array, jax.Array]:
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
        raise ValueError(
            f"ratio {ratio} leaves {kept} of {tokens} tokens; choose it so that 1..{tokens} remain"
        )
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
