"""SwinIR: Liang et al., "SwinIR: Image Restoration Using Swin Transformer", 2021, arXiv:2108.10257.

Equivalent to the official network; the padding that the official test script adds is not part of it.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.blocks import LayerNorm, drop_path_rates
from vitax.nn.convolution import Conv
from vitax.nn.positions import Positions
from vitax.nn.windows import WindowBlock

_MEDIUM = dict(width=180, depths=(6,) * 6, num_heads=(6,) * 6, window=8)
_LIGHT = dict(width=60, depths=(6,) * 4, num_heads=(6,) * 4, window=8)
_LARGE = dict(width=240, depths=(6,) * 9, num_heads=(8,) * 9, window=8, residual="3conv")
_JPEG = _MEDIUM | dict(window=7, pixel_range=255.0, upsampler="none", scale=1)

# Section 4.1 of the paper and the official test script.
SIZES = {
    "classical_x2": _MEDIUM | dict(scale=2),
    "classical_x3": _MEDIUM | dict(scale=3),
    "classical_x4": _MEDIUM | dict(scale=4),
    "classical_x8": _MEDIUM | dict(scale=8),
    "light_x2": _LIGHT | dict(scale=2, upsampler="pixelshuffle_direct"),
    "light_x3": _LIGHT | dict(scale=3, upsampler="pixelshuffle_direct"),
    "light_x4": _LIGHT | dict(scale=4, upsampler="pixelshuffle_direct"),
    "real_x2": _MEDIUM | dict(scale=2, upsampler="nearest_conv"),
    "real_x4": _MEDIUM | dict(scale=4, upsampler="nearest_conv"),
    "real_large_x2": _LARGE | dict(scale=2, upsampler="nearest_conv"),
    "real_large_x4": _LARGE | dict(scale=4, upsampler="nearest_conv"),
    "denoise_grey": _MEDIUM | dict(scale=1, upsampler="none", channels=1),
    "denoise_colour": _MEDIUM | dict(scale=1, upsampler="none"),
    "jpeg_grey": _JPEG | dict(channels=1),
    "jpeg_colour": _JPEG,
}
UPSAMPLERS = ("pixelshuffle", "pixelshuffle_direct", "nearest_conv", "none")
RGB_MEAN = (0.4488, 0.4371, 0.4040)  # mean colour of DIV2K


def pixel_shuffle(x: jax.Array, scale: int) -> jax.Array:
    """Rearranges [B, H, W, C*s*s] to [B, H*s, W*s, C].

    The channels are ordered (C, row, column) (Shi et al., arXiv:1609.05158).
    """
    b, h, w, d = x.shape
    x = x.reshape(b, h, w, d // scale**2, scale, scale).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(b, h * scale, w * scale, -1)


def _conv(width: int, dtype: Dtype, name: str, side: int = 3) -> Conv:
    return Conv(
        width, (side, side), padding=side // 2, dtype=dtype, kernel_init=nn.initializers.xavier_uniform(), name=name
    )


class ResidualConv(nn.Module):
    """Convolution at the end of a group: one 3x3, or three (3x3, 1x1, 3x3) through a quarter of the width.

    Attributes:
        kind: "1conv" or "3conv".
        dtype: dtype of the computation; parameters are float32.
    """

    kind: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        d = x.shape[-1]
        if self.kind == "1conv":
            return _conv(d, self.dtype, "conv")(x)
        if self.kind != "3conv":
            raise ValueError(f"residual {self.kind!r} is unknown; choose '1conv' or '3conv'")
        x = nn.leaky_relu(_conv(d // 4, self.dtype, "conv1")(x), 0.2)
        x = nn.leaky_relu(_conv(d // 4, self.dtype, "conv2", side=1)(x), 0.2)
        return _conv(d, self.dtype, "conv3")(x)


class Group(nn.Module):
    """Residual Swin Transformer Block (RSTB, section 3.1): window blocks, a convolution, a residual.

    Attributes:
        depth: number of window blocks.
        num_heads: attention heads of each block.
        window: side of the windows, in pixels.
        mlp_ratio: hidden width of the MLPs / width of the tokens.
        residual: kind of the convolution, "1conv" or "3conv".
        drop_path: drop path rate of each block.
        dtype: dtype of the computation; parameters are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    depth: int
    num_heads: int
    window: int
    mlp_ratio: float
    residual: str
    drop_path: tuple[float, ...]
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        block = nn.remat(WindowBlock, static_argnums=(2,)) if self.remat else WindowBlock
        y = x
        for i in range(self.depth):
            shift = self.window // 2 if i % 2 else 0
            y = block(
                num_heads=self.num_heads,
                window=(self.window, self.window),
                shift=(shift, shift),
                mlp_width=round(x.shape[-1] * self.mlp_ratio),
                drop_path=self.drop_path[i],
                dtype=self.dtype,
                name=f"block{i}",
            )(y, train)
        return constrain_batch(x + ResidualConv(self.residual, self.dtype, name="conv")(y))


class SwinIR(nn.Module):
    """Restores images of any height and width; the defaults are classical super-resolution x2.

    Attributes:
        channels: number C of channels, 3 or 1.
        scale: output side / input side.
        upsampler: "pixelshuffle" (classical), "pixelshuffle_direct" (light), "nearest_conv" (real-world), or "none"
            (denoising, JPEG: the network predicts what to add to the image).
        residual: "1conv" or "3conv", the convolution at the end of each group and of the body.
        pixel_range: factor by which the network multiplies pixels in [0, 1]; 255 for JPEG.
        width: width D of the tokens.
        depths: number of blocks of each group.
        num_heads: attention heads of the blocks of each group.
        window: side of the windows, in pixels; images are padded by reflection below and to the right to a multiple of
            it.
        patch_norm: a norm before the first group.
        position_table: rows and columns of learned positions that are added to the tokens, and interpolated for images
            of another size; (0, 0) = no such positions.
        mlp_ratio: hidden width of the MLPs / width.
        features: channels of the reconstruction head.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters, softmax, norm statistics and the image are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    channels: int = 3
    scale: int = 2
    upsampler: str = "pixelshuffle"
    residual: str = "1conv"
    pixel_range: float = 1.0
    width: int = 180
    depths: tuple[int, ...] = (6, 6, 6, 6, 6, 6)
    num_heads: tuple[int, ...] = (6, 6, 6, 6, 6, 6)
    window: int = 8
    patch_norm: bool = True
    position_table: tuple[int, int] = (0, 0)
    mlp_ratio: float = 2.0
    features: int = 64
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps images [B, H, W, C] in [0, 1] to images [B, H*scale, W*scale, C] float32, not clipped.

        Args:
            train: True = drop path is active.
        """
        self._check(images)
        _, height, width, channels = images.shape
        mean = jnp.asarray(RGB_MEAN if channels == 3 else (0.0,) * channels)[None, None, None]
        below, right = -height % self.window, -width % self.window
        x = jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")
        scaled = (x.astype(jnp.float32) - mean) * self.pixel_range
        first = _conv(self.width, self.dtype, "conv_first")(scaled.astype(self.dtype))
        features = constrain_batch(first + self._body(first, train))
        if self.upsampler == "none":
            # The image itself stays float32, because bfloat16 has fewer than 256 grey levels near white.
            out = scaled + _conv(channels, self.dtype, "conv_last")(features).astype(jnp.float32)
        else:
            out = self._upsample(features, channels)
        out = out[:, : height * self.scale, : width * self.scale]
        return out.astype(jnp.float32) / self.pixel_range + mean

    def _check(self, images: jax.Array) -> None:
        if self.upsampler not in UPSAMPLERS:
            known = ", ".join(UPSAMPLERS)
            raise ValueError(f"upsampler {self.upsampler!r} is unknown; choose one of {known}")
        _, height, width, channels = images.shape
        if channels != self.channels:
            raise ValueError(f"the images have {channels} channels, but the model has {self.channels}")
        if max(-height % self.window - height, -width % self.window - width) >= 0:
            raise ValueError(
                f"an image of {height}x{width} is too small to be reflected to a multiple of window "
                f"{self.window}; enlarge it to {self.window // 2 + 1} or more pixels a side"
            )
        allowed = {"pixelshuffle": (2, 3, 4, 8, 16), "nearest_conv": (2, 4), "none": (1,)}
        if self.scale not in allowed.get(self.upsampler, range(1, 17)):
            raise ValueError(f"upsampler {self.upsampler!r} has no scale {self.scale}")

    def _body(self, x: jax.Array, train: bool) -> jax.Array:
        """Deep features: norm, groups, norm, convolution."""
        if self.patch_norm:
            x = LayerNorm(epsilon=1e-5, dtype=self.dtype, name="patch_norm")(x)
        if any(self.position_table):
            table = Positions("learned_1d", self.position_table, self.width, antialias=False, name="pos_embed")
            x = x + table(x.shape[1:3]).reshape(1, *x.shape[1:]).astype(x.dtype)
        x = constrain_batch(x)
        rates = drop_path_rates(self.drop_path, sum(self.depths))
        for i, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            start = sum(self.depths[:i])
            x = Group(
                depth=depth,
                num_heads=heads,
                window=self.window,
                mlp_ratio=self.mlp_ratio,
                residual=self.residual,
                drop_path=tuple(rates[start : start + depth]),
                dtype=self.dtype,
                remat=self.remat,
                name=f"group{i}",
            )(x, train)
        x = LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(x)
        return ResidualConv(self.residual, self.dtype, name="conv_after_body")(x)

    def _upsample(self, x: jax.Array, channels: int) -> jax.Array:
        """Maps features at the size of the input to an image at the size of the output."""
        conv = functools.partial(_conv, dtype=self.dtype)
        if self.upsampler == "pixelshuffle_direct":
            x = conv(self.scale**2 * channels, name="upsample0")(x)
            return constrain_batch(pixel_shuffle(x, self.scale))
        x = nn.leaky_relu(conv(self.features, name="conv_before_upsample")(x), 0.01)
        if self.upsampler == "pixelshuffle":
            for i, step in enumerate(upsample_steps(self.scale)):
                x = conv(step**2 * self.features, name=f"upsample{i}")(x)
                x = constrain_batch(pixel_shuffle(x, step))
            return conv(channels, name="conv_last")(x)
        for i in range(len(upsample_steps(self.scale))):
            x = x.repeat(2, axis=1).repeat(2, axis=2)
            x = constrain_batch(nn.leaky_relu(conv(self.features, name=f"conv_up{i + 1}")(x), 0.2))
        x = nn.leaky_relu(conv(self.features, name="conv_hr")(x), 0.2)
        return conv(channels, name="conv_last")(x)


def upsample_steps(scale: int) -> list[int]:
    """Factors of the steps of an upsampling: 4 = 2 * 2, 8 = 2 * 2 * 2, 3 = 3."""
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


def restore_tiled(apply, image: jax.Array, *, scale: int, tile: int, overlap: int, window: int) -> jax.Array:
    """Restores a large image tile by tile and averages overlapping tiles, as the official test script does.

    Args:
        apply: function [B, tile, tile, C] -> [B, tile * scale, tile * scale, C]; all calls have the same shape, so jit
            it.
        image: [H, W, C].
        scale: output side / input side.
        tile: side of a tile in pixels, a multiple of ``window``; a smaller image is a single tile.
        overlap: smallest number of pixels that neighbouring tiles share, 0 <= overlap < tile.
        window: side of the windows of the model, in pixels.

    Returns:
        [H * scale, W * scale, C].

    Raises:
        ValueError: ``tile`` is not a multiple of ``window``, or ``overlap`` is outside 0..tile-1.
    """
    if tile % window or not 0 <= overlap < tile:
        raise ValueError(
            f"tile {tile} must be a multiple of window {window}, and overlap {overlap} must lie in 0..{tile - 1}"
        )
    height, width, channels = image.shape
    sides = min(tile, height), min(tile, width)
    total = jnp.zeros((height * scale, width * scale, channels))
    count = jnp.zeros((height * scale, width * scale, 1))
    for top in _tile_starts(height, sides[0], overlap):
        for left in _tile_starts(width, sides[1], overlap):
            piece = apply(image[None, top : top + sides[0], left : left + sides[1]])[0]
            rows = slice(top * scale, (top + sides[0]) * scale)
            columns = slice(left * scale, (left + sides[1]) * scale)
            total = total.at[rows, columns].add(piece)
            count = count.at[rows, columns].add(1)
    return total / count


def _tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    return [*range(0, length - tile, max(1, tile - overlap)), length - tile]
