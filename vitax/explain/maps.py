"""Maps with one number for each token, from attention weights, their gradients and their relevance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def rollout(layers: Sequence[jax.Array], *, start: int = 0, normalise: bool = True) -> jax.Array:
    """Rollout, the contribution of each input token to each output token: the product of (A + I) over all layers.

    Abnar & Zuidema 2020 (arXiv:2005.00928), equation 1; Chefer et al. 2020 (arXiv:2012.09838), equation 14.

    Args:
        layers: [..., N, M] of each layer, first layer first, with the heads already joined. A layer with N != M (a
            pooling query) has no residual, so no identity is added.
        start: the first layer that counts.
        normalise: whether to divide the rows of (A + I) by their sums, as for raw attention but not for relevance.

    Returns:
        [..., N, M]; the rows are output tokens.

    Raises:
        ValueError: no layer is left.
    """
    joint = None
    for layer in layers[start:]:
        if layer.shape[-2] == layer.shape[-1]:
            layer = layer + jnp.broadcast_to(jnp.eye(layer.shape[-1], dtype=layer.dtype), layer.shape)
        if normalise:
            layer = layer / layer.sum(axis=-1, keepdims=True)
        joint = layer if joint is None else layer @ joint
    if joint is None:
        raise ValueError(f"start={start} leaves none of {len(layers)} layers")
    return joint


def attributed(gradient: jax.Array, relevance: jax.Array) -> jax.Array:
    """Mean over heads of the positive part of gradient times relevance: [..., A, N, M] to [..., N, M] (equation 13)."""
    return jax.nn.relu(gradient * relevance).mean(axis=-3)


def grad_cam(weights: jax.Array, gradient: jax.Array, prefix: int = 0) -> jax.Array:
    """GradCAM (Selvaraju et al. 2016, arXiv:1610.02391) on the attention of one output token to all input tokens.

    Args:
        weights: [A, N] attention of the classified token; or [D, N] features.
        gradient: gradient with respect to ``weights``, with the same shape.
        prefix: number of tokens before the patches; the gradient is averaged over the patches alone, as in the code of
            Chefer et al. 2020.

    Returns:
        [N], not negative.
    """
    return jax.nn.relu((weights * gradient[:, prefix:].mean(axis=-1, keepdims=True)).mean(axis=0))


def placed(layer: jax.Array, tokens: jax.Array, count: int) -> jax.Array:
    """The attention of a layer that has only some tokens, expanded to all tokens; the others attend to nothing.

    Args:
        layer: [..., n, n] attention.
        tokens: [n] int, the positions of its tokens among all tokens.
        count: number of all tokens.

    Returns:
        [..., count, count].
    """
    empty = jnp.zeros((*layer.shape[:-2], count, count), layer.dtype)
    return empty.at[..., tokens[:, None], tokens[None]].set(layer)


def attention_distance(weights: jax.Array, grid: tuple[int, int], prefix: int = 0) -> jax.Array:
    """Mean distance between a query and its keys, weighted by attention, for each head.

    Dosovitskiy et al. 2020 (arXiv:2010.11929), figure 7 and appendix D.7.

    Args:
        weights: [..., A, N, N] attention weights, N = prefix + h * w.
        grid: (h, w), rows and columns of patches.
        prefix: number of tokens before the grid. They have no place, so they are left out, and the rows are normalised
            to sum to 1 again.

    Returns:
        [..., A] in patches; multiply by the patch size for pixels.

    Raises:
        ValueError: N is not prefix + h * w.
    """
    h, w = grid
    rows, columns = np.divmod(np.arange(h * w), w)
    distance = np.hypot(rows[:, None] - rows[None], columns[:, None] - columns[None])
    inner = weights[..., prefix:, prefix:]
    if inner.shape[-1] != h * w:
        raise ValueError(f"{weights.shape[-1]} tokens are not {prefix} + {h} * {w}")
    inner = inner / inner.sum(axis=-1, keepdims=True)
    return jnp.einsum("...nm,nm->...n", inner, distance).mean(axis=-1)


def position_similarity(positions: jax.Array) -> jax.Array:
    """Cosine similarity of the position vector of each place with all others (Dosovitskiy et al. 2020, figure 7).

    Args:
        positions: [h, w, D] position vectors.

    Returns:
        [h, w, h, w] in -1..1.
    """
    units = positions / jnp.linalg.norm(positions, axis=-1, keepdims=True)
    return jnp.einsum("hwd,ijd->hwij", units, units)


def embedding_filters(kernel: jax.Array, patch_size: int, count: int = 28) -> jax.Array:
    """Principal components of the patch embedding (Dosovitskiy et al. 2020, figure 7).

    Args:
        kernel: [P*P*C, D] kernel of the patch embedding.
        patch_size: side P of a patch.
        count: number of components, the largest first.

    Returns:
        [count, P, P, C], each scaled to 0..1.
    """
    components = jnp.linalg.svd(kernel, full_matrices=False)[0][:, :count].T
    low, high = components.min(axis=1, keepdims=True), components.max(axis=1, keepdims=True)
    filters = (components - low) / jnp.maximum(high - low, 1e-12)
    return filters.reshape(-1, patch_size, patch_size, kernel.shape[0] // patch_size**2)
