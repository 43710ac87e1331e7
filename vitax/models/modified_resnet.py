"""The ResNet of CLIP: Radford et al., "Learning Transferable Visual Models", 2021, arXiv:2103.00020, section 2.4.

Differences from He et al. 2015 (arXiv:1512.03385): a stem of three convolutions (ResNet-D), strides by average pooling
(anti-aliased), and attention pooling at the end. Running variances average the variance of the batch without
correction; PyTorch multiplies it by N / (N - 1).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import CrossAttention
from vitax.nn.convolution import Conv
from vitax.nn.positions import Positions


def average_pool(x: jax.Array, stride: int) -> jax.Array:
    """Averages [B, H, W, D] to [B, H/s, W/s, D]; rows and columns that do not fill a window are dropped."""
    return nn.avg_pool(x, window_shape=(stride, stride), strides=(stride, stride)) if stride > 1 else x


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the width; an average pool after the second applies the stride.

    Attributes:
        width: channels of the first two convolutions.
        stride: factor by which height and width shrink.
        dtype: dtype of the computation; parameters are float32.
    """

    width: int
    stride: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        y = nn.relu(norm(name="norm1")(conv(self.width, (1, 1), name="conv1")(x)))
        y = nn.relu(norm(name="norm2")(conv(self.width, (3, 3), padding=1, name="conv2")(y)))
        y = conv(4 * self.width, (1, 1), name="conv3")(average_pool(y, self.stride))
        y = norm(name="norm3", scale_init=nn.initializers.zeros)(y)
        if self.stride > 1 or x.shape[-1] != 4 * self.width:
            x = average_pool(x, self.stride)
            x = norm(name="shortcut_norm")(conv(4 * self.width, (1, 1), name="shortcut")(x))
        return constrain_batch(nn.relu(x + y))


class ModifiedResNet(nn.Module):
    """Maps images [B, H, W, C] to features [B, out_width]; running statistics are in the collection "batch_stats".

    Attributes:
        out_width: width of the features.
        image_size: (height, width) in pixels for which the position table of the pooling is made; positions are
            interpolated for other sizes.
        width: channels after the stem; the last of four stages has 32 times as many.
        depths: number of bottlenecks of each stage.
        num_heads: attention heads of the pooling.
        dtype: dtype of the computation; parameters are float32.
    """

    out_width: int
    image_size: tuple[int, int]
    width: int
    depths: tuple[int, ...]
    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        conv = functools.partial(Conv, kernel_size=(3, 3), padding=1, use_bias=False, dtype=self.dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        x = images.astype(self.dtype)
        for i, (width, stride) in enumerate(((self.width // 2, 2), (self.width // 2, 1), (self.width, 1)), start=1):
            x = nn.relu(norm(name=f"norm{i}")(conv(width, strides=stride, name=f"conv{i}")(x)))
        x = average_pool(x, 2)
        self.sow("intermediates", "stem", x)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                name = f"stage{stage}_block{i}"
                x = Bottleneck(self.width * 2**stage, stride, self.dtype, name=name)(x, train)
        b, *grid, d = x.shape
        x = x.reshape(b, -1, d)
        x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1)  # [B, 1+N, D]
        stride = 4 * 2 ** (len(self.depths) - 1)
        table = tuple(side // stride for side in self.image_size)
        x = x + Positions("learned_1d", table, d, 1, name="pos_embed")(tuple(grid)).astype(x.dtype)[None]
        pool = CrossAttention(self.num_heads, out_width=self.out_width, dtype=self.dtype, name="pool")
        return pool(x[:, :1], x)[:, 0]
