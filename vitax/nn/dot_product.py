"""Scaled dot-product attention as functions, in a form for each purpose; `vitax.nn.fused` has those without weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vitax import masking
from vitax.masking import Lengths, Mask
from vitax.mesh import platform
from vitax.nn.fused import LONG, cudnn_attention, cudnn_fits, in_chunks, wants_plain

Softmax = Callable[[jax.Array], jax.Array]


def dot_product_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: Mask = None,
    causal: bool = False,
    softmax: Softmax | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Attention of Vaswani et al. 2017 (arXiv:1706.03762), equation 1, with the softmax in float32.

    Args:
        q: [..., N, A, E] queries.
        k: [..., M, A, E] keys.
        v: [..., M, A, E] values.
        bias: broadcastable to [..., A, N, M], added to the scaled scores.
        mask: bool, broadcastable to [..., A, N, M], True = the query may attend to the key; or the lengths of the texts
            of the keys, for q [B, N, A, E].
        causal: a query attends to the keys up to its own place only.
        softmax: function from scores [..., A, N, M] to weights; None = `jax.nn.softmax`.

    Returns:
        out: [..., N, A, E] in the dtype of v.
        weights: [..., A, N, M] float32.
    """
    scores = score(q, k) if q.dtype in (jnp.bfloat16, jnp.float16) else _product(q, k)
    # The scale multiplies the scores, not q, because some XLA:GPU versions drop it from the bias of a projection
    # (openxla/xla#46110).
    scores = scores * q.shape[-1] ** -0.5
    lowest = jnp.finfo(scores.dtype).min
    mask = whole_mask(mask, causal, scores.shape)
    if bias is not None and mask is not None:
        # Bias and mask, often the same for all examples, are combined first: one pass over the scores, not two. They are
        # added, since the gradient of a hidden score is 0 anyway, and a mask in the gradient of the bias is slow on CPUs.
        bias, mask = bias + jnp.where(mask, 0.0, lowest), None
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, lowest)
    if softmax is not None:
        weights = softmax(scores)
        return _average(weights, v), weights
    # The late division helps on CPUs only; accelerators fuse the whole softmax.
    return (attend_late if platform() == "cpu" and not wants_plain() else attend)(scores, v)


def attention_output(
    q: jax.Array, k: jax.Array, v: jax.Array, *, bias: jax.Array | None = None, mask: Mask = None, causal: bool = False
) -> jax.Array:
    """The output of `dot_product_attention`, [..., N, A, E], by a form that does not keep the weights if one fits."""
    of_examples = bias is not None and bias.ndim > 3 and len(bias) > 1  # the kernel has no gradient of such a bias
    if cudnn_fits(q.shape, q.dtype, mask) and not of_examples:
        return cudnn_attention(q, k, v, bias=bias, mask=mask, causal=causal)
    if q.shape[-3] < LONG or wants_plain():
        return dot_product_attention(q, k, v, bias=bias, mask=mask, causal=causal)[0]
    attend = lambda q, bias, mask: dot_product_attention(q, k, v, bias=bias, mask=mask)[0]
    shape = (*q.shape[:-3], q.shape[-2], q.shape[-3], k.shape[-3])
    return in_chunks(attend, q, bias, whole_mask(mask, causal, shape))


def whole_mask(mask: Mask, causal: bool, shape: tuple[int, ...]) -> jax.Array | None:
    """The mask as one array that is broadcastable to the scores' shape [..., A, N, M]; None = everything is visible."""
    if isinstance(mask, Lengths):
        mask = mask.visible(shape[-1])[:, None, None, :]
    if not causal:
        return mask
    triangle = masking.causal(shape[-1]).reshape((1,) * (len(shape) - 2) + shape[-2:])
    return triangle if mask is None else triangle & mask


def _product(q: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.einsum("...nae,...mae->...anm", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))


@jax.custom_vjp
def score(q: jax.Array, k: jax.Array) -> jax.Array:
    """Products of 16-bit queries and keys, [..., A, N, M] float32, with 16-bit products in the backward pass too.

    Otherwise the gradient of the scores, which is float32, makes both of them products of float32.
    """
    return _product(q, k)


def _score_forward(q: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(q, k), (q, k)


def _score_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    q, k = kept
    gradient = gradient.astype(q.dtype)
    return jnp.einsum("...anm,...mae->...nae", gradient, k), jnp.einsum("...anm,...nae->...mae", gradient, q)


score.defvjp(_score_forward, _score_backward)


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
