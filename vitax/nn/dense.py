"""The linear layer, computed as a product of two matrices where that is faster, and the cast to float32 or wider."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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


def wide(x: jax.Array) -> jax.Array:
    """x in float32, or in float64 if it is float64 already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.jit
def unit_length(x: jax.Array) -> jax.Array:
    """Scales vectors [..., E] to length 1; zeros stay zeros."""
    # A text of padding only is an empty bag of words: its vector stays 0 instead of the NaN of 0 / 0.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12))
