"""The linear layer, computed as a product of two matrices where that is faster, and the cast to float32 or wider."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import platform


def product(
    x: jax.Array, kernel: jax.Array, dimensions: Any, precision: Any = None, preferred_element_type: Any = None
) -> jax.Array:
    """`jax.lax.dot_general` of [..., D] and [D, F]; on CPUs, all leading axes are joined into one.

    For a product with several leading axes, XLA:CPU computes the gradient of the kernel from the transposed gradient of
    the output. In a residual network that gradient is a sum over all later branches, and the transposition computes the
    sum again for each layer, so that the time of the backward pass grows with the square of the depth (ViT-B/16: a
    third of the time). For a product of two matrices, XLA:CPU transposes x instead.
    """
    flat = x
    if platform() == "cpu" and x.ndim > 2 and dimensions == (((x.ndim - 1,), (0,)), ((), ())):
        flat, dimensions = x.reshape(-1, x.shape[-1]), (((1,), (0,)), ((), ()))
    out = jax.lax.dot_general(
        flat, kernel, dimensions, precision=precision, preferred_element_type=preferred_element_type
    )
    return out.reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nn.Dense):
    """Flax's Dense layer, computed by `product`.

    Attributes:
        dot_general: function that computes the product.
    """

    dot_general: Callable[..., jax.Array] | None = product


class Projections(nn.Module):
    """Linear layers of the same input, whose kernels are stored side by side as one.

    On CPUs they are one product. On GPUs they are a product each, because XLA would copy each part of a common result
    to a place of its own, and the gradients of the parts into a common one.

    Attributes:
        count: number of layers.
        width: width F of each output.
        use_bias: whether they have biases; or, for each layer, whether it has one.
        kernel_init: initializer of the common kernel [D, count F].
        dtype: dtype of the computation; parameters are float32.
    """

    count: int
    width: int
    use_bias: bool | tuple[bool, ...]
    kernel_init: nn.initializers.Initializer
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Maps [..., D] to ``count`` arrays [..., F]."""
        biased = (self.use_bias,) * self.count if isinstance(self.use_bias, bool) else self.use_bias
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.count * self.width))
        bias = self.param("bias", nn.initializers.zeros, (sum(biased) * self.width,)) if any(biased) else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        dimensions = (((x.ndim - 1,), (0,)), ((), ()))

        def layer(kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
            out = product(x, kernel, dimensions)
            return out if bias is None else out + bias.reshape((1,) * (out.ndim - 1) + (-1,))

        own = iter(() if bias is None else jnp.split(bias, sum(biased)))
        biases = [next(own) if has else None for has in biased]
        if platform() == "gpu":
            return tuple(map(layer, jnp.split(kernel, self.count, axis=1), biases))
        if bias is not None and not all(biased):
            none = jnp.zeros(self.width, bias.dtype)
            bias = jnp.concatenate([none if part is None else part for part in biases])
        parts = layer(kernel, bias).reshape(*x.shape[:-1], self.count, self.width)
        return tuple(jnp.moveaxis(parts, -2, 0))


def word_logits(x: jax.Array, table: jax.Array) -> jax.Array:
    """Logits [..., V] float32 of words: products of hidden states [..., D] with the word table [V, D].

    In 16 bits the products of the backward pass have 16-bit inputs too; otherwise the gradient of the logits, which is
    float32, makes both of them products of float32. On CPUs, all leading axes are joined into one, as in `product`.
    """
    flat = x.reshape(-1, x.shape[-1]) if platform() == "cpu" else x
    function = _logits_in_16_bits if x.dtype in (jnp.bfloat16, jnp.float16) else _logits
    return function(flat, table.astype(x.dtype)).reshape(*x.shape[:-1], len(table))


def _logits(x: jax.Array, table: jax.Array) -> jax.Array:
    return jnp.einsum("...d,vd->...v", x, table, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _logits_in_16_bits(x: jax.Array, table: jax.Array) -> jax.Array:
    return _logits(x, table)


def _logits_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, table = kept
    gradient = gradient.astype(x.dtype)
    return jnp.einsum("...v,vd->...d", gradient, table), jnp.einsum("...v,...d->vd", gradient, x)


_logits_in_16_bits.defvjp(lambda x, table: (_logits(x, table), (x, table)), _logits_backward)


def wide(x: jax.Array) -> jax.Array:
    """x in float32, or in float64 if it is float64 already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.jit
def unit_length(x: jax.Array) -> jax.Array:
    """Scales vectors [..., E] to length 1; zeros stay zeros."""
    # A text of padding only is an empty bag of words: its vector stays 0 instead of the NaN of 0 / 0.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12))
