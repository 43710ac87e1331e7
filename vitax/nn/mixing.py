"""Mixing of tokens without attention: by Fourier transforms, or by two matrices (FNet, arXiv:2105.03824, section 4)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import on_each_device


def fourier(x: jax.Array, method: str = "fft") -> jax.Array:
    """Real part of the discrete Fourier transform over tokens and channels (equation 3), in float32.

    Args:
        x: [B, N, D].
        method: "fft", or "matmul", which computes the same numbers by products with matrices of cosines and sines, one
            axis after the other.

    Raises:
        ValueError: ``method`` is unknown.
    """
    x = x.astype(jnp.float32)
    if method == "fft":
        return on_each_device(lambda rows: jnp.fft.fft2(rows, axes=(1, 2)).real, x)
    if method != "matmul":
        raise ValueError(f"fourier {method!r} is unknown; choose 'fft' or 'matmul'")

    def matrices(n: int) -> tuple[np.ndarray, np.ndarray]:
        # The product is taken modulo n, because the angle would lose digits otherwise.
        angle = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
        return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    (cos_n, sin_n), (cos_d, sin_d) = matrices(x.shape[1]), matrices(x.shape[2])
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    cosines = product("nm,bmd->bnd", cos_n, product("bmd,de->bme", x, cos_d))
    return cosines - product("nm,bmd->bnd", sin_n, product("bmd,de->bme", x, sin_d))


class MatrixMixing(nn.Module):
    """Mixing by two matrices, one over tokens and one over channels, without bias.

    Attributes:
        length: greatest number N of tokens; fewer are mixed by a corner of their matrix, as if the others were 0.
        fixed: number of the block, counted from 0, whose random matrices are used; None = the matrices are learned. Random
            matrices depend on nothing else, and are kept in the collection "constants".
        dtype: dtype of the computation; the matrices are float32.
    """

    length: int
    fixed: int | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, N, D]
        n, d = x.shape[1:]
        if n > self.length:
            raise ValueError(f"there are {n} tokens, and the matrix that mixes them has room for {self.length}")
        shapes = {"channels": (d, d), "tokens": (self.length, self.length)}
        if self.fixed is None:
            draw = nn.initializers.normal(stddev=0.02)
            matrices = {name: self.param(name, draw, shape) for name, shape in shapes.items()}
        else:
            # Another implementation of random numbers would be another model.
            key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), self.fixed)
            keys = dict(zip(shapes, jax.random.split(key), strict=True))
            draw = nn.initializers.lecun_normal()
            matrices = {
                name: self.variable("constants", name, lambda name=name: draw(keys[name], shapes[name])).value
                for name in shapes
            }
        channels, tokens = (matrices[name].astype(self.dtype) for name in shapes)
        return jnp.einsum("nm,bmd->bnd", tokens[:n, :n], x @ channels)
