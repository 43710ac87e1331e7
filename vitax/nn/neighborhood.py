"""Neighborhood attention, dilated or not, without a custom GPU kernel.

It is written for matrix units, not as a gather of K * K keys for each query: queries are cut into tiles of about K x K,
each tile is multiplied with the one block of keys that contains the neighborhoods of all its queries, and a mask hides
from each query the keys outside its own neighborhood. Dilation first splits the map into dilation x dilation maps.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax.mesh import constrain_batch
from vitax.nn.dot_product import dot_product_attention
from vitax.nn.fused import cudnn_attention, cudnn_fits, joined


def neighborhood(place: np.ndarray, length: np.ndarray | int, kernel: int) -> np.ndarray:
    """[...] int, the first of the ``kernel`` neighbors of places [...] on a line of ``length`` tokens.

    Neighborhoods are centred, but moved inward at the ends (Hassani et al. 2022, arXiv:2204.07143, section 3.1).
    """
    return np.clip(place - kernel // 2, 0, length - kernel)


class Tiling(NamedTuple):
    """Tiling of one axis, computed before the first array is seen.

    Attributes:
        tile: number T of queries of a tile.
        starts: first key of each tile, on a line of ceil(n / dilation) tokens.
        span: number L of keys of a tile.
        offset: [tiles, T, L] int, key - query + kernel - 1, clipped to the bias table.
        visible: [dilation, tiles, T, L] bool, True = the key is a neighbor, for each residue modulo dilation.
    """

    tile: int
    starts: tuple[int, ...]
    span: int
    offset: np.ndarray
    visible: np.ndarray


def tiling(n: int, kernel: int, dilation: int) -> Tiling:
    """The tiling of an axis of ``n`` tokens."""
    m = -(-n // dilation)
    count = -(-m // kernel)
    tile = -(-m // count)
    uneven = n % dilation > 0  # some of the lines after the split are one token shorter
    span = min(m, tile + kernel - 1 + uneven)
    starts = np.clip(np.arange(count) * tile - kernel // 2, 0, m - span)
    query = np.minimum(np.arange(count)[:, None] * tile + np.arange(tile), m - 1)[:, :, None]
    key = (starts[:, None] + np.arange(span))[:, None, :]
    length = -(-(n - np.arange(dilation)) // dilation)[:, None, None, None]
    first = neighborhood(query[None], length, kernel)
    visible = (first <= key[None]) & (key[None] < first + kernel)
    offset = np.clip(key - query + kernel - 1, 0, 2 * kernel - 2)
    return Tiling(tile, tuple(int(s) for s in starts), span, offset, visible)


def tile_bias(table: jax.Array, rows: Tiling, columns: Tiling) -> jax.Array:
    """Expands a bias [A, 2K-1, 2K-1] of each offset to [tiles, A, queries, keys] of all tiles.

    One matrix product per axis replaces a gather, whose gradient would be a scatter.
    """
    heads, side, _ = table.shape
    one_hot = functools.partial(jax.nn.one_hot, num_classes=side, dtype=table.dtype)
    bias = jnp.einsum(
        "auv,itpu,jsqv->ijatspq",
        table,
        one_hot(rows.offset),
        one_hot(columns.offset),
        precision=jax.lax.Precision.HIGHEST,
    )
    tiles = len(rows.starts) * len(columns.starts)
    return bias.reshape(tiles, heads, rows.tile * columns.tile, rows.span * columns.span)


def neighborhood_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, table: jax.Array | None = None, *, kernel: int, dilation: int = 1
) -> jax.Array:
    """Each query attends to kernel x kernel keys around it, ``dilation`` apart (arXiv:2209.15001, equation 4).

    At the border the neighborhood is moved inward, never cut: every query has kernel**2 keys, all with the query's own
    residue modulo dilation. If kernel * dilation is the size of the map, this is full attention within each residue.

    Args:
        q: [B, H, W, A, E] queries; the scores are divided by sqrt(E).
        k: [B, H, W, A, E] keys.
        v: [B, H, W, A, E] values.
        table: [A, 2*kernel-1, 2*kernel-1] bias for each offset (key - query) / dilation, or None.
        kernel: side of the neighborhoods, odd.
        dilation: distance between neighbors.

    Returns:
        [B, H, W, A, E].

    Raises:
        ValueError: the map is smaller than a neighborhood, or ``kernel`` is even.
    """
    b, height, width, heads, e = q.shape
    if kernel % 2 == 0 or min(height, width) < kernel * dilation:
        raise ValueError(
            f"a map of {height}x{width} has no neighborhoods of kernel {kernel} (odd) with dilation {dilation}; "
            f"it must be at least {kernel * dilation} a side"
        )
    d, rows, columns = dilation, tiling(height, kernel, dilation), tiling(width, kernel, dilation)
    if cudnn_fits((b, rows.tile * columns.tile, heads, e), q.dtype):
        return fused_neighborhood_attention(q, k, v, table, rows, columns, dilation)
    count, tile = (len(rows.starts), len(columns.starts)), (rows.tile, columns.tile)
    tiles, queries, keys = math.prod(count), math.prod(tile), rows.span * columns.span

    def deal(x):  # [B, H, W, A, E] -> [B, d, d, H/d, W/d, A, E]
        x = jnp.pad(x, ((0, 0), (0, -height % d), (0, -width % d), (0, 0), (0, 0)))
        x = x.reshape(b, x.shape[1] // d, d, x.shape[2] // d, d, heads, e)
        return x.transpose(0, 2, 4, 1, 3, 5, 6)

    def blocks(x):  # keys or values of each tile: [B, d*d, tiles, keys, A, E]
        x = deal(x)
        x = jnp.stack([x[:, :, :, s : s + rows.span] for s in rows.starts], 3)
        x = jnp.stack([x[:, :, :, :, :, s : s + columns.span] for s in columns.starts], 4)
        return constrain_batch(x.reshape(b, d * d, tiles, keys, heads, e))

    x = deal(q)
    missing = [c * t - side for c, t, side in zip(count, tile, x.shape[3:5], strict=True)]
    x = jnp.pad(x, ((0, 0),) * 3 + ((0, missing[0]), (0, missing[1])) + ((0, 0),) * 2)
    x = x.reshape(b, d, d, count[0], tile[0], count[1], tile[1], heads, e)
    x = constrain_batch(x.swapaxes(4, 5).reshape(b, d * d, tiles, queries, heads, e))

    visible = np.einsum("fitp,gjsq->fgijtspq", rows.visible, columns.visible)
    visible = visible.reshape(1, d * d, tiles, 1, queries, keys)
    bias = None if table is None else tile_bias(table, rows, columns)[None, None]
    out, _ = dot_product_attention(x, blocks(k), blocks(v), bias=bias, mask=visible)

    out = out.reshape(b, d, d, *count, *tile, heads, e).transpose(0, 3, 5, 1, 4, 6, 2, 7, 8)
    out = out.reshape(b, count[0] * tile[0] * d, count[1] * tile[1] * d, heads, e)
    return out[:, :height, :width]


def fused_neighborhood_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, table: jax.Array | None, rows: Tiling, columns: Tiling, dilation: int
) -> jax.Array:
    """`neighborhood_attention` by the fused kernel, for which tiles are further heads, each with a bias of its own.

    Args:
        rows, columns: tilings of the two axes.
    """
    b, height, width, heads, e = q.shape
    d, (m, n) = dilation, (-(-height // dilation), -(-width // dilation))
    windows, queries, keys = (
        len(rows.starts) * len(columns.starts) * d * d,
        rows.tile * columns.tile,
        rows.span * columns.span,
    )

    def deal(x):  # [B, H, W, A, E] -> [B, H/d, W/d, d*d, A, E]
        x = jnp.pad(x, ((0, 0), (0, m * d - height), (0, n * d - width), (0, 0), (0, 0)))
        x = x.reshape(b, m, d, n, d, heads, e).transpose(0, 1, 3, 2, 4, 5, 6)
        return x.reshape(b, m, n, d * d, heads, e)

    def blocks(x):  # [B, keys, tiles * d*d * A, E], the columns of tiles first
        x = deal(x)
        x = jnp.stack([x[:, s : s + rows.span] for s in rows.starts], 3)
        x = jnp.stack([x[:, :, s : s + columns.span] for s in columns.starts], 3)
        return x.reshape(b, keys, windows * heads, e)

    (i, t), (j, s) = (len(rows.starts), rows.tile), (len(columns.starts), columns.tile)
    x = jnp.pad(deal(q), ((0, 0), (0, i * t - m), (0, j * s - n), (0, 0), (0, 0), (0, 0)))
    x = x.reshape(b, i, t, j, s, d * d, heads, e).transpose(0, 2, 4, 3, 1, 5, 6, 7)
    visible = np.einsum("fitp,gjsq->jifgtspq", rows.visible, columns.visible)
    visible = visible.reshape(1, j * i, d * d, 1, queries, keys)
    bias = None
    if table is not None:
        bias = tile_bias(table, rows, columns).reshape(i, j, heads, queries, keys).swapaxes(0, 1)
        bias = bias.reshape(1, j * i, 1, heads, queries, keys)
    both = jnp.broadcast_to(joined(bias, visible, queries, keys, q.dtype), (1, j * i, d * d, heads, queries, keys))
    both = both.reshape(1, windows * heads, queries, keys)
    x = x.reshape(b, queries, windows * heads, e)
    out = cudnn_attention(x, blocks(k), blocks(v), bias=both, mask=None, causal=False)

    out = out.reshape(b, t, s, j, i, d * d, heads, e).transpose(0, 4, 1, 3, 2, 5, 6, 7)
    out = out.reshape(b, i * t, j * s, d, d, heads, e).transpose(0, 1, 3, 2, 4, 5, 6)
    return constrain_batch(out.reshape(b, i * t * d, j * s * d, heads, e)[:, :height, :width])
