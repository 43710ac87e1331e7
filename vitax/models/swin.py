"""Swin Transformer: Liu et al., "Hierarchical Vision Transformer using Shifted Windows", 2021, arXiv:2103.14030.

Deliberate differences from the paper and the official classification code:

- images of any size are accepted: a map that the window does not divide is padded, then shifted, as in the official
  detection code (``timm_windows``: shifted, then padded); absolute positions are interpolated;
- initialisation: Xavier for every matrix, zero biases, a zero head.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.nn.blocks import LayerNorm, drop_path_rates
from vitax.nn.dense import Dense
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import Positions
from vitax.nn.windows import WindowBlock

# Section 3.3 of the paper; images of 384x384 go with a window of 12.
SIZES = {
    "T": dict(width=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "S": dict(width=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "B": dict(width=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "L": dict(width=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}


def joined(x: jax.Array) -> jax.Array:
    """Puts 2x2 tokens side by side: [B, H, W, D] to [B, H/2, W/2, 4D]; odd maps are padded with zeros."""
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    # The row index varies faster than the column index.
    return jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)


class PatchMerging(nn.Module):
    """Joins 2x2 tokens into one of twice the width; odd maps are padded with zeros below and to the right.

    Attributes:
        norm_epsilon: epsilon of the layer norm.
        dtype: dtype of the computation; parameters are float32.
    """

    norm_epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, D] -> [B, H/2, W/2, 2D]
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(joined(x))
        width, xavier = x.shape[-1] // 2, nn.initializers.xavier_uniform()
        return Dense(width, use_bias=False, dtype=self.dtype, kernel_init=xavier, name="reduction")(x)


class Swin(nn.Module):
    """Image classifier, or backbone for dense tasks; the defaults are Swin-T for 224x224.

    Attributes:
        num_classes: number K of classes; 0 = no head: the mean of the normalised tokens is returned.
        image_size: (height, width) in pixels; a window that is larger than the map of a stage shrinks to the map.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens in the first stage; each further stage doubles it.
        depths: number of blocks of each stage.
        num_heads: attention heads of the blocks of each stage.
        window: side of the windows, in tokens.
        timm_windows: windows and shifts as in timm: a map is shifted before it is padded, and a window shrinks, and loses
            its shift, on each axis by itself, for the image size of the model. The official code has one side for both
            axes, and decides on the shift by the image.
        shrink_window: False = no window shrinks or loses its shift, whatever the image size, as in the detection code.
        shifted: False = no window is shifted (the paper's ablation, table 4).
        relative_bias: False = no relative positions (table 4).
        absolute_positions: learned positions are added to the patches (table 4).
        patch_norm: a norm after the patch embedding.
        pyramid: return `features`, the normalised maps of all stages (strides P, 2P, 4P, 8P), instead of logits.
        mlp_ratio: hidden width of the MLPs / width of their stage.
        qkv_bias: biases in the query, key and value projections.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after attention and both layers of the MLPs.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    timm_windows: bool = False
    shrink_window: bool = True
    shifted: bool = True
    relative_bias: bool = True
    absolute_positions: bool = False
    patch_norm: bool = True
    pyramid: bool = False
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    # Version 2 has others.
    block = WindowBlock
    merging = PatchMerging

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array | dict[int, jax.Array]:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K] (or features [B, D], or `features`).

        The normalised tokens of the last stage are stored as ``intermediates/tokens`` [B, h, w, D], except with
        ``pyramid``.

        Args:
            train: True = dropout and drop path are active.
        """
        if self.pyramid:
            return self.features(images, train)
        x = self._stages(images, train)[-1]
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        x = x.mean(axis=(1, 2)).astype(jnp.float32)
        if not self.num_classes:
            return x
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The normalised maps of all stages, {stride in pixels: [B, ceil(H/stride), ceil(W/stride), D]}."""
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        maps = self._stages(images, train)
        return {self.patch_size * 2**i: norm(name=f"norm{i}")(x) for i, x in enumerate(maps)}

    def _stages(self, images: jax.Array, train: bool) -> list[jax.Array]:
        """The map at the end of each stage."""
        if len(self.depths) != len(self.num_heads):
            raise ValueError(f"depths {self.depths} and num_heads {self.num_heads} differ in length")
        x = PatchEmbed(self.patch_size, self.width, pad=True, dtype=self.dtype, name="patch_embed")(images)
        if self.patch_norm:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="patch_norm")(x)
        if self.absolute_positions:
            table = (self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size)
            positions = Positions("learned_1d", table, self.width, antialias=False, name="pos_embed")(x.shape[1:3])
            x = x + positions.reshape(1, *x.shape[1:]).astype(x.dtype)
        block = nn.remat(self.block, static_argnums=(2,)) if self.remat else self.block
        rates = drop_path_rates(self.drop_path, sum(self.depths))
        maps, number = [], 0
        for stage, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            if stage:
                x = self.merging(self.norm_epsilon, self.dtype, name=f"merge{stage - 1}")(x)
            for i in range(depth):
                window, shift = self._window(stage, x.shape[1:3], odd=bool(i % 2))
                x = block(
                    num_heads=heads,
                    window=window,
                    shift=shift,
                    pad_first=not self.timm_windows,
                    mlp_width=round(x.shape[-1] * self.mlp_ratio),
                    qkv_bias=self.qkv_bias,
                    relative_bias=self.relative_bias,
                    activation=self.activation,
                    norm_epsilon=self.norm_epsilon,
                    dropout=self.dropout,
                    drop_path=rates[number],
                    dtype=self.dtype,
                    name=f"block{number}",
                    **self.block_fields(stage),
                )(x, train)
                number += 1
            maps.append(x)
        return maps

    def block_fields(self, stage: int) -> dict[str, Any]:
        """Fields of the blocks of a stage that only the blocks of a subclass have."""
        return {}

    def window_of(self, stage: int) -> tuple[int, int]:
        """Window of a stage; if windows shrink, at most its map at the image size of the model."""
        if not self.shrink_window:
            return (self.window, self.window)
        rows, columns = (min(self.window, side) for side in self._map_of(stage))
        return (rows, columns) if self.timm_windows else (min(rows, columns),) * 2

    def same_windows(self) -> bool:
        """True if ``timm_windows`` makes no difference at the image size of the model."""
        other = self.clone(timm_windows=not self.timm_windows)
        for stage in range(len(self.depths)):
            grid = self._map_of(stage)
            window, shift = self._window(stage, grid, odd=True)
            padded = any(side % w for side, w in zip(grid, window, strict=True))
            if (window, shift) != other._window(stage, grid, odd=True) or (padded and any(shift)):
                return False
        return True

    def _map_of(self, stage: int) -> tuple[int, int]:
        """Rows and columns of the map of a stage, at the image size of the model."""
        stride = self.patch_size * 2**stage
        return (-(-self.image_size[0] // stride), -(-self.image_size[1] // stride))

    def _window(self, stage: int, grid: tuple[int, int], odd: bool) -> tuple[tuple[int, int], tuple[int, int]]:
        """Window and shift of a block; if windows shrink, a map with a side of at most the window is not shifted."""
        window = self.window_of(stage)
        shift = (window[0] // 2, window[1] // 2)
        if not (odd and self.shifted):
            shift = (0, 0)
        elif self.timm_windows:
            if self.shrink_window:
                rows, columns = self._map_of(stage)
                shift = (shift[0] if rows > window[0] else 0, shift[1] if columns > window[1] else 0)
        elif self.shrink_window and min(grid) <= window[0]:
            shift = (0, 0)
        return window, shift
