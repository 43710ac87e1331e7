"""The convolution, with a gradient of its kernel that is fast on CPUs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax.mesh import platform
from vitax.nn.fused import wants_plain


class Geometry(NamedTuple):
    """How a kernel moves over a map; all pairs are (vertical, horizontal).

    Attributes:
        strides: pixels from one place to the next.
        padding: rows or columns of zeros before and after the map, a pair for each axis.
        dilation: distance of the pixels that neighbours in the kernel see.
        precision: as in `jax.lax.conv_general_dilated`.
    """

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    precision: Any


def convolution(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of [B, H, W, C] and [h, w, C, D]; on CPUs its kernel has a gradient by products.

    XLA:CPU computes that gradient as a convolution whose window is the whole map, which takes 2 to 16 times as long as
    a product for each of the h w places of the kernel (experiments/speed).
    """
    as_it_is = wants_plain() or platform() != "cpu" or x.ndim != 4
    if as_it_is or set(options["lhs_dilation"]) != {1} or options["feature_group_count"] > 1:
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    dilation = tuple(options["rhs_dilation"])
    if isinstance(padding, str):
        covered = [(side - 1) * step + 1 for side, step in zip(kernel.shape, dilation, strict=False)]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], covered, window_strides, padding)
    pads = tuple((before, after) for before, after in padding)
    return _convolve(x, kernel, Geometry(tuple(window_strides), pads, dilation, options["precision"]))


def _plain(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=geometry.precision,
    )


_convolve = jax.custom_vjp(_plain, nondiff_argnums=(2,))


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry):
    return _plain(x, kernel, geometry), (x, kernel)


def _backward(geometry: Geometry, kept: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = kept
    (of_x,) = jax.linear_transpose(lambda x: _plain(x, kernel, geometry), x)(gradient)
    x = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    outer = gradient.reshape(-1, gradient.shape[-1])
    (down, right), (stride_down, stride_right) = geometry.dilation, geometry.strides
    height, width = (step * (side - 1) + 1 for step, side in zip(geometry.strides, gradient.shape[1:], strict=False))

    def of_row(i: Any) -> jax.Array:
        """Gradients [w, C, D] of one row of the kernel: products of what its places have seen with the gradient."""
        seen = jax.lax.dynamic_slice_in_dim(x, i * down, height, axis=1)[:, ::stride_down]
        return jnp.stack(
            [
                jnp.matmul(
                    seen[:, :, j * right : j * right + width : stride_right].reshape(-1, x.shape[-1]).T,
                    outer,
                    precision=geometry.precision,
                    preferred_element_type=jnp.promote_types(kernel.dtype, jnp.float32),
                )
                for j in range(kernel.shape[1])
            ]
        )

    # Row by row, because copies of what all places have seen would double the memory of a segmenter.
    rows = jax.lax.map(of_row, jnp.arange(len(kernel))) if len(kernel) > 1 else of_row(0)
    return of_x, rows.reshape(kernel.shape).astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)


class Conv(nn.Conv):
    """Flax's Conv layer, computed by `convolution`.

    Attributes:
        conv_general_dilated: function that computes the convolution.
    """

    conv_general_dilated: Callable[..., jax.Array] | None = convolution
