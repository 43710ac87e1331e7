"""Transformer: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762.

`Transformer` is the encoder-decoder of the paper, `LanguageModel` the decoder alone; their blocks are in
`vitax.nn.stacks`. Attention projections have biases, as in fairseq, PyTorch and Marian; in tensor2tensor they have no
biases (``attention_bias=False``).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax import masking
from vitax.masking import Lineage, Mask, TextMask
from vitax.mesh import constrain_batch
from vitax.nn.dense import word_logits
from vitax.nn.dropout import Dropout
from vitax.nn.positions import sincos
from vitax.nn.stacks import Decoder, Encoder

# Table 3 of the paper.
SIZES = {
    "base": dict(width=512, num_heads=8, mlp_width=2048, dropout=0.1),
    "big": dict(width=1024, num_heads=16, mlp_width=4096, dropout=0.3),
}
LM_SIZES = {
    "small": dict(width=512, depth=6, num_heads=8, mlp_width=2048),
    "base": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
}


def _embed(
    table: jax.Array,
    tokens: jax.Array,
    kind: str,
    position: jax.Array | None,
    cache_length: int,
    dtype: Dtype,
    scaled: bool = True,
    places: jax.Array | None = None,
) -> jax.Array:
    """Maps tokens [B, N] to rows [B, N, D] of the table [V, D] times sqrt(D), plus sinusoids (sections 3.4 and 3.5).

    With ``scaled=False``, the factor sqrt(D) is left out. ``places`` [B, N] are those of the tokens in their documents.
    """
    if kind not in ("interleaved", "halves", "none"):
        raise ValueError(f"positions {kind!r} are unknown; choose 'interleaved', 'halves' or 'none'")
    (_, length), d = tokens.shape, table.shape[-1]
    x = jnp.take(table, tokens, axis=0) * np.float32(np.sqrt(d) if scaled else 1.0)
    if kind != "none":
        whole = np.arange(length if position is None else cache_length)
        waves = jnp.asarray(sincos(whole, d, interleaved=kind == "interleaved"))
        if position is not None:
            waves = jax.lax.dynamic_slice_in_dim(waves, position, 1)
        x = x + (waves[None] if places is None else waves[places])
    return x.astype(dtype)


class Transformer(nn.Module):
    """Encoder-decoder; the defaults are the paper's base model.

    Attributes:
        vocab_size: size V of the vocabulary that source and target share.
        width: width D of the tokens.
        encoder_depth: number of blocks of the encoder.
        decoder_depth: number of blocks of the decoder.
        num_heads: attention heads of each block.
        decoder_heads: attention heads of the decoder's blocks; 0 = as many as in the encoder.
        mlp_width: hidden width of the MLPs.
        tied: source, target and output share one table (section 3.4); False = three tables.
        logits_bias: a learned number for each word is added to the logits, as in Marian.
        scale_embedding: word vectors are multiplied by sqrt(D) (section 3.4).
        positions: sinusoids "interleaved" [sin, cos, sin, cos, ...] (the paper) or in "halves" [sin..., cos...]
            (Marian), or "none".
        norm_first: pre-norm, with a norm after each stack; False = post-norm, as in the paper.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        attention_bias: biases in the attention projections.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after embeddings, attention and MLP.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    vocab_size: int = 37000
    width: int = 512
    encoder_depth: int = 6
    decoder_depth: int = 6
    num_heads: int = 8
    decoder_heads: int = 0
    mlp_width: int = 2048
    tied: bool = True
    logits_bias: bool = False
    scale_embedding: bool = True
    positions: str = "interleaved"
    norm_first: bool = False
    activation: str = "relu"
    attention_bias: bool = True
    norm_epsilon: float = 1e-5
    dropout: float = 0.1
    dtype: Dtype = jnp.float32
    remat: bool = False

    def setup(self):
        stack = dict(
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            norm_first=self.norm_first,
            final_norm=self.norm_first,
            activation=self.activation,
            attention_bias=self.attention_bias,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
            remat=self.remat,
        )
        self.encoder = Encoder(depth=self.encoder_depth, **stack)
        heads = self.decoder_heads or self.num_heads
        self.decoder = Decoder(depth=self.decoder_depth, **(stack | {"num_heads": heads}))
        self.drop = Dropout(self.dropout)
        init, shape = nn.initializers.normal(self.width**-0.5), (self.vocab_size, self.width)
        if self.tied:
            self.source_embed = self.target_embed = self.output_embed = self.param("word_embed", init, shape)
        else:
            self.source_embed = self.param("source_embed", init, shape)
            self.target_embed = self.param("target_embed", init, shape)
            self.output_embed = self.param("output_embed", init, shape)
        if self.logits_bias:
            self.bias = self.param("logits_bias", nn.initializers.zeros, (self.vocab_size,))

    def encode(self, source: jax.Array, source_mask: Mask = None, train: bool = False) -> jax.Array:
        """Maps token ids [B, M] to the memory [B, M, D]; the mask is [B, M] bool, False = padding, or `Lengths`."""
        x = _embed(self.source_embed, source, self.positions, None, 0, self.dtype, self.scale_embedding)
        x = self.drop(x, deterministic=not train)
        return self.encoder(constrain_batch(x), source_mask, train)

    def decode(
        self,
        target: jax.Array,
        memory: jax.Array,
        source_mask: Mask = None,
        *,
        target_mask: Mask | Lineage = None,
        position: jax.Array | None = None,
        cache_length: int = 0,
        train: bool = False,
        hidden: bool = False,
    ) -> jax.Array:
        """Maps target ids [B, N], shifted right, to float32 logits [B, N, V] of the next token.

        Args:
            target: [B, N] int.
            memory: [B, M, D] output of the encoder; or [B / k, M, D], each row that of k neighbouring rows of the target.
            source_mask: [B, M] bool, False = padding, or `Lengths`; with as many rows as the memory.
            target_mask: [B, N] bool, False = padding, or `Lengths`; with ``position`` None, or the `Lineage` of a beam search.
            position: [] int; if given, N = 1, see `Decoder`; apply the model with ``mutable=["cache"]``.
            cache_length: number of positions in the cache.
            train: True = dropout is active.
            hidden: True = return the hidden states [B, N, D], which `logits` maps to the logits.
        """
        scaled = self.scale_embedding
        x = _embed(self.target_embed, target, self.positions, position, cache_length, self.dtype, scaled)
        x = self.drop(x, deterministic=not train)
        x = self.decoder(
            constrain_batch(x),
            memory,
            mask=target_mask,
            memory_mask=source_mask,
            position=position,
            cache_length=cache_length,
            train=train,
        )
        return x if hidden else self.logits(x)

    def logits(self, x: jax.Array) -> jax.Array:
        """Maps hidden states [..., D] to float32 logits [..., V]."""
        logits = word_logits(x, self.output_embed)
        return logits + self.bias.reshape((1,) * (logits.ndim - 1) + (-1,)) if self.logits_bias else logits

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array,
        *,
        source_mask: Mask = None,
        target_mask: Mask = None,
        train: bool = False,
        hidden: bool = False,
    ) -> jax.Array:
        """Maps source ids [B, M] and shifted target ids [B, N] to float32 logits [B, N, V] of the next token.

        Args:
            source: [B, M] int.
            target: [B, N] int, shifted right.
            source_mask: [B, M] bool, False = padding, or `Lengths`.
            target_mask: [B, N] bool, False = padding, or `Lengths`.
            train: True = dropout is active.
            hidden: True = return the hidden states [B, N, D], which `logits` maps to the logits.
        """
        memory = self.encode(source, source_mask, train)
        return self.decode(target, memory, source_mask, target_mask=target_mask, train=train, hidden=hidden)


class LanguageModel(nn.Module):
    """The decoder alone, which predicts each token from the tokens before it.

    Attributes:
        vocab_size: size V of the vocabulary; one table of word vectors serves input and output.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        positions: sinusoids "interleaved" or in "halves", or "none".
        norm_first: pre-norm, with a norm after the stack; False = post-norm.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        attention_bias: biases in the attention projections.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after embeddings, attention and MLP.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    vocab_size: int = 37000
    width: int = 512
    depth: int = 6
    num_heads: int = 8
    mlp_width: int = 2048
    positions: str = "interleaved"
    norm_first: bool = True
    activation: str = "gelu"
    attention_bias: bool = True
    norm_epsilon: float = 1e-5
    dropout: float = 0.1
    dtype: Dtype = jnp.float32
    remat: bool = False

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.word_embed = self.param("word_embed", init, (self.vocab_size, self.width))
        self.drop = Dropout(self.dropout)
        self.decoder = Decoder(
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            norm_first=self.norm_first,
            final_norm=self.norm_first,
            activation=self.activation,
            attention_bias=self.attention_bias,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
            remat=self.remat,
        )

    def __call__(
        self,
        tokens: jax.Array,
        *,
        mask: TextMask = None,
        position: jax.Array | None = None,
        cache_length: int = 0,
        train: bool = False,
        hidden: bool = False,
    ) -> jax.Array:
        """Maps token ids [B, N] to float32 logits [B, N, V] of the next token.

        Args:
            tokens: [B, N] int.
            mask: [B, N] bool, False = padding, to which no token attends, or `Lengths`; or the `Documents` of a row.
            position: [] int; if given, N = 1, see `Decoder`.
            cache_length: number of positions in the cache.
            train: True = dropout is active.
            hidden: True = return the hidden states [B, N, D], which `logits` maps to the logits.
        """
        places = masking.places(mask)
        x = _embed(self.word_embed, tokens, self.positions, position, cache_length, self.dtype, places=places)
        x = constrain_batch(self.drop(x, deterministic=not train))
        x = self.decoder(x, mask=mask, position=position, cache_length=cache_length, train=train)
        return x if hidden else self.logits(x)

    def logits(self, x: jax.Array) -> jax.Array:
        """Maps hidden states [..., D] to float32 logits [..., V]."""
        return word_logits(x, self.word_embed)
