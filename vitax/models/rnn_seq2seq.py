"""Recurrent encoder and attention decoder: Bahdanau et al., arXiv:1409.0473, 2014, the Transformer's predecessor.

The interface is that of `vitax.models.transformer.Transformer`. Differences from the paper: the decoder starts from the
mean of the encoder's states (paper: its first backward state), and a plain linear layer computes the logits (paper:
maxout).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax import masking
from vitax.masking import Lineage, Mask
from vitax.mesh import constrain_batch
from vitax.nn.dense import Dense, word_logits
from vitax.nn.dropout import Dropout

CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
SIZES = {
    "small": dict(width=256, depth=1),
    "base": dict(width=512, depth=2),  # the width of the Transformer base
}


class AttentionCell(nn.Module):
    """One step of the decoder: attend to the source with the last state, then update the state.

    Attributes:
        width: width D of the states.
        depth: number of recurrent layers.
        cell: "gru" or "lstm".
        dtype: dtype of the computation; parameters are float32.
    """

    width: int
    depth: int
    cell: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, carry, x, memory, keys, mask):
        """Maps the carry and word vectors [B, D] to the new carry and an output [B, D], with attention to a memory.

        The memory [B, M, D'] has keys [B, M, D] and a mask [B, M] bool, False = padding. The scores are
        v . tanh(W q + keys), equation 6 and appendix A.1.2.
        """
        dense = lambda width, name: Dense(width, use_bias=False, dtype=self.dtype, name=name)
        query = self._top(carry)
        scores = dense(1, "score")(jnp.tanh(dense(self.width, "query")(query)[:, None] + keys))
        scores = scores[:, :, 0].astype(jnp.float32)  # [B, M]
        if mask is not None:
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores)
        self.sow("intermediates", "weights", weights)
        context = jnp.einsum("bm,bmd->bd", weights.astype(memory.dtype), memory)
        h, states = jnp.concatenate([x, context], axis=-1), []
        for i, state in enumerate(carry):
            cell = CELLS[self.cell](self.width, dtype=self.dtype, name=f"cell{i}")
            state, h = cell(state, h)
            states.append(state)
        out = Dense(self.width, dtype=self.dtype, name="out")(jnp.concatenate([h, context, x], axis=-1))
        return tuple(states), out

    def _top(self, carry):
        """Hidden state of the last layer; the carry of an LSTM is (cell, hidden)."""
        return carry[-1][1] if self.cell == "lstm" else carry[-1]


class RNNSeq2Seq(nn.Module):
    """Encoder-decoder with recurrence and attention.

    Attributes:
        vocab_size: size V of the vocabulary that source and target share; one table of word vectors serves source,
            target and output.
        width: width D of word vectors and states.
        depth: number of layers of the encoder, and of the decoder.
        cell: "gru" or "lstm".
        bidirectional: the encoder reads in both directions.
        dropout: dropout rate after the embeddings and before the logits.
        dtype: dtype of the computation; parameters, softmax and logits are float32.
    """

    vocab_size: int = 37000
    width: int = 512
    depth: int = 2
    cell: str = "gru"
    bidirectional: bool = True
    dropout: float = 0.1
    dtype: Dtype = jnp.float32

    def setup(self):
        if self.cell not in CELLS:
            raise ValueError(f"cell {self.cell!r} is unknown; choose one of {', '.join(CELLS)}")
        make = lambda: nn.RNN(CELLS[self.cell](self.width, dtype=self.dtype))
        layers = range(self.depth)
        if self.bidirectional:
            self.encoder = [nn.Bidirectional(make(), make()) for _ in layers]
        else:
            self.encoder = [make() for _ in layers]
        self.keys = Dense(self.width, use_bias=False, dtype=self.dtype)
        self.start = [Dense(self.width, dtype=self.dtype) for _ in layers]
        scanned = nn.scan(
            AttentionCell,
            variable_broadcast="params",
            variable_axes={"intermediates": 1},
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast, nn.broadcast, nn.broadcast),
            out_axes=1,
        )
        self.decoder = scanned(self.width, self.depth, self.cell, self.dtype)
        init = nn.initializers.normal(self.width**-0.5)
        self.word_embed = self.param("word_embed", init, (self.vocab_size, self.width))
        self.drop = Dropout(self.dropout)

    def _words(self, tokens: jax.Array, train: bool) -> jax.Array:
        x = jnp.take(self.word_embed, tokens, axis=0).astype(self.dtype) * self.width**0.5
        return constrain_batch(self.drop(x, deterministic=not train))

    def encode(self, source: jax.Array, source_mask: Mask = None, train: bool = False) -> jax.Array:
        """Maps token ids [B, M] to the memory [B, M, D or 2D]; the mask is [B, M] bool, False = padding, at the end, or `Lengths`."""
        x = self._words(source, train)
        source_mask = masking.visible(source_mask, source.shape[1])
        lengths = None if source_mask is None else source_mask.sum(axis=1)
        for layer in self.encoder:
            x = layer(x, seq_lengths=lengths)
        return x

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
            memory: [B, M, D or 2D] output of the encoder; or fewer rows, each that of as many neighbouring rows of the target.
            source_mask: [B, M] bool, False = padding, or `Lengths`; with as many rows as the memory.
            target_mask: the `Lineage` of a beam search with ``position``; otherwise not used, because a recurrence does
                not need it.
            position: [] int; if given, the states are read from the collection "cache", once it holds them, and stored
                there.
            cache_length: not used, because a recurrence does not need it.
            train: True = dropout is active.
            hidden: True = return the hidden states [B, N, D], which `logits` maps to the logits.
        """
        del cache_length
        memory_mask = masking.visible(source_mask, memory.shape[1])
        memory_mask = jnp.ones(memory.shape[:2], bool) if memory_mask is None else memory_mask
        memory, memory_mask = (jnp.repeat(x, len(target) // len(x), axis=0) for x in (memory, memory_mask))
        if position is not None and self.has_variable("cache", "carry"):
            carry = self.get_variable("cache", "carry")
            if isinstance(target_mask, Lineage):
                parents = target_mask.parents(position)
                carry = jax.tree.map(lambda state: state[parents], carry)
        else:
            weight = memory_mask.astype(memory.dtype)[:, :, None]
            mean = (memory * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)
            hidden_states = [jnp.tanh(layer(mean)) for layer in self.start]
            lstm = self.cell == "lstm"
            carry = tuple((jnp.zeros_like(h), h) if lstm else h for h in hidden_states)
        x = self._words(target, train)
        carry, x = self.decoder(carry, x, memory, self.keys(memory), memory_mask)
        if position is not None:
            self.put_variable("cache", "carry", carry)
        x = self.drop(x, deterministic=not train)
        return x if hidden else self.logits(x)

    def logits(self, x: jax.Array) -> jax.Array:
        """Maps hidden states [..., D] to float32 logits [..., V]."""
        return word_logits(x, self.word_embed)

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
            source_mask: [B, M] bool, False = padding, at the end, or `Lengths`.
            target_mask: not used, because a recurrence does not need it.
            train: True = dropout is active.
            hidden: True = return the hidden states [B, N, D], which `logits` maps to the logits.
        """
        memory = self.encode(source, source_mask, train)
        return self.decode(target, memory, source_mask, target_mask=target_mask, train=train, hidden=hidden)
