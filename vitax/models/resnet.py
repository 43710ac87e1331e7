"""ResNet: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385; a backbone of DETR.

As in PyTorch, the stride of a bottleneck is that of its 3x3 convolution.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.convolution import Conv
from vitax.nn.dense import Dense

# Numbers of bottlenecks of each stage (table 1 of the paper).
SIZES = {"50": dict(depths=(3, 4, 6, 3)), "101": dict(depths=(3, 4, 23, 3)), "152": dict(depths=(3, 8, 36, 3))}
_he = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics, factors and offsets stay as they were trained; its variables are those of `nn.BatchNorm`.

    Attributes:
        dtype: dtype of the result.
        epsilon: number that is added to the variance.
    """

    dtype: Dtype = jnp.float32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [..., D]
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (width,), jnp.float32).value
        var = self.variable("batch_stats", "var", jnp.ones, (width,), jnp.float32).value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        factor, offset = jax.lax.stop_gradient((factor, bias - mean * factor))
        shape = (1,) * (x.ndim - 1) + (-1,)
        return (x * factor.reshape(shape) + offset.reshape(shape)).astype(self.dtype)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the width, with a shortcut.

    Attributes:
        width: channels of the first two convolutions.
        norm: function that makes a batch norm with a given name.
        stride: factor by which height and width shrink.
        dilation: distance of the pixels of the 3x3 convolution.
        dtype: dtype of the computation; parameters are float32.
    """

    width: int
    norm: Callable[..., nn.Module]
    stride: int = 1
    dilation: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, D] -> [B, H/stride, W/stride, 4 width]
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=_he)
        spaced: dict[str, Any] = dict(strides=self.stride, padding=self.dilation, kernel_dilation=self.dilation)
        y = nn.relu(self.norm(name="norm1")(conv(self.width, (1, 1), name="conv1")(x)))
        y = nn.relu(self.norm(name="norm2")(conv(self.width, (3, 3), **spaced, name="conv2")(y)))
        y = self.norm(name="norm3")(conv(4 * self.width, (1, 1), name="conv3")(y))
        if self.stride > 1 or x.shape[-1] != 4 * self.width:
            x = conv(4 * self.width, (1, 1), strides=self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x)
        return constrain_batch(nn.relu(x + y))


class ResNet(nn.Module):
    """Maps images to logits or, as a backbone, to the maps of its stages; statistics are in the collection "batch_stats".

    Attributes:
        num_classes: number of classes K; 0 = features instead of logits.
        image_size: (height, width) in pixels of the images; any other size works too.
        depths: number of bottlenecks of each stage.
        width: channels after the stem; stage i has 4 * 2**i times as many.
        frozen_norms: batch norms stay as they were trained, as DETR has them; False = they learn and gather statistics.
        dilated: the last stage keeps the size of its map, and its pixels lie twice as far apart (DC5 of DETR).
        dtype: dtype of the computation; parameters and logits are float32.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    frozen_norms: bool = False
    dilated: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K], or to features [B, D] if there are no classes.

        Args:
            train: True = batch norms use the statistics of the batch, unless they are frozen.
        """
        maps = self.features(images, train)
        x = maps[max(maps)].astype(jnp.float32).mean(axis=(1, 2))
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x) if self.num_classes else x

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The maps of the stages, {stride in pixels: [B, ceil(H/stride), ceil(W/stride), D]}.

        If ``dilated``, two stages have the same stride, and the map is that of the later one.
        """
        norm: Callable[..., nn.Module] = functools.partial(FrozenBatchNorm, dtype=self.dtype)
        if not self.frozen_norms:
            norm = functools.partial(nn.BatchNorm, not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        options: dict[str, Any] = dict(strides=2, padding=3, use_bias=False, dtype=self.dtype, kernel_init=_he)
        x = Conv(self.width, (7, 7), **options, name="stem")(images.astype(self.dtype))
        x = nn.relu(norm(name="stem_norm")(x))
        # Nothing is below zero here, so that zeros around the map change no maximum; jax2onnx loses the padding of a pool.
        x = nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), window_shape=(3, 3), strides=(2, 2))
        maps, reached = {}, 4
        for stage, depth in enumerate(self.depths):
            spread = self.dilated and stage == len(self.depths) - 1
            stride = 1 if spread or not stage else 2
            reached *= stride
            for i in range(depth):
                x = Bottleneck(
                    self.width * 2**stage,
                    norm,
                    stride=1 if i else stride,
                    dilation=2 if spread and i else 1,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i}",
                )(x)
            maps[reached] = x
        return maps
