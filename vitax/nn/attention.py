"""Multi-head self-attention and cross-attention, with or without a cache."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.masking import Lengths, Lineage, Mask
from vitax.mesh import constrain_batch
from vitax.nn.dense import Dense, Projections, unit_length, wide
from vitax.nn.dot_product import Softmax, attention_output, dot_product_attention
from vitax.nn.dropout import Dropout
from vitax.nn.fused import bias_of_windows, cudnn_attention, cudnn_fits, with_hidden_token
from vitax.nn.relative import OffsetKeys
from vitax.nn.rotary import Rotation, rotate


def stacked(init: nn.initializers.Initializer, copies: int) -> nn.initializers.Initializer:
    """Initializer of several kernels that are concatenated into one, each drawn as if it were alone."""

    def initialize(key, shape, dtype=jnp.float32):
        *rest, width = shape
        keys = jax.random.split(key, copies)
        return jnp.concatenate([init(k, (*rest, width // copies), dtype) for k in keys], -1)

    return initialize


class Attention(nn.Module):
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

    def project(self, x: jax.Array, names: str, biased: bool | tuple[bool, ...]) -> tuple[jax.Array, ...]:
        """Projects [..., N, D] to one [..., N, A, E] for each letter of ``names``."""
        width, count = x.shape[-1], len(names)
        if self.num_heads < 1 or width % self.num_heads:
            raise ValueError(f"width {width} is not divisible by num_heads {self.num_heads}")
        init = stacked(nn.initializers.xavier_uniform(), count)
        parts = Projections(count, width, biased, init, self.dtype, name=names)(x)
        shape = (*x.shape[:-1], self.num_heads, width // self.num_heads)
        # The batch stays split inside the block too; otherwise split parameters would split heads and gather the batch.
        return tuple(constrain_batch(part.reshape(shape)) for part in parts)

    def is_fused(self, x: jax.Array, mask: Mask, softmax: Softmax | None, train: bool) -> bool:
        """Whether cuDNN's kernel computes the attention of queries from x [..., N, D]: nobody asks for the weights."""
        wanted = softmax is not None or (train and self.dropout) or self.is_mutable_collection("intermediates")
        shape = (x.shape[0], x.shape[-2], self.num_heads, x.shape[-1] // self.num_heads)
        return not wanted and cudnn_fits(shape, self.dtype, mask)

    def output(self, out: jax.Array) -> jax.Array:
        """Maps the outputs of all heads, joined, [..., N, D] to [..., N, D]."""
        return Dense(
            self.out_width or out.shape[-1],
            use_bias=self.out_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            name="out",
        )(out)

    def attend(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        bias: jax.Array | None,
        mask: Mask,
        causal: bool,
        softmax: Softmax | None,
        train: bool,
    ) -> jax.Array:
        """Maps queries [..., N, A, E] and keys and values [..., M, A, E] to [..., N, D]."""
        if train and self.dropout:
            plain, drop = softmax or jax.nn.softmax, Dropout(self.dropout, deterministic=False)
            softmax = lambda scores: drop(plain(scores))
        options: dict = dict(bias=bias, mask=mask, causal=causal)
        if softmax is None and not self.is_mutable_collection("intermediates"):
            out = attention_output(q, k, v, **options)
        else:
            out, weights = dot_product_attention(q, k, v, softmax=softmax, **options)
            self.sow("intermediates", "weights", weights)
        return self.output(constrain_batch(out).reshape(*q.shape[:-2], -1))


class SelfAttention(Attention):
    """Multi-head self-attention; q, k and v come from one matrix product.

    The weights [..., A, N, N] are stored as ``intermediates/.../weights`` if that collection is mutable.

    Attributes:
        num_heads: number of attention heads.
        qkv_bias: biases in the query, key and value projections.
        out_bias: bias in the output projection.
        dropout: dropout rate on the attention weights.
        out_width: width of the output; 0 = the width of the input.
        dtype: dtype of the computation; parameters are float32.
        key_bias: False = no biases of keys, whatever ``qkv_bias`` says.
        qk_norm: function that makes a norm with a given name, for the queries and keys of each head; None = no norm.
        out_norm: function that makes a norm with a given name, for the joined outputs of the heads; None = no norm.
        cosine: the scores are cosines times a learned factor for each head, at most 100 (Liu et al. 2021,
            arXiv:2111.09883, equation 2).
    """

    key_bias: bool = True
    qk_norm: Callable[..., nn.Module] | None = None
    out_norm: Callable[..., nn.Module] | None = None
    cosine: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        *,
        bias: jax.Array | OffsetKeys | None = None,
        mask: Mask | Lineage = None,
        causal: bool = False,
        softmax: Softmax | None = None,
        rotation: Rotation | None = None,
        position: jax.Array | None = None,
        cache_length: int = 0,
    ) -> jax.Array:
        """Maps [..., N, D] to [..., N, D].

        Args:
            bias: broadcastable to [..., A, N, N], added to the scaled scores; or keys of offsets, whose products with the
                queries are added.
            mask: see `dot_product_attention`; with ``position`` None, or the `Lineage` of a beam search.
            causal: a token attends to itself and the tokens before it only.
            softmax: function from scores to weights; None = `jax.nn.softmax`.
            rotation: turns queries and keys [B, N, A, E] by their positions; None = they have none.
            position: [] int; if given, x is the single token [B, 1, D] at this position and attends to itself and the
                tokens before it, whose keys and values are in the collection "cache".
            cache_length: number of positions in the cache.
        """
        offset_keys, bias = (bias, None) if isinstance(bias, OffsetKeys) else (None, bias)
        if position is not None:
            if offset_keys is not None:
                raise ValueError("keys of offsets are for all tokens at once, not for one at a position")
            return self.next_token(x, bias, mask, softmax, rotation, position, cache_length, train)
        if isinstance(mask, Lineage):
            raise ValueError("the mask of a beam search needs a position")
        length = x.shape[-2]
        fused = offset_keys is None and self.is_fused(x, mask, softmax, train)
        if length % 2 and fused:
            # The kernel wants an even number of tokens: a hidden one is added here, where it costs least.
            x = jnp.pad(x, [(0, int(axis == x.ndim - 2)) for axis in range(x.ndim)])
            bias, mask = with_hidden_token(bias, mask, length, x.shape[0])
            if rotation is not None:
                rotation = Rotation(
                    *(
                        jnp.pad(part, [(0, int(axis == part.ndim - 2)) for axis in range(part.ndim)])
                        for part in rotation
                    )
                )
        if fused and x.ndim == 4:
            return self.in_windows(x, bias, mask)[..., :length, :]
        q, k, v = self.queries_keys_values(x)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        bias = bias if offset_keys is None else offset_keys.biases(q)
        return self.attend(q, k, v, bias, mask, causal, softmax, train)[..., :length, :]

    def next_token(
        self,
        x: jax.Array,
        bias: jax.Array | None,
        mask: Mask | Lineage,
        softmax: Softmax | None,
        rotation: Rotation | None,
        position: jax.Array,
        cache_length: int,
        train: bool,
    ) -> jax.Array:
        """Maps the token [B, 1, D] at a position to [B, 1, D], and keeps its key and value; the arguments are those of a call."""
        if x.shape[1] != 1 or cache_length < 1 or not (mask is None or isinstance(mask, Lineage)):
            raise ValueError(
                f"with a position, x must have one token, not {x.shape[1]}, cache_length {cache_length} must be at "
                "least 1, and mask must be None or a Lineage"
            )
        q, k, v = self.queries_keys_values(x)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        # The beams of an example are queries of one memory, the tokens that any of them has read.
        batch, beams = (len(x), 1) if mask is None else mask.beams.shape[:2]
        q, k, v = (part.reshape(batch, beams, *part.shape[2:]) for part in (q, k, v))  # [B, K, A, E]
        # The cache has the order in which the products read it, so that it need not be transposed for each token.
        past_k = self.cached("k", k.transpose(0, 2, 3, 1), position * beams, 3, cache_length)  # [B, A, E, length * K]
        past_v = self.cached("v", v.transpose(0, 2, 1, 3), position * beams, 2, cache_length)  # [B, A, length * K, E]
        k, v = past_k.transpose(0, 3, 1, 2), past_v.transpose(0, 2, 1, 3)
        visible = jnp.arange(cache_length)[None, None] <= position if mask is None else mask.visible(position)
        return self.attend(q, k, v, bias, visible[:, None], False, softmax, train).reshape(*x.shape[:2], -1)

    def cached(self, name: str, new: jax.Array, start: jax.Array, axis: int, length: int) -> jax.Array:
        """Puts new entries into the cache, from ``start`` on; it holds ``length`` times as many of them along an axis."""
        shape = [*new.shape[:axis], new.shape[axis] * length, *new.shape[axis + 1 :]]
        past = self.variable("cache", name, jnp.zeros, shape, new.dtype)
        past.value = jax.lax.dynamic_update_slice_in_dim(past.value, new, start, axis)
        return past.value

    def queries_keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Projects [..., N, D] to queries, keys and values [..., N, A, E], with the norms of queries and keys."""
        q, k, v = self.project(x, "qkv", (self.qkv_bias, self.qkv_bias and self.key_bias, self.qkv_bias))
        if self.qk_norm is not None:
            q, k = self.qk_norm(name="q_norm")(q), self.qk_norm(name="k_norm")(k)
        if self.cosine:
            scale = self.param("logit_scale", nn.initializers.constant(np.log(10)), (self.num_heads,))
            # The scores are divided by the root of E later.
            factor = jnp.exp(jnp.minimum(scale, np.log(100))) * np.sqrt(q.shape[-1])
            factor = factor.reshape((1,) * (q.ndim - 2) + (-1, 1))
            q, k = unit_length(wide(q)) * factor, unit_length(wide(k))
            q, k = q.astype(v.dtype), k.astype(v.dtype)
        return q, k, v

    def output(self, out: jax.Array) -> jax.Array:
        """Maps the outputs of all heads, joined, [..., N, D] to [..., N, D]."""
        return super().output(out if self.out_norm is None else self.out_norm(name="norm")(out))

    def in_windows(self, x: jax.Array, bias: jax.Array | None, mask: Mask) -> jax.Array:
        """Attention in windows [B, W, N, D] by the fused kernel, for which windows are further heads."""
        b, w, n, d = x.shape
        # With the windows next to the heads, no part has to be moved for the kernel.
        q, k, v = (part.reshape(b, n, -1, part.shape[-1]) for part in self.queries_keys_values(x.swapaxes(1, 2)))
        if bias is not None or (mask is not None and not isinstance(mask, Lengths)):
            bias, mask = bias_of_windows(bias, mask, w, self.num_heads, n, q.dtype), None
        out = constrain_batch(cudnn_attention(q, k, v, bias=bias, mask=mask, causal=False))
        return self.output(out.reshape(b, n, w, d)).swapaxes(1, 2)


class CrossAttention(Attention):
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
        mask: Mask = None,
        cached: bool = False,
    ) -> jax.Array:
        """Maps queries [B, N, D] and a memory [B, M, D] to [B, N, D].

        Of a memory with fewer rows, [B / k, M, D], each row is that of k neighbouring rows of queries.

        Args:
            mask: see `dot_product_attention`.
            cached: keys and values are computed once and kept in the collection "cache".
        """
        shape = x.shape
        if len(x) % len(memory):
            raise ValueError(f"{len(x)} rows of queries cannot share {len(memory)} rows of a memory")
        if len(memory) != len(x):  # rows with a common memory are further queries of it
            x = x.reshape(len(memory), -1, shape[-1])
        (q,) = self.project(x, "q", self.qkv_bias)
        if cached and self.has_variable("cache", "memory"):
            k, v = self.get_variable("cache", "memory")
        else:
            k, v = self.project(memory, "kv", self.qkv_bias)
            if cached:
                self.put_variable("cache", "memory", (k, v))
        out = self.attend(q, k, v, None, mask, False, None, train)
        return out.reshape(*shape[:-1], out.shape[-1])
