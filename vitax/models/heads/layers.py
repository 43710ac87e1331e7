"""Layers that heads of dense tasks share."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.convolution import Conv


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU.

    The statistics of the norm are those of the whole batch, over all devices.

    Attributes:
        width: number of output channels.
        kernel: side of the convolution in pixels, odd; the map keeps its size.
        dtype: dtype of the computation; parameters and statistics are float32.
    """

    width: int
    kernel: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D] -> [B, H, W, width]
        size = (self.kernel, self.kernel)
        he = nn.initializers.he_normal()
        x = Conv(self.width, size, use_bias=False, dtype=self.dtype, kernel_init=he, name="conv")(x)
        x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="norm")(constrain_batch(x))
        return nn.relu(x)


class Classifier(nn.Module):
    """Logits of each pixel: dropout of whole channels, then a linear layer.

    Attributes:
        num_classes: number K of classes.
        dropout: rate at which channels are dropped.
    """

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D] -> [B, H, W, K]
        if self.dropout:
            x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        normal = nn.initializers.normal(0.01)
        return nn.Dense(self.num_classes, kernel_init=normal, name="logits")(x.astype(jnp.float32))


def resized(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """A map [B, h, w, D] resized to [B, H, W, D], bilinear, with the centres of pixels at halves, without antialiasing."""
    if x.shape[1:3] == tuple(size):
        return x

    def weights(old: int, new: int) -> jax.Array:
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return jnp.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))), x.dtype)

    # `jax.image.resize` is the same, but compares the batch, whose size is not known in a program that is exported.
    rows, columns = (weights(old, new) for old, new in zip(x.shape[1:3], size, strict=True))
    return constrain_batch(jnp.einsum("ih,bhwd,jw->bijd", rows, x, columns, precision="highest"))


def pooled(x: jax.Array, side: int) -> jax.Array:
    """The means of side x side regions of a map: [B, H, W, D] to [B, side, side, D].

    Region i begins at floor(i * H / side) and ends before ceil((i + 1) * H / side), so regions may share rows, as in
    PyTorch's adaptive pooling.
    """

    def regions(length: int) -> np.ndarray:
        place, region = np.arange(length), np.arange(side)[:, None]
        inside = (place >= region * length // side) & (place < -(-(region + 1) * length // side))
        return inside / inside.sum(axis=1, keepdims=True)

    rows, columns = (jnp.asarray(regions(length), jnp.float32) for length in x.shape[1:3])
    means = jnp.einsum("ih,bhwd,jw->bijd", rows, x.astype(jnp.float32), columns)
    return means.astype(x.dtype)
