"""Scaled dot-product attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch


def dot_product_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Attention of Vaswani et al. 2017 (arXiv:1706.03762), equation 1, with the softmax in float32.

    Args:
        q: [B, N, A, E] queries.
        k: [B, M, A, E] keys.
        v: [B, M, A, E] values.
        bias: broadcastable to [B, A, N, M], added to the scaled scores.
        mask: bool, broadcastable to [B, A, N, M], True = the query may see the key.

    Returns:
        out: [B, N, A, E] in the dtype of v.
        weights: [B, A, N, M] float32, rows sum to 1.
    """
    scores = jnp.einsum("bnae,bmae->banm", q, k, preferred_element_type=jnp.float32)
    # The scale goes on the scores, not on q: some XLA:GPU versions drop it from the bias of a projection
    # (openxla/xla#46110).
    scores = scores * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("banm,bmae->bnae", weights.astype(v.dtype), v), weights


def stacked(init: nn.initializers.Initializer, copies: int) -> nn.initializers.Initializer:
    """An initializer for several kernels that lie side by side in one, each drawn as if it stood alone."""

    def initialize(key, shape, dtype=jnp.float32):
        *rest, width = shape
        keys = jax.random.split(key, copies)
        return jnp.concatenate([init(k, (*rest, width // copies), dtype) for k in keys], -1)

    return initialize


class SelfAttention(nn.Module):
    """Multi-head self-attention; q, k and v come from one matrix product.

    Shows its weights as ``intermediates/.../weights`` [B, A, N, N] to whoever asks for that collection.
    """

    num_heads: int
    qkv_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, bias: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        *batch, tokens, width = x.shape  # [B, N, D]
        if width % self.num_heads:
            raise ValueError(f"width {width} is not divisible by num_heads {self.num_heads}")
        qkv = nn.Dense(
            3 * width,
            use_bias=self.qkv_bias,
            dtype=self.dtype,
            kernel_init=stacked(nn.initializers.xavier_uniform(), 3),
            name="qkv",
        )(x)
        qkv = qkv.reshape(*batch, tokens, 3, self.num_heads, width // self.num_heads)
        # Inside the block too: split parameters would otherwise split heads, and gather the batch for it.
        q, k, v = (constrain_batch(x) for x in jnp.moveaxis(qkv, -3, 0))  # each [B, N, A, E]
        out, weights = dot_product_attention(q, k, v, bias=bias, mask=mask)
        self.sow("intermediates", "weights", weights)
        dense = nn.Dense(
            width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name="out"
        )
        return dense(constrain_batch(out).reshape(x.shape))
