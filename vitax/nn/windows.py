"""Windows of a feature map, with their shift and mask, and the block of Swin and SwinIR."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import SelfAttention
from vitax.nn.blocks import DropPath, LayerNorm
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.relative import RelativeBias

Pair = tuple[int, int]


def window_partition(x: jax.Array, window: Pair) -> jax.Array:
    """Cuts [B, H, W, D] into windows [B, windows, h*w, D], row by row; h divides H and w divides W."""
    b, height, width, d = x.shape
    h, w = window
    x = x.reshape(b, height // h, h, width // w, w, d).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, -1, h * w, d)


def window_reverse(windows: jax.Array, window: Pair, grid: Pair) -> jax.Array:
    """The inverse of `window_partition`: [B, windows, h*w, D] to [B, H, W, D] for a grid (H, W)."""
    b, _, _, d = windows.shape
    (h, w), (height, width) = window, grid
    x = windows.reshape(b, height // h, width // w, h, w, d).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, height, width, d)


def shift_mask(grid: Pair, window: Pair, shift: Pair) -> np.ndarray:
    """Mask of the windows of a map that was rolled by ``-shift``: True = both tokens are in the same region.

    A region is a part of a window that was connected before the roll: Liu et al. 2021 (arXiv:2103.14030), section 3.2
    and figure 4.

    Returns:
        [windows, h*w, h*w] bool.
    """

    def region(size: int, window: int, shift: int) -> np.ndarray:
        place = np.arange(size)
        return (place >= size - window).astype(int) + (place >= size - shift if shift else 0)

    rows, columns = (region(*sizes) for sizes in zip(grid, window, shift, strict=True))
    regions = 3 * rows[:, None] + columns[None]
    h, w = window
    window_regions = regions.reshape(grid[0] // h, h, grid[1] // w, w).swapaxes(1, 2).reshape(-1, h * w)
    return window_regions[:, :, None] == window_regions[:, None, :]


def in_windows(
    x: jax.Array,
    window: Pair,
    shift: Pair,
    pad_first: bool,
    attend: Callable[[jax.Array, np.ndarray | None], jax.Array],
) -> jax.Array:
    """Applies a function to the shifted windows of a map [B, H, W, D].

    A map that the window does not divide is padded with zeros below and to the right; tokens attend to the padding too.

    Args:
        window: (height, width) of the windows.
        shift: rows and columns by which the map is rolled; (0, 0) = not shifted.
        pad_first: the map is padded before it is rolled, as in the official detection code; False = after, as in timm.
        attend: function (windows [B, W, N, D], mask [1, W, 1, N, N] or None) -> [B, W, N, D].
    """
    _, height, width, _ = x.shape
    pad = ((0, 0), (0, -height % window[0]), (0, -width % window[1]), (0, 0))
    grid = (height + pad[1][1], width + pad[2][1])
    back = (-shift[0], -shift[1])
    roll = functools.partial(jnp.roll, axis=(1, 2))
    x = roll(jnp.pad(x, pad), back) if pad_first else jnp.pad(roll(x, back), pad)
    mask = shift_mask(grid, window, shift)[None, :, None] if any(shift) else None
    windows = constrain_batch(window_partition(x, window))
    x = window_reverse(attend(windows, mask), window, grid)
    return roll(x, shift)[:, :height, :width] if pad_first else roll(x[:, :height, :width], shift)


class WindowBlock(nn.Module):
    """Attention inside windows, which are shifted in every second block, then MLP: Liu et al. 2021, equation 3.

    A map that the window does not divide is padded after the norm, see `in_windows`.

    Attributes:
        num_heads: number of attention heads.
        window: (height, width) of the windows.
        shift: rows and columns by which the map is rolled; (0, 0) = not shifted.
        pad_first: the map is padded before it is rolled, as in the official detection code; False = after, as in timm.
        mlp_width: hidden width of the MLP.
        qkv_bias: biases in the query, key and value projections.
        relative_bias: a learned bias for each offset, see `RelativeBias`.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate at the end of each branch and after the activation of the MLP.
        drop_path: rate at which a whole branch is dropped.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    window: Pair
    shift: Pair
    mlp_width: int
    pad_first: bool = True
    qkv_bias: bool = True
    relative_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D]
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        mlp = MLP(self.mlp_width, self.activation, self.dropout, self.dtype, name="mlp")

        def residual(x, branch):
            branch = Dropout(self.dropout, deterministic=not train)(branch)
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        x = residual(x, self._attend(norm(name="norm1")(x), train))
        return residual(x, mlp(norm(name="norm2")(x), train))

    def _attend(self, x: jax.Array, train: bool) -> jax.Array:
        bias = None
        if self.relative_bias:
            bias = RelativeBias(self.window, self.num_heads, name="positions")()[None, None]
        attention = SelfAttention(self.num_heads, qkv_bias=self.qkv_bias, dtype=self.dtype, name="attention")
        attend = lambda windows, mask: attention(windows, train, bias=bias, mask=mask)
        return in_windows(x, self.window, self.shift, self.pad_first, attend)
