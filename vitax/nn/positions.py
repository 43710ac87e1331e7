"""Position encodings of sequences and grids: fixed, learned, relative; rotations are in `vitax.nn.rotary`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax.nn.interpolation import resize_positions
from vitax.nn.relative import OffsetKeys, RelativeBias, RelativeKeys
from vitax.nn.rotary import Rotation, centred_rotation, counted_rotation

LEARNED = ("learned_1d", "learned_2d")
FIXED = ("sincos_1d", "sincos_2d")
RELATIVE = ("relative", "relative_1d")
CONCATENATED = 4  # one of so many channels holds concatenated positions


def sincos(places: np.ndarray, width: int, *, interleaved: bool = False) -> np.ndarray:
    """Sinusoids of Vaswani et al. 2017 (arXiv:1706.03762), section 3.5: wavelengths from 2 pi to 10000 * 2 pi.

    Args:
        places: [N] positions.
        width: D, even.
        interleaved: True = [sin, cos, sin, cos, ...], as in the paper; False = all sines, then all cosines.

    Returns:
        [N, D] float32, computed in float64.

    Raises:
        ValueError: the width is odd.
    """
    if width % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {width}")
    frequency = 1.0 / 10000 ** (np.arange(width // 2, dtype=np.float64) / (width / 2))
    angle = np.outer(np.asarray(places, np.float64), frequency)  # [N, D/2]
    pair = np.stack([np.sin(angle), np.cos(angle)], axis=-1 if interleaved else 1)
    return pair.reshape(len(angle), width).astype(np.float32)


def sincos_2d(grid: tuple[int, int], width: int) -> np.ndarray:
    """Sinusoids of a grid as in MAE (arXiv:2111.06377): the first half encodes the column, the second half the row.

    Args:
        grid: rows h and columns w.
        width: D, divisible by 4.

    Returns:
        [h, w, D] float32.

    Raises:
        ValueError: the width is not divisible by 4.
    """
    if width % 4:
        raise ValueError(f"2-D sinusoidal positions need a width divisible by 4, not {width}")
    h, w = grid
    rows = np.broadcast_to(sincos(np.arange(h), width // 2)[:, None], (h, w, width // 2))
    columns = np.broadcast_to(sincos(np.arange(w), width // 2)[None], (h, w, width // 2))
    return np.concatenate([columns, rows], axis=-1)


class Positions(nn.Module):
    """A vector for each place of a grid, and for the tokens before it.

    Attributes:
        kind: "learned_1d", one vector per place in raster order; "learned_2d", a half for the column and a half for the
            row; "sincos_1d"; "sincos_2d".
        table: rows and columns for which learned vectors are made; the vectors are interpolated for other grids.
        width: width D of the vectors.
        prefix: number of tokens before the grid (class token...); their vectors are learned, or zeros if the kind is
            fixed.
        antialias: how the vectors are interpolated, see `resize_positions`.
    """

    kind: str
    table: tuple[int, int]
    width: int
    prefix: int = 0
    antialias: bool = True

    @nn.compact
    def __call__(self, grid: tuple[int, int]) -> jax.Array:
        """Maps the size (h, w) of a grid to vectors [prefix + h * w, D] float32."""
        d, init = self.width, nn.initializers.truncated_normal(0.02)
        if self.kind == "learned_1d":
            places = resize_positions(self.param("grid", init, (*self.table, d)), grid, self.antialias)
        elif self.kind == "learned_2d":
            h, w = self.table
            rows = self.param("rows", init, (h, 1, d // 2))
            columns = self.param("columns", init, (1, w, d - d // 2))
            rows = resize_positions(rows, (grid[0], 1), self.antialias)
            columns = resize_positions(columns, (1, grid[1]), self.antialias)
            places = jnp.concatenate([jnp.broadcast_to(half, (*grid, half.shape[-1])) for half in (columns, rows)], -1)
        elif self.kind == "sincos_1d":
            places = jnp.asarray(sincos(np.arange(grid[0] * grid[1]), d))
        elif self.kind == "sincos_2d":
            places = jnp.asarray(sincos_2d(grid, d))
        else:
            raise ValueError(f"positions {self.kind!r} are unknown; choose one of {', '.join(LEARNED + FIXED)}")
        places = jnp.reshape(places, (-1, d))
        if not self.prefix:
            return places
        shape = (self.prefix, d)
        learned = self.kind in LEARNED
        prefix = self.param("prefix", init, shape) if learned else jnp.zeros(shape)
        return jnp.concatenate([prefix, places])


class PositionScheme(NamedTuple):
    """Positions of the tokens of a stack of blocks: vectors at the input, vectors before each block, biases of the scores of
    each block, or a rotation of queries and keys.

    Attributes:
        at_input: [1, N, D] vectors that are added to the tokens once; None = none.
        joined: [1, N, P] vectors that are concatenated to the tokens once; None = none.
        before: [1, N, D] vectors that are added before each block; () = none.
        biases: [1, A, N, N] biases of the scores of each block, or keys of offsets that make them; () = none.
        turned: rotation in all blocks; None = none.
        index: [B, n] indices of the tokens that are present; None = all tokens.
    """

    at_input: jax.Array | None = None
    joined: jax.Array | None = None
    before: Sequence[jax.Array] = ()
    biases: Sequence[jax.Array | OffsetKeys] = ()
    turned: Rotation | None = None
    index: jax.Array | None = None

    def enter(self, x: jax.Array) -> jax.Array:
        """Adds the vectors of the input to all tokens [B, N, D], or concatenates them to tokens [B, N, D - P]."""
        if self.joined is not None:
            joined = jnp.broadcast_to(self.joined.astype(x.dtype), (len(x), *self.joined.shape[1:]))
            return jnp.concatenate([x, joined], axis=-1)
        return x if self.at_input is None else x + self.at_input.astype(x.dtype)

    def before_block(self, i: int, x: jax.Array) -> jax.Array:
        """Adds the vectors of block i to the tokens that are present."""
        if not self.before:
            return x
        vectors = self.before[i]
        return x + (vectors if self.index is None else vectors[0][self.index]).astype(x.dtype)

    def rotation(self) -> Rotation | None:
        """The rotation of the tokens that are present."""
        if self.turned is None or self.index is None:
            return self.turned
        return Rotation(*(part[self.index] for part in self.turned))

    def bias(self, i: int) -> jax.Array | OffsetKeys | None:
        """The biases of block i between the tokens that are present: [B or 1, A, n, n].

        Raises:
            ValueError: only some tokens are present, and the biases are made by keys of offsets.
        """
        if not self.biases:
            return None
        biases = self.biases[i]
        if self.index is None:
            return biases
        if isinstance(biases, OffsetKeys):
            raise ValueError("relative_1d positions need all patches; choose other positions")
        pairs = biases[0][:, self.index[:, :, None], self.index[:, None, :]]  # [A, B, n, n]
        return jnp.moveaxis(pairs, 1, 0)


def position_scheme(
    kind: str,
    at: str,
    grid: tuple[int, int],
    table: tuple[int, int],
    *,
    width: int,
    depth: int,
    num_heads: int,
    prefix: int,
    antialias: bool = True,
) -> PositionScheme:
    """The positions of a ViT. Its parameters belong to the module that calls it.

    Args:
        kind: a kind of `Positions`, "relative" (`RelativeBias`), "relative_1d" (`RelativeKeys`), "rotary"
            (`centred_rotation`), "learned_rotary", vectors "learned_1d" at the input and `counted_rotation`, or "none".
        at: "input"; "concatenated", with vectors that are the last quarter of the channels; "blocks", with parameters for
            each block; or "blocks_shared", with the same ones for all blocks.
        grid: rows and columns of the patches.
        table: rows and columns that the parameters are made for.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of a block.
        prefix: number of tokens before the patches.
        antialias: how vectors are interpolated for another grid, see `resize_positions`.

    Raises:
        ValueError: the kind is unknown, its vectors do not fit the width, or it is "relative_1d" and the grid not that of
            the table.
    """
    if kind == "none":
        return PositionScheme()
    if kind == "rotary":
        return PositionScheme(turned=centred_rotation(grid, width // num_heads, prefix))
    if kind == "learned_rotary":
        vectors = Positions("learned_1d", table, width, prefix, antialias, name="pos_embed")(grid)[None]
        return PositionScheme(at_input=vectors, turned=counted_rotation(grid, width // num_heads, prefix))

    def make(name: str, width: int = width) -> Any:
        if kind == "relative":
            return RelativeBias(table, num_heads, prefix, name=name)(grid)[None]
        if kind == "relative_1d":
            return RelativeKeys(table, width // num_heads, prefix, name=name)(grid)
        return Positions(kind, table, width, prefix, antialias, name=name)(grid)[None]

    if at == "concatenated":
        return PositionScheme(joined=make("pos_embed", width // CONCATENATED))
    if at == "input":
        return PositionScheme(at_input=make("pos_embed"))
    each = [make(f"pos_embed{i}") for i in range(depth)] if at == "blocks" else [make("pos_embed")] * depth
    return PositionScheme(biases=each) if kind in RELATIVE else PositionScheme(before=each)
