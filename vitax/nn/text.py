"""Layers that BERT and FNet share: the sum of three embeddings, and the heads for pre-training and classification."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.nn.blocks import LayerNorm
from vitax.nn.dense import Dense, word_logits
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import ACTIVATIONS, check_activation

INIT = nn.initializers.truncated_normal(0.02)


class TextEmbed(nn.Module):
    """Sum of word, position and segment embeddings, normalised (Devlin et al. 2018, arXiv:1810.04805, figure 2).

    Attributes:
        vocab_size: size V of the vocabulary.
        width: width D of the tokens.
        max_length: greatest length L of a text, in tokens.
        num_segments: number of segment ids.
        norm_epsilon: epsilon of the layer norm.
        dropout: dropout rate at the end.
        projection: a linear layer follows the norm, as in FNet.
        dtype: dtype of the computation; parameters are float32.
    """

    vocab_size: int
    width: int
    max_length: int
    num_segments: int
    norm_epsilon: float
    dropout: float = 0.0
    projection: bool = False
    dtype: Dtype = jnp.float32

    def setup(self):
        # In setup, because the masked-word head uses the word table too.
        self.word = self.param("word_embed", INIT, (self.vocab_size, self.width))
        self.position = self.param("pos_embed", INIT, (self.max_length, self.width))
        self.segment = self.param("segment_embed", INIT, (self.num_segments, self.width))
        self.norm = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype)
        if self.projection:
            self.dense = Dense(self.width, dtype=self.dtype, kernel_init=INIT)
        self.drop = Dropout(self.dropout)

    def __call__(
        self, tokens: jax.Array, segments: jax.Array | None, train: bool = False, places: jax.Array | None = None
    ) -> jax.Array:
        """Maps token ids [B, L] and segment ids [B, L] (None = 0 everywhere) to [B, L, D].

        ``places`` [B, L] are those of the tokens in their documents; None = in their rows.
        """
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(f"texts of {length} tokens exceed max_length {self.max_length}")
        segments = jnp.zeros_like(tokens) if segments is None else segments
        x = jnp.take(self.word, tokens, axis=0) + jnp.take(self.segment, segments, axis=0)
        x = x + (self.position[None, :length] if places is None else jnp.take(self.position, places, axis=0))
        x = self.norm(x.astype(self.dtype))
        if self.projection:
            x = self.dense(x)
        return self.drop(x, deterministic=not train)


class Pooler(nn.Module):
    """Dense and tanh on the first token: [B, L, D] to [B, D].

    Attributes:
        dtype: dtype of the computation; parameters are float32.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dense = Dense(x.shape[-1], dtype=self.dtype, kernel_init=INIT, name="dense")
        return jnp.tanh(dense(x[:, 0]))


class MaskedWordHead(nn.Module):
    """Dense, activation and norm, then the product with the word embeddings and a bias for each word.

    Attributes:
        activation: key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norm.
        dtype: dtype of the computation; parameters and logits are float32.
    """

    activation: str
    norm_epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, words: jax.Array) -> jax.Array:
        """Maps hidden states [B, M, D] and the word table [V, D] to logits [B, M, V] float32."""
        check_activation(self.activation)
        x = Dense(x.shape[-1], dtype=self.dtype, kernel_init=INIT, name="dense")(x)
        x = ACTIVATIONS[self.activation](x)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros, (words.shape[0],))
        return word_logits(x, words) + bias[None, None]


class TextHeads(nn.Module):
    """Heads on the hidden states of a text; ``kind`` determines the keys of the dictionary that they return.

    Attributes:
        kind: "none"; "pretraining", masked words and whether the second text follows the first; "masked_words";
            "classes".
        num_classes: number K of classes, for "classes".
        activation: activation of the masked-word head, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norm of the masked-word head.
        dropout: dropout rate before the classes.
        dtype: dtype of the computation; parameters and logits are float32.
    """

    kind: str
    num_classes: int
    activation: str
    norm_epsilon: float
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, words: jax.Array, places: jax.Array | None, train: bool = False
    ) -> dict[str, jax.Array]:
        """Maps hidden states [B, L, D] and the word table [V, D] to a dictionary.

        Returns:
            "tokens" [B, L, D] and, depending on ``kind``, "pooled" [B, D], "word_logits" [B, M, V], "next_logits"
            [B, 2] and "logits" [B, K]; M counts the ``places`` [B, M], or all L tokens if they are None.
        """
        if self.kind not in ("none", "pretraining", "masked_words", "classes"):
            raise ValueError(
                f"heads {self.kind!r} are unknown; choose 'none', 'pretraining', 'masked_words' or 'classes'"
            )
        out = {"tokens": x}
        if self.kind != "masked_words":
            pooled = Pooler(self.dtype, name="pooler")(x)
            out["pooled"] = pooled
        if self.kind in ("pretraining", "masked_words"):
            chosen = x if places is None else jnp.take_along_axis(x, places[:, :, None], axis=1)
            head = MaskedWordHead(self.activation, self.norm_epsilon, self.dtype, name="words")
            out["word_logits"] = head(chosen, words)
        if self.kind == "pretraining":
            out["next_logits"] = Dense(2, kernel_init=INIT, name="next")(pooled.astype(jnp.float32))
        if self.kind == "classes":
            pooled = Dropout(self.dropout, deterministic=not train)(pooled)
            head = Dense(self.num_classes, kernel_init=INIT, name="head")
            out["logits"] = head(pooled.astype(jnp.float32))
        return out
