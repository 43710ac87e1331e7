"""The Transformer of DETR: Carion et al., "End-to-End Object Detection with Transformers", 2020, arXiv:2005.12872.

A Transformer encodes the map of a backbone, and its decoder turns learned queries into a class and a box each.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.masking import Mask
from vitax.nn.attention import Attention
from vitax.nn.blocks import LayerNorm
from vitax.nn.dense import Dense
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP

TEMPERATURE = 10_000  # the ratio of the highest to the lowest frequency of the positions, nearly


def sine_positions(visible: jax.Array, width: int) -> jax.Array:
    """Positions of a map as sines and cosines, measured in shares of the picture from 0 to 2 pi.

    Args:
        visible: [B, h, w] bool, True = inside the picture, which begins at the top left.
        width: number D of features of each place, a multiple of 4; half of them are for the rows.

    Returns:
        [B, h, w, D] float32.
    """
    half = width // 2
    frequencies = jnp.asarray(float(TEMPERATURE) ** (-2 * (np.arange(half) // 2) / half), jnp.float32)
    parts = []
    for axis in (1, 2):  # rows, then columns
        place = jnp.cumsum(visible, axis=axis, dtype=jnp.float32)
        last = jax.lax.slice_in_dim(place, place.shape[axis] - 1, None, axis=axis)
        angles = (place / (last + 1e-6) * (2 * np.pi))[..., None] * frequencies.reshape(1, 1, 1, -1)
        waves = jnp.stack([jnp.sin(angles[..., 0::2]), jnp.cos(angles[..., 1::2])], axis=-1)
        parts.append(waves.reshape(*visible.shape, half))
    return jnp.concatenate(parts, axis=-1)


class PositionedAttention(Attention):
    """Multi-head attention whose queries and keys, not its values, have positions added (Carion et al. 2020, arXiv:2005.12872).

    Attributes:
        num_heads: number of attention heads.
        qkv_bias: biases in the query, key and value projections.
        out_bias: bias in the output projection.
        dropout: dropout rate on the attention weights.
        out_width: width of the output; 0 = the width of the input.
        dtype: dtype of the computation; parameters are float32.
    """

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array,
        query_positions: jax.Array,
        memory_positions: jax.Array,
        train: bool = False,
        *,
        mask: Mask = None,
    ) -> jax.Array:
        """Maps queries [B, N, D] and a memory [B, M, D] to [B, N, D].

        Args:
            query_positions: [B, N, D] positions of the queries.
            memory_positions: [B, M, D] positions of the memory.
            mask: see `dot_product_attention`.
        """
        (q,) = self.project(x + query_positions, "q", self.qkv_bias)
        (k,) = self.project(memory + memory_positions, "k", self.qkv_bias)
        (v,) = self.project(memory, "v", self.qkv_bias)
        return self.attend(q, k, v, None, mask, False, None, train)


class EncoderLayer(nn.Module):
    """Self-attention with positions, then an MLP; each is followed by the norm of its sum with its input.

    Attributes:
        num_heads: number of attention heads.
        mlp_width: hidden width of the MLP.
        dropout: dropout rate of the outputs and of the hidden features of the MLP.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    mlp_width: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, positions: jax.Array, mask: jax.Array | None, train: bool) -> jax.Array:
        """Maps [B, N, D] with positions [B, N, D] to [B, N, D]; mask: [B, 1, 1, N] bool, True = inside the picture."""
        norm = functools.partial(LayerNorm, epsilon=1e-5, dtype=self.dtype)
        drop = Dropout(self.dropout, deterministic=not train)
        attention = PositionedAttention(self.num_heads, dropout=self.dropout, dtype=self.dtype, name="attention")
        x = norm(name="norm1")(x + drop(attention(x, x, positions, positions, train, mask=mask)))
        return norm(name="norm2")(x + drop(MLP(self.mlp_width, "relu", self.dropout, self.dtype, name="mlp")(x, train)))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, their attention to the picture, and an MLP, each followed by a norm.

    Attributes:
        num_heads, mlp_width, dropout, dtype: as in `EncoderLayer`.
    """

    num_heads: int
    mlp_width: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        queries: jax.Array,
        memory: jax.Array,
        positions: jax.Array,
        mask: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """Maps [B, Q, D] to [B, Q, D].

        Args:
            x: features of the queries so far.
            queries: [B, Q, D] learned positions of the queries.
            memory: [B, N, D] encoded picture.
            positions: [B, N, D] positions of the picture.
            mask: [B, 1, 1, N] bool, True = inside the picture; None = all.
            train: True = dropout is active.
        """
        norm = functools.partial(LayerNorm, epsilon=1e-5, dtype=self.dtype)
        drop = Dropout(self.dropout, deterministic=not train)
        attention = functools.partial(PositionedAttention, self.num_heads, dropout=self.dropout, dtype=self.dtype)
        x = norm(name="norm1")(x + drop(attention(name="self_attention")(x, x, queries, queries, train)))
        seen = attention(name="cross_attention")(x, memory, queries, positions, train, mask=mask)
        x = norm(name="norm2")(x + drop(seen))
        return norm(name="norm3")(x + drop(MLP(self.mlp_width, "relu", self.dropout, self.dtype, name="mlp")(x, train)))


class DETR(nn.Module):
    """Classes and boxes of the objects in a picture, from a map of a backbone.

    Attributes:
        num_classes: number K of classes.
        num_queries: number Q of objects that are looked for in each picture.
        width: width D of the Transformer.
        encoder_depth, decoder_depth: number of layers.
        num_heads: number of attention heads.
        mlp_width: hidden width of the MLPs.
        dropout: dropout rate.
        dtype: dtype of the computation; parameters, logits and boxes are float32.
    """

    num_classes: int
    num_queries: int
    width: int
    encoder_depth: int
    decoder_depth: int
    num_heads: int
    mlp_width: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array | None, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Maps [B, h, w, C] to the logits [L, B, Q, K + 1] and boxes [L, B, Q, 4] after each of L layers of the decoder.

        The last class is "no object". Boxes are the centre (x, y), width and height as shares of the picture. Without ``train``,
        L is 1: the last layer only.

        Args:
            x: map of a backbone.
            visible: [B, h, w] bool, True = inside the picture; None = everywhere.
            train: True = dropout is active.
        """
        if self.width % 4 or self.decoder_depth < 1:
            raise ValueError(
                f"head_width={self.width} must be a multiple of 4, and decoder_depth={self.decoder_depth} at least 1"
            )
        b, h, w, _ = x.shape
        mask = None if visible is None else visible.reshape(b, 1, 1, h * w)
        places = sine_positions(jnp.ones((b, h, w), bool) if visible is None else visible, self.width)
        places = places.reshape(b, h * w, self.width).astype(self.dtype)
        options: dict[str, Any] = dict(mlp_width=self.mlp_width, dropout=self.dropout, dtype=self.dtype)
        memory = Dense(self.width, dtype=self.dtype, name="projection")(x.reshape(b, h * w, -1))
        for i in range(self.encoder_depth):
            layer = EncoderLayer(self.num_heads, **options, name=f"encoder{i}")
            memory = layer(memory, places, mask, train)
        table = self.param("queries", nn.initializers.normal(1.0), (self.num_queries, self.width))
        queries = jnp.broadcast_to(table, (b, *table.shape)).astype(self.dtype)
        x, found = jnp.zeros_like(queries), []
        norm = LayerNorm(epsilon=1e-5, dtype=self.dtype, name="decoder_norm")
        for i in range(self.decoder_depth):
            layer = DecoderLayer(self.num_heads, **options, name=f"decoder{i}")
            x = layer(x, queries, memory, places, mask, train)
            if train or i == self.decoder_depth - 1:
                found.append(norm(x))
        each = jnp.stack(found).astype(jnp.float32)  # [L, B, Q, D]
        logits = Dense(self.num_classes + 1, name="classes")(each)
        for i, size in enumerate((self.width, self.width, 4)):
            each = Dense(size, name=f"box{i}")(nn.relu(each) if i else each)
        return logits, jax.nn.sigmoid(each)
