"""Stacks of transformer blocks: encoder and decoder (Vaswani et al. 2017, arXiv:1706.03762, figure 1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax import masking
from vitax.masking import Lineage, Mask, TextMask
from vitax.mesh import constrain_batch
from vitax.nn.attention import CrossAttention, SelfAttention
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP


class Encoder(nn.Module):
    """A stack of blocks.

    Attributes:
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        norm_first: pre-norm; False = post-norm, as in the paper.
        final_norm: a norm after the last block; pre-norm needs it, and PyTorch's nn.Transformer always has it.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        attention_bias: biases in the attention projections.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after attention and MLP.
        dtype: dtype of the computation; parameters are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    depth: int
    num_heads: int
    mlp_width: int
    norm_first: bool = False
    final_norm: bool = False
    activation: str = "relu"
    attention_bias: bool = True
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: Mask = None, train: bool = False) -> jax.Array:
        """Maps [B, N, D] to [B, N, D]; ``mask`` is [B, N] bool or lengths; no token attends to padding."""
        visible = masking.of_keys(mask)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                qkv_bias=self.attention_bias,
                out_bias=self.attention_bias,
                activation=self.activation,
                norm_first=self.norm_first,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train, mask=visible)
        if self.final_norm:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        return x


class DecoderBlock(nn.Module):
    """Self-attention, attention to the memory if one is given, and MLP, each with a residual connection.

    Attributes:
        num_heads: number of attention heads.
        mlp_width: hidden width of the MLP.
        causal: no token attends to later tokens.
        norm_first: pre-norm; False = post-norm, as in the paper.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        attention_bias: biases in the attention projections.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after attention and MLP.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    mlp_width: int
    causal: bool = True
    norm_first: bool = False
    activation: str = "relu"
    attention_bias: bool = True
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool,
        cache_length: int,
        memory: jax.Array | None,
        mask: TextMask | Lineage,
        memory_mask: Mask,
        position: jax.Array | None,
    ) -> jax.Array:
        """Maps [B, N, D] to [B, N, D]; the other arguments are those of `Decoder`."""
        attention = dict(
            num_heads=self.num_heads, qkv_bias=self.attention_bias, out_bias=self.attention_bias, dtype=self.dtype
        )

        def residual(x, name, branch):
            norm = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name=name)
            y = branch(norm(x) if self.norm_first else x)
            x = constrain_batch(x + Dropout(self.dropout, deterministic=not train)(y))
            return x if self.norm_first else norm(x)

        attend = SelfAttention(name="attention", **attention)
        if position is not None or isinstance(mask, Lineage):  # the token attends to everything in the cache
            options: dict = dict(mask=mask, position=position, cache_length=cache_length)
        else:
            options = dict(mask=masking.of_keys(mask), causal=self.causal)
        x = residual(x, "norm1", lambda y: attend(y, train, **options))
        if memory is not None:
            cross_attend = CrossAttention(name="cross_attention", **attention)
            memory_visible = masking.of_keys(memory_mask)
            cached = position is not None
            x = residual(x, "norm_cross", lambda y: cross_attend(y, memory, train, mask=memory_visible, cached=cached))
        mlp = MLP(self.mlp_width, self.activation, dtype=self.dtype, name="mlp")
        return residual(x, "norm2", lambda y: mlp(y, train))


class Decoder(nn.Module):
    """A stack of decoder blocks.

    Attributes:
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        causal: no token attends to later tokens.
        norm_first: pre-norm; False = post-norm, as in the paper.
        final_norm: a norm after the last block; pre-norm needs it, and PyTorch's nn.Transformer always has it.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        attention_bias: biases in the attention projections.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after attention and MLP.
        dtype: dtype of the computation; parameters are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    depth: int
    num_heads: int
    mlp_width: int
    causal: bool = True
    norm_first: bool = False
    final_norm: bool = False
    activation: str = "relu"
    attention_bias: bool = True
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        *,
        mask: TextMask | Lineage = None,
        memory_mask: Mask = None,
        position: jax.Array | None = None,
        cache_length: int = 0,
        train: bool = False,
    ) -> jax.Array:
        """Maps [B, N, D] to [B, N, D]; if ``causal``, token n depends on tokens 0..n and on the memory.

        Args:
            memory: [B, M, D] output of the encoder, or fewer rows, see `CrossAttention`; None = a language model.
            mask: [B, N] bool, False = padding, to which no token attends, or lengths; with ``position`` None, or the
                `Lineage` of a beam search.
            memory_mask: [B, M] bool, False = padding, to which no token attends, or lengths.
            position: [] int; if given, N = 1 and the token is at this position; the keys and values of the earlier
                tokens are in the collection "cache".
            cache_length: number of positions in the cache.
            train: True = dropout is active.
        """
        block = nn.remat(DecoderBlock, static_argnums=(2, 3)) if self.remat else DecoderBlock
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                causal=self.causal,
                norm_first=self.norm_first,
                activation=self.activation,
                attention_bias=self.attention_bias,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train, cache_length, memory, mask, memory_mask, position)
        if self.final_norm:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        return x
