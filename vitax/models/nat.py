"""Neighborhood Attention Transformer: Hassani et al., arXiv:2204.07143, 2022; dilated: Hassani & Shi, arXiv:2209.15001.

Equivalent to the official code with NATTEN 0.14, the version of its time: a map that is smaller than kernel * dilation
is padded with zeros below and to the right before q, k and v are computed, so that queries attend to padded tokens,
whose keys and values are the biases of the projections.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import stacked
from vitax.nn.blocks import DropPath, LayerNorm, drop_path_rates
from vitax.nn.convolution import Conv
from vitax.nn.dense import Dense, Projections
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.neighborhood import neighborhood_attention

_SMALL: dict[str, Any] = dict(width=96, depths=(3, 4, 18, 5), num_heads=(3, 6, 12, 24), mlp_ratio=2.0)
_BASE: dict[str, Any] = dict(width=128, depths=(3, 4, 18, 5), num_heads=(4, 8, 16, 32), mlp_ratio=2.0)
_LARGE: dict[str, Any] = dict(width=192, depths=(3, 4, 18, 5), num_heads=(6, 12, 24, 48), mlp_ratio=2.0)
_MINI: dict[str, Any] = dict(width=64, depths=(3, 4, 6, 5), num_heads=(2, 4, 8, 16), mlp_ratio=3.0)
_TINY: dict[str, Any] = _MINI | dict(depths=(3, 4, 18, 5))


def _dilations(depths: tuple[int, ...], largest: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Dilations of the blocks of each stage: alternately 1 and the stage's largest (arXiv:2209.15001, section 3.4)."""
    return tuple(tuple(d if i % 2 else 1 for i in range(depth)) for depth, d in zip(depths, largest, strict=True))


_AT_224: dict[str, Any] = dict(dilations=_dilations((3, 4, 18, 5), (8, 4, 2, 1)))
_AT_384 = dict(dilations=_dilations((3, 4, 18, 5), (13, 6, 3, 1)))

# Table 2 of the first paper, table 3 of the second; sizes with "-384" are for images of 384x384.
SIZES = {
    "Mini": _MINI,
    "Tiny": _TINY,
    "Small": _SMALL | dict(layer_scale=1e-5),
    "Base": _BASE | dict(layer_scale=1e-5),
    "DiNAT-Mini": _MINI | dict(dilations=_dilations(_MINI["depths"], (8, 4, 2, 1))),
    "DiNAT-Tiny": _TINY | _AT_224,
    "DiNAT-Small": _SMALL | _AT_224,
    "DiNAT-Base": _BASE | _AT_224 | dict(layer_scale=1e-5),
    "DiNAT-Large": _LARGE | _AT_224,
    "DiNAT-Large-384": _LARGE | _AT_384,
    "DiNAT-Large-384-11x11": _LARGE | _AT_224 | dict(kernel=11),
}


class NeighborhoodAttention(nn.Module):
    """Multi-head neighborhood attention on a map.

    Attributes:
        num_heads: number of attention heads.
        kernel: side of the neighborhoods, odd.
        dilation: distance between neighbors.
        qkv_bias: biases in the query, key and value projections.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    kernel: int
    dilation: int = 1
    qkv_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, D]
        _, height, width, d = x.shape
        if d % self.num_heads:
            raise ValueError(f"width {d} is not divisible by num_heads {self.num_heads}")
        min_side = self.kernel * self.dilation
        below, right = max(0, min_side - height), max(0, min_side - width)
        x = jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))
        xavier = nn.initializers.xavier_uniform()
        parts = Projections(3, d, self.qkv_bias, stacked(xavier, 3), self.dtype, name="qkv")(x)
        side = 2 * self.kernel - 1
        shape = (self.num_heads, side, side)
        table = self.param("relative_bias", nn.initializers.truncated_normal(0.02), shape)
        q, k, v = (part.reshape(*x.shape[:3], self.num_heads, d // self.num_heads) for part in parts)
        out = neighborhood_attention(q, k, v, table, kernel=self.kernel, dilation=self.dilation)
        out = out[:, :height, :width].reshape(-1, height, width, d)
        return Dense(d, dtype=self.dtype, kernel_init=xavier, name="out")(constrain_batch(out))


class NeighborhoodBlock(nn.Module):
    """Neighborhood attention, then MLP, each with a residual and, if ``layer_scale``, a learned factor per channel.

    Attributes:
        num_heads: number of attention heads.
        kernel: side of the neighborhoods, odd.
        dilation: distance between neighbors.
        mlp_width: hidden width of the MLP.
        qkv_bias: biases in the query, key and value projections.
        layer_scale: initial value of a learned factor per channel and branch; 0 = no factor.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate at the end of each branch and after the activation of the MLP.
        drop_path: rate at which a whole branch is dropped.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    kernel: int
    dilation: int
    mlp_width: int
    qkv_bias: bool = True
    layer_scale: float = 0.0
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D]
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        mlp = MLP(self.mlp_width, self.activation, self.dropout, self.dtype, name="mlp")
        attention = NeighborhoodAttention(
            self.num_heads, self.kernel, self.dilation, self.qkv_bias, self.dtype, name="attention"
        )

        def residual(x, branch, name):
            branch = Dropout(self.dropout, deterministic=not train)(branch)
            if self.layer_scale:
                factor = nn.initializers.constant(self.layer_scale)
                factor = self.param(f"{name}_scale", factor, (x.shape[-1],))
                branch = branch * factor.astype(x.dtype)[None, None, None]
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        x = residual(x, attention(norm(name="norm1")(x)), "attention")
        return residual(x, mlp(norm(name="norm2")(x), train), "mlp")


class NAT(nn.Module):
    """Image classifier, or backbone for dense tasks, for images of any size; the defaults are NAT-Mini.

    Attributes:
        num_classes: number K of classes; 0 = no head: the mean of the normalised tokens is returned.
        width: width D of the tokens in the first stage; each further stage doubles it.
        depths: number of blocks of each stage.
        num_heads: attention heads of the blocks of each stage.
        kernel: side of the neighborhoods, odd.
        dilations: dilation of each block of each stage; () = 1 everywhere, as in NAT.
        pyramid: return `features`, the normalised maps of all stages (strides 4, 8, 16, 32), instead of logits.
        mlp_ratio: hidden width of the MLPs / width of their stage.
        qkv_bias: biases in the query, key and value projections.
        layer_scale: initial value of a learned factor per channel and branch; 0 = no factor.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after attention and both layers of the MLPs.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 1000
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 5)
    num_heads: tuple[int, ...] = (2, 4, 8, 16)
    kernel: int = 7
    dilations: tuple[tuple[int, ...], ...] = ()
    pyramid: bool = False
    mlp_ratio: float = 3.0
    qkv_bias: bool = True
    layer_scale: float = 0.0
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

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
        return {4 * 2**i: norm(name=f"norm{i}")(x) for i, x in enumerate(maps)}

    def _stages(self, images: jax.Array, train: bool) -> list[jax.Array]:
        """The map at the end of each stage."""
        dilations = self.dilations or tuple((1,) * depth for depth in self.depths)
        if len(self.depths) != len(self.num_heads) or tuple(map(len, dilations)) != tuple(self.depths):
            raise ValueError(
                f"depths {self.depths}, num_heads {self.num_heads} and dilations {self.dilations} do not agree on "
                "the numbers of stages and blocks"
            )
        conv = functools.partial(
            Conv,
            kernel_size=(3, 3),
            strides=2,
            padding=1,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
        )
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        # Overlapping tokenizer; there is no activation between its two convolutions.
        x = conv(self.width // 2, name="tokenizer0")(images.astype(self.dtype))
        x = norm(name="patch_norm")(conv(self.width, name="tokenizer1")(x))
        block = nn.remat(NeighborhoodBlock, static_argnums=(2,)) if self.remat else NeighborhoodBlock
        rates = drop_path_rates(self.drop_path, sum(self.depths))
        maps, number = [], 0
        for stage, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            if stage:
                x = conv(2 * x.shape[-1], use_bias=False, name=f"downsample{stage - 1}")(x)
                x = norm(name=f"downsample{stage - 1}_norm")(x)
            for i in range(depth):
                x = block(
                    num_heads=heads,
                    kernel=self.kernel,
                    dilation=dilations[stage][i],
                    mlp_width=round(x.shape[-1] * self.mlp_ratio),
                    qkv_bias=self.qkv_bias,
                    layer_scale=self.layer_scale,
                    activation=self.activation,
                    norm_epsilon=self.norm_epsilon,
                    dropout=self.dropout,
                    drop_path=rates[number],
                    dtype=self.dtype,
                    name=f"block{number}",
                )(constrain_batch(x), train)
                number += 1
            maps.append(x)
        return maps
