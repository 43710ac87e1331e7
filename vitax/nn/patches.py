"""Conversion of images to rows of patches and back, and the embedding of patches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.nn.dense import Dense


def patchify(images: jax.Array, patch_size: int) -> jax.Array:
    """Cuts images into patches, row by row; inside a patch the order is (row, column, channel).

    Args:
        images: [B, H, W, C].
        patch_size: P, a divisor of H and of W.

    Returns:
        [B, H/P, W/P, P*P*C].

    Raises:
        ValueError: H or W is not a multiple of P.
    """
    b, h, w, c = images.shape
    p = patch_size
    if h % p or w % p:
        raise ValueError(
            f"image {h}x{w} is not divisible by patch_size {p}; pad or resize to {-h // p * -p}x{-w // p * -p}"
        )
    x = images.reshape(b, h // p, p, w // p, p, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // p, w // p, p * p * c)


def unpatchify(patches: jax.Array, patch_size: int) -> jax.Array:
    """The inverse of `patchify`: [B, H/P, W/P, P*P*C] to [B, H, W, C]."""
    b, rows, columns, _ = patches.shape
    p = patch_size
    x = patches.reshape(b, rows, columns, p, p, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, rows * p, columns * p, -1)


class PatchEmbed(nn.Module):
    """Linear projection of each patch: a strided convolution, written as one matrix product.

    The kernel [P*P*C, D] is that of the convolution, [P, P, C, D], flattened.

    Attributes:
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        use_bias: the projection has a bias.
        dtype: dtype of the computation; parameters are float32.
        pad: images that P does not divide are padded with zeros below and to the right, as in the official detection
            code of Swin; False = they are refused.
    """

    patch_size: int
    width: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    pad: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H/P, W/P, D]
        if self.pad:
            below, right = (-side % self.patch_size for side in images.shape[1:3])
            images = jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)))
        patches = patchify(images.astype(self.dtype), self.patch_size)
        return Dense(
            self.width,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            name="projection",
        )(patches)


def in_whole_patches(images: jax.Array, patch_size: int) -> jax.Array:
    """Images [B, H, W, C], filled up with zeros below and to the right until their sides are multiples of a patch's side."""
    height, width = images.shape[1:3]
    return jnp.pad(images, ((0, 0), (0, -height % patch_size), (0, -width % patch_size), (0, 0)))
