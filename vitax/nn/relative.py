"""Relative positions: numbers for the offsets of two places, which are added to the scores of attention."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax.nn.interpolation import resize_positions


def of_pairs(table: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Numbers of all pairs of places on a grid, from those of their offsets (query - key).

    Args:
        table: [2h-1, 2w-1, A], numbers of the offsets -(h-1)..h-1 and -(w-1)..w-1.
        grid: rows h and columns w.

    Returns:
        [A, h * w, h * w].
    """
    rows, columns = (np.arange(n)[:, None] - np.arange(n)[None] + n - 1 for n in grid)
    numbers = table[rows[:, None, :, None], columns[None, :, None, :]]  # [h, w, h, w, A]
    return numbers.reshape(*(grid[0] * grid[1],) * 2, -1).transpose(2, 0, 1)


class RelativeBias(nn.Module):
    """A learned number for each head and each offset (query - key) on a grid, added to the attention scores.

    Liu et al. 2021 (arXiv:2103.14030), equation 4. The table is [2h-1, 2w-1, A].

    Attributes:
        table: rows h and columns w of the grid for which the table is made; the table is interpolated for other grids.
        num_heads: number A of attention heads.
        prefix: number of tokens before the grid; pairs with one of them have bias 0.
        init: initializer of the table.
    """

    table: tuple[int, int]
    num_heads: int
    prefix: int = 0
    init: nn.initializers.Initializer = nn.initializers.truncated_normal(0.02)

    @nn.compact
    def __call__(self, grid: tuple[int, int] | None = None) -> jax.Array:
        """Maps the size (h, w) of a grid (None = ``table``) to biases [A, prefix + h * w, prefix + h * w] float32."""
        h, w = grid or self.table
        shape = (2 * self.table[0] - 1, 2 * self.table[1] - 1, self.num_heads)
        table = self.param("relative_bias", self.init, shape)
        table = resize_positions(table, (2 * h - 1, 2 * w - 1))
        return jnp.pad(of_pairs(table, (h, w)), ((0, 0), (self.prefix, 0), (self.prefix, 0)))


class OffsetKeys(NamedTuple):
    """Keys whose products with the queries are biases of the scores.

    Attributes:
        keys: [O, E].
        offsets: [N, N] int, the key of each pair (query, key).
    """

    keys: jax.Array
    offsets: jax.Array

    def biases(self, q: jax.Array) -> jax.Array:
        """Maps queries [B, N, A, E] to biases [B, A, N, N] of the scaled scores."""
        scores = jnp.einsum("bnae,oe->bano", q, (self.keys / np.sqrt(q.shape[-1])).astype(q.dtype))
        return jnp.take_along_axis(scores, self.offsets[None, None], axis=-1)


class RelativeKeys(nn.Module):
    """A learned key for each offset (query - key) of two places in raster order; all heads share the keys.

    Dosovitskiy et al. 2020 (arXiv:2010.11929), appendix D.4, "relative positional embeddings".

    Attributes:
        table: rows and columns of the grid; other grids are refused.
        width: width E of a head.
        prefix: number of tokens before the grid; pairs with one of them have bias 0.
    """

    table: tuple[int, int]
    width: int
    prefix: int = 0

    @nn.compact
    def __call__(self, grid: tuple[int, int]) -> OffsetKeys:
        """The keys for a grid (h, w); the last key is zero, for pairs with a token before the grid.

        Raises:
            ValueError: the grid is not that of the table.
        """
        if tuple(grid) != tuple(self.table):
            raise ValueError(
                f"positions 'relative_1d' are made for {self.table[0]}x{self.table[1]} patches, not {grid[0]}x{grid[1]}; "
                "'relative' can be interpolated"
            )
        n = grid[0] * grid[1]
        keys = self.param("keys", nn.initializers.truncated_normal(0.02), (2 * n - 1, self.width))
        offsets = np.arange(n)[:, None] - np.arange(n)[None] + n - 1
        offsets = np.pad(offsets, ((self.prefix, 0), (self.prefix, 0)), constant_values=2 * n - 1)
        return OffsetKeys(jnp.pad(keys, ((0, 1), (0, 0))), jnp.asarray(offsets))
