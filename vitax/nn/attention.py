"""Scaled dot-product attention, multi-head self-attention and cross-attention, with or without a cache."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch, platform
from vitax.nn.dense import Dense

Softmax = Callable[[jax.Array], jax.Array]


def dot_product_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
    softmax: Softmax | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Attention of Vaswani et al. 2017 (arXiv:1706.03762), equation 1, with the softmax in float32.

    Args:
        q: [..., N, A, E] queries.
        k: [..., M, A, E] keys.
        v: [..., M, A, E] values.
        bias: broadcastable to [..., A, N, M], added to the scaled scores.
        mask: bool, broadcastable to [..., A, N, M], True = the query may attend to the key.
        softmax: function from scores [..., A, N, M] to weights; None = `jax.nn.softmax`.

    Returns:
        out: [..., N, A, E] in the dtype of v.
        weights: [..., A, N, M] float32.
    """
    scores = jnp.einsum("...nae,...mae->...anm", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
    # The scale multiplies the scores, not q, because some XLA:GPU versions drop it from the bias of a projection
    # (openxla/xla#46110).
    scores = scores * q.shape[-1] ** -0.5
    lowest = jnp.finfo(scores.dtype).min
    if bias is not None and mask is not None:
        # Bias and mask, often the same for all examples, are combined first: one pass over the scores, not two.
        bias, mask = jnp.where(mask, bias, lowest), None
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, lowest)
    if softmax is not None:
        weights = softmax(scores)
        return _average(weights, v), weights
    # The late division helps on CPUs only; accelerators fuse the whole softmax.
    return (attend_late if platform() == "cpu" else attend)(scores, v)


def attend(scores: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Output [..., N, A, E] and weights for float32 scores [..., A, N, M] and values [..., M, A, E]."""
    weights = softmax(scores)
    return _average(weights, v), weights


@jax.jit
def softmax(scores: jax.Array) -> jax.Array:
    """Softmax over the last axis; a named function, because explanations recognise it by its name."""
    return jax.nn.softmax(scores)


@jax.jit
def attend_late(scores: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The result of `attend`, but divided by the sum of the softmax only after the product with v.

    The division, and the broadcast of its divisor, then have the shape [N, E] instead of [N, M].
    """
    exponentials = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    total = exponentials.sum(axis=-1)[..., None]
    out = jnp.einsum("...anm,...mae->...ane", exponentials.astype(v.dtype), v)
    return jnp.moveaxis((out / total).astype(v.dtype), -3, -2), exponentials / total


def _average(weights: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.einsum("...anm,...mae->...nae", weights.astype(v.dtype), v)


def stacked(init: nn.initializers.Initializer, copies: int) -> nn.initializers.Initializer:
    """Initializer of several kernels that are concatenated into one, each drawn as if it were alone."""

    def initialize(key, shape, dtype=jnp.float32):
        *rest, width = shape
        keys = jax.random.split(key, copies)
        return jnp.concatenate([init(k, (*rest, width // copies), dtype) for k in keys], -1)

    return initialize


class _Attention(nn.Module):
    """Base of self- and cross-attention: fields, projections, and the output from q, k and v.

    Attributes:
        num_heads: number of attention heads.
        qkv_bias: biases in the query, key and value projections.
        out_bias: bias in the output projection.
        dropout: dropout rate on the attention weights.
        out_width: width of the output; 0 = the width of the input.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    qkv_bias: bool = True
    out_bias: bool = True
    dropout: float = 0.0
    out_width: int = 0
    dtype: Dtype = jnp.float32

    def project(self, x: jax.Array, names: str) -> tuple[jax.Array, ...]:
        """Projects [..., N, D] to one [..., N, A, E] for each letter of ``names``, all by one matrix product."""
        *batch, width = x.shape
        if self.num_heads < 1 or width % self.num_heads:
            raise ValueError(f"width {width} is not divisible by num_heads {self.num_heads}")
        count = len(names)
        dense = Dense(
            count * width,
            use_bias=self.qkv_bias,
            dtype=self.dtype,
            kernel_init=stacked(nn.initializers.xavier_uniform(), count),
            name=names,
        )
        parts = dense(x).reshape(*batch, count, self.num_heads, width // self.num_heads)
        # The batch stays split inside the block too; otherwise split parameters would split heads and gather the batch.
        return tuple(constrain_batch(part) for part in jnp.moveaxis(parts, -3, 0))

    def attend(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        bias: jax.Array | None,
        mask: jax.Array | None,
        softmax: Softmax | None,
        train: bool,
    ) -> jax.Array:
        """Maps queries [..., N, A, E] and keys and values [..., M, A, E] to [..., N, D]."""
        if train and self.dropout:
            plain, drop = softmax or jax.nn.softmax, nn.Dropout(self.dropout, deterministic=False)
            softmax = lambda scores: drop(plain(scores))
        out, weights = dot_product_attention(q, k, v, bias=bias, mask=mask, softmax=softmax)
        self.sow("intermediates", "weights", weights)
        out = constrain_batch(out).reshape(*q.shape[:-2], -1)
        return Dense(
            self.out_width or out.shape[-1],
            use_bias=self.out_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            name="out",
        )(out)


class SelfAttention(_Attention):
    """Multi-head self-attention; q, k and v come from one matrix product.

    The weights [..., A, N, N] are stored as ``intermediates/.../weights`` if that collection is mutable.

    Attributes:
        num_heads: number of attention heads.
        qkv_bias: biases in the query, key and value projections.
        out_bias: bias in the output projection.
        dropout: dropout rate on the attention weights.
        out_width: width of the output; 0 = the width of the input.
        dtype: dtype of the computation; parameters are float32.
        qk_norm: function that makes a norm with a given name, for the queries and keys of each head; None = no norm.
    """

    qk_norm: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        *,
        bias: jax.Array | None = None,
        mask: jax.Array | None = None,
        softmax: Softmax | None = None,
        position: jax.Array | None = None,
        cache_length: int = 0,
    ) -> jax.Array:
        """Maps [..., N, D] to [..., N, D].

        Args:
            bias: broadcastable to [..., A, N, N], added to the scaled scores.
            mask: bool, broadcastable to [..., A, N, N], True = the query may attend to the key; None with ``position``.
            softmax: function from scores to weights; None = `jax.nn.softmax`.
            position: [] int; if given, x is the single token [B, 1, D] at this position and attends to itself and the
                tokens before it, whose keys and values are in the collection "cache".
            cache_length: number of positions in the cache.
        """
        q, k, v = self.project(x, "qkv")
        if self.qk_norm is not None:
            q, k = self.qk_norm(name="q_norm")(q), self.qk_norm(name="k_norm")(k)
        if position is not None:
            if x.shape[1] != 1 or cache_length < 1 or mask is not None:
                raise ValueError(
                    f"with a position, x must have one token, not {x.shape[1]}, cache_length {cache_length} must be "
                    "at least 1, and mask must be None"
                )
            shape = (x.shape[0], cache_length, *k.shape[2:])
            past_k = self.variable("cache", "k", jnp.zeros, shape, k.dtype)
            past_v = self.variable("cache", "v", jnp.zeros, shape, v.dtype)
            k = past_k.value = jax.lax.dynamic_update_slice(past_k.value, k, (0, position, 0, 0))
            v = past_v.value = jax.lax.dynamic_update_slice(past_v.value, v, (0, position, 0, 0))
            mask = (jnp.arange(k.shape[1]) <= position)[None, None, None]
        return self.attend(q, k, v, bias, mask, softmax, train)


class CrossAttention(_Attention):
    """Multi-head attention from one sequence to another; keys and values come from one matrix product.

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
        train: bool = False,
        *,
        mask: jax.Array | None = None,
        cached: bool = False,
    ) -> jax.Array:
        """Maps queries [B, N, D] and a memory [B, M, D] to [B, N, D].

        Args:
            mask: bool, broadcastable to [B, A, N, M], True = the query may attend to the key.
            cached: keys and values are computed once and kept in the collection "cache".
        """
        (q,) = self.project(x, "q")
        if cached and self.has_variable("cache", "memory"):
            k, v = self.get_variable("cache", "memory")
        else:
            k, v = self.project(memory, "kv")
            if cached:
                self.put_variable("cache", "memory", (k, v))
        return self.attend(q, k, v, None, mask, None, train)
