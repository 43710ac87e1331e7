"""Attention that never writes its weights to memory: cuDNN's kernel on GPUs, chunks of queries on any device.

Each form is equal to `vitax.nn.dot_product.dot_product_attention` in value and gradient, up to rounding.
"""

import contextlib
import contextvars
import os
import re
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.masking import Lengths, Mask
from vitax.mesh import platform

LONG = 1024  # queries from which the weights are computed in chunks
CHUNK = 256  # queries in a chunk
LOWEST = -1e4  # bias of a hidden key; cuDNN subtracts two of them, so that it must not be near the largest number


_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain_forms", default=False)


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
    """Models that are traced inside this context compute attention and convolutions in their plain forms, on any device.

    Explanations walk through those forms, and other programs recognise them in an export.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def wants_plain() -> bool:
    """Whether the plain form is asked for, by `plain_forms` or by VITAX_ATTENTION=plain in the environment."""
    return _plain.get() or os.environ.get("VITAX_ATTENTION") == "plain"


def cudnn_fits(shape: tuple[int, ...], dtype: Dtype, mask: Mask = None) -> bool:
    """Whether cuDNN's kernel can take queries: on a GPU, in 16 bits, more than one query; see also `wants_plain`.

    Args:
        shape: (B, N, A, E), that of the queries.
        dtype: their dtype.
        mask: their mask; lengths, or an array that is the same for all examples, because the kernel takes a mask as a
            bias, and computes the gradient of a bias for one example only.
    """
    if platform() != "gpu" or wants_plain() or dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if jax.default_backend() == "gpu":  # otherwise this is a plan for a GPU that is elsewhere
        capability = getattr(jax.local_devices()[0], "compute_capability", "")
        if not re.fullmatch(r"\d+\.\d+", str(capability)) or float(capability) < 8:  # not of NVIDIA, or before Ampere
            return False
    shared = mask is None or isinstance(mask, Lengths) or mask.ndim < 4 or len(mask) == 1
    return shared and len(shape) == 4 and shape[-3] > 1 and shape[-1] <= 128


def cudnn_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, *, bias: jax.Array | None, mask: Mask, causal: bool
) -> jax.Array:
    """Attention by cuDNN's fused kernel.

    The kernel wants even numbers of tokens where a gradient is computed (with a bias; jax 0.10 asks for it always), so
    a token is added and hidden; and widths of heads that are multiples of 8, so zeros are added, which change no score.

    Args:
        q: [B, N, A, E].
        k, v: [B, M, A, E].
        bias: broadcastable to [B, A, N, M].
        mask: see `vitax.nn.dot_product.dot_product_attention`.
        causal: a query sees the keys up to its own place.

    Returns:
        [B, N, A, E] in the dtype of v.
    """
    n, m, e, count = q.shape[1], k.shape[1], q.shape[3], q.shape[0]
    q, k, v = map(_fitting, (q, k, v))
    options: dict = dict(scale=e**-0.5, is_causal=causal, implementation="cudnn")
    if isinstance(mask, Lengths) or (mask is None and bias is None and (n % 2 or m % 2)):
        # A text without a token, which fills up a batch, sees its first place: the kernel must see something.
        keys = jnp.full(count, m) if mask is None else jnp.maximum(mask.tokens, 1)
        options["key_value_seq_lengths"] = keys.astype(jnp.int32)
        options["query_seq_lengths"] = jnp.full(count, n, jnp.int32)
        mask = None
    assert not isinstance(mask, Lengths)
    if bias is not None or mask is not None:
        options["bias"] = _padded(joined(bias, mask, n, m, q.dtype), n % 2, m % 2, LOWEST)
    return jax.nn.dot_product_attention(q, k, v, **options)[:, :n, :, :e]


def bias_of_windows(
    bias: jax.Array | None, mask: Mask, windows: int, heads: int, tokens: int, dtype: Dtype
) -> jax.Array:
    """Bias [1, W A, N, N] for windows that have become heads: the bias may differ between heads, not between windows.

    Args:
        bias, mask: of tokens in windows, broadcastable to [1, W, A, N, N].
        windows, heads, tokens: W, A and N.
        dtype: dtype of the queries.
    """
    assert not isinstance(mask, Lengths)
    both = joined(bias, mask, tokens, tokens, dtype)
    both = jnp.broadcast_to(both, (1, windows, heads, tokens, tokens))
    return both.reshape(1, windows * heads, tokens, tokens)


def joined(bias: jax.Array | None, mask: jax.Array | None, n: int, m: int, dtype) -> jax.Array:
    """Bias and mask as one bias [..., N, M]."""
    whole = jnp.zeros((), dtype) if bias is None else bias.astype(dtype)
    if mask is not None:
        whole = jnp.where(mask, whole, jnp.asarray(LOWEST, dtype))
    return jnp.broadcast_to(whole, (*whole.shape[:-2], n, m))


def _padded(x: jax.Array, queries: int, keys: int, hidden: float | bool) -> jax.Array:
    """A bias or mask with further queries, whose outputs are dropped, and further keys, which are hidden."""
    pad = [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, (*pad, (0, 0), (0, keys)), constant_values=hidden)
    return jnp.pad(x, (*pad, (0, queries), (0, 0)))


def with_hidden_token(bias: jax.Array | None, mask: Mask, length: int, batch: int) -> tuple[jax.Array | None, Mask]:
    """Bias and mask of self-attention for one more token, which no other one sees.

    Args:
        bias, mask: those of ``length`` tokens, see `vitax.nn.dot_product.dot_product_attention`.
        batch: number of examples.
    """
    if bias is not None:
        bias = _padded(bias, int(bias.shape[-2] > 1), 1, LOWEST)
    if mask is None and bias is None:
        mask = Lengths(jnp.full(batch, length))
    elif mask is not None and not isinstance(mask, Lengths):
        mask = _padded(jnp.asarray(mask), int(mask.shape[-2] > 1), 1, False)
    return bias, mask


def _fitting(x: jax.Array) -> jax.Array:
    """[B, N, A, E] with N filled up to an even number and E to a multiple of 8."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, -x.shape[3] % 8)))


def in_chunks(
    attend: Callable[..., jax.Array], q: jax.Array, bias: jax.Array | None, mask: jax.Array | None
) -> jax.Array:
    """Attention in chunks of queries, whose weights are computed again in the backward pass: memory linear in N.

    Args:
        attend: function of a chunk of queries [..., C, A, E], its bias and its mask to its output [..., C, A, E].
        q: [..., N, A, E] queries.
        bias, mask: broadcastable to [..., A, N, M].
    """
    n = q.shape[-3]
    count = -(-n // CHUNK)
    cut = lambda x, axis: _cut(x, axis, n, count)
    chunks = (cut(q, q.ndim - 3), *(None if x is None else cut(x, x.ndim - 2) for x in (bias, mask)))
    # Only parts with an axis of queries are cut; the others are the same for all chunks.
    out = jax.lax.map(
        jax.checkpoint(lambda i: attend(*(x(i) if callable(x) else x for x in chunks))), jnp.arange(count)
    )
    out = jnp.moveaxis(out, 0, -4)  # [..., count, C, A, E]
    return out.reshape(*q.shape[:-3], count * CHUNK, *out.shape[-2:])[..., :n, :, :]


def _cut(x: jax.Array, axis: int, n: int, count: int):
    """The function from the number of a chunk to its part of x; x itself if it is the same for all queries."""
    if x.shape[axis] != n:
        return x
    x = jnp.pad(x, [(0, count * CHUNK - n if i == axis else 0) for i in range(x.ndim)])
    return lambda i: jax.lax.dynamic_slice_in_dim(x, i * CHUNK, CHUNK, axis)
