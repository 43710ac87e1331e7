"""Swin Transformer: Liu et al., "Hierarchical Vision Transformer using Shifted Windows", 2021, arXiv:2103.14030.

Differs from the paper and the official classification code on purpose:
- images of any size are legal: a map that the window does not divide is padded, then shifted, as in the official
  detection code (timm shifts first; then padded tokens land elsewhere);
- initialisation: Xavier for every matrix, zero biases, a zero head.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.nn.blocks import LayerNorm, drop_path_rates
from vitax.nn.dense import Dense
from vitax.nn.patches import PatchEmbed
from vitax.nn.windows import WindowBlock

# Section 3.3 of the paper; a window of 12 goes with images of 384x384.
SIZES = {
    "T": dict(width=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "S": dict(width=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "B": dict(width=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "L": dict(width=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}


class PatchMerging(nn.Module):
    """Joins 2x2 tokens to one of twice the width; odd maps are padded with zeros below and to the right."""

    norm_epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, D] -> [B, H/2, W/2, 2D]
        _, height, width, d = x.shape
        x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        # The row runs faster than the column.
        x = jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        return Dense(
            2 * d, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name="reduction"
        )(x)


class Swin(nn.Module):
    """Image classifier, or backbone of dense tasks; the defaults are Swin-T for 224x224.

    Attributes:
        num_classes: K; 0 = no head, the mean of the normalised tokens is returned.
        image_size: (height, width) in pixels; a window larger than a stage's map shrinks to it.
        patch_size: P in pixels.
        width: D of the first stage; each further stage doubles it.
        depths, num_heads: blocks and heads of each stage.
        window: side of the windows, in tokens.
        shrink_window: False = no window shrinks and none loses its shift, whatever the size: detection code.
        shifted: False = no window is shifted (the paper's ablation, table 4).
        relative_bias: False = no position encoding (table 4).
        pyramid: returns the normalised maps of all stages (strides P, 2P, 4P, 8P) instead of logits.
        drop_path: rate of the last block; the first has 0, those between lie on a line.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    shrink_window: bool = True
    shifted: bool = True
    relative_bias: bool = True
    pyramid: bool = False
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] normalised images to [B, K] float32 logits (or [B, D] features, or a tuple of maps).

        Shows the normalised tokens of the last stage as ``intermediates/tokens`` [B, h, w, D].
        """
        if len(self.depths) != len(self.num_heads):
            raise ValueError(f"depths {self.depths} and num_heads {self.num_heads} differ in length")
        norm = {"epsilon": self.norm_epsilon, "dtype": self.dtype}
        x = PatchEmbed(self.patch_size, self.width, dtype=self.dtype, name="patch_embed")(images)
        x = LayerNorm(**norm, name="patch_norm")(x)
        block = nn.remat(WindowBlock, static_argnums=(2,)) if self.remat else WindowBlock
        rates = drop_path_rates(self.drop_path, sum(self.depths))
        maps, number = [], 0
        for stage, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            if stage:
                x = PatchMerging(self.norm_epsilon, self.dtype, name=f"merge{stage - 1}")(x)
            for i in range(depth):
                window, shift = self._window(stage, x.shape[1:3], odd=bool(i % 2))
                x = block(
                    num_heads=heads,
                    window=window,
                    shift=shift,
                    mlp_width=round(x.shape[-1] * self.mlp_ratio),
                    qkv_bias=self.qkv_bias,
                    relative_bias=self.relative_bias,
                    activation=self.activation,
                    norm_epsilon=self.norm_epsilon,
                    dropout=self.dropout,
                    drop_path=rates[number],
                    dtype=self.dtype,
                    name=f"block{number}",
                )(x, train)
                number += 1
            if self.pyramid:
                maps.append(LayerNorm(**norm, name=f"norm{stage}")(x))
        if self.pyramid:
            return tuple(maps)
        x = LayerNorm(**norm, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        x = x.mean(axis=(1, 2)).astype(jnp.float32)
        if not self.num_classes:
            return x
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)

    def window_of(self, stage: int) -> int:
        """Side of the windows of a stage: not larger than its map at the native image size, if windows shrink."""
        stride = self.patch_size * 2**stage
        sides = (-(-side // stride) for side in self.image_size)
        return min(self.window, *sides) if self.shrink_window else self.window

    def _window(self, stage: int, grid: tuple[int, int], odd: bool) -> tuple[tuple[int, int], tuple[int, int]]:
        """Window and shift of a block: a map that is not larger than the window is seen whole, without a shift."""
        side = self.window_of(stage)
        still = not (odd and self.shifted) or (self.shrink_window and min(grid) <= side)
        return (side, side), (0, 0) if still else (side // 2, side // 2)
