"""MLP-Mixer: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, arXiv:2105.01601.

Deliberate differences from the official code:

- GELU is exact, as in timm; the official JAX code uses ``gelu_tanh``;
- drop path divides a kept branch by 1 - rate, as everywhere else in vitax (the official code does not rescale it);
- positions can be added to the tokens, which the paper has no need of (section 2);
- initialisation is Xavier for every matrix, with zero biases and a zero head.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.blocks import DropPath, LayerNorm, drop_path_rates
from vitax.nn.dense import Dense
from vitax.nn.mlp import MLP
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import Positions

# Table 1 of the paper; each letter is combined with a patch_size of 32, 16 or 14.
SIZES = {
    "S": dict(width=512, depth=8, token_mlp_width=256, mlp_width=2048),
    "B": dict(width=768, depth=12, token_mlp_width=384, mlp_width=3072),
    "L": dict(width=1024, depth=24, token_mlp_width=512, mlp_width=4096),
    "H": dict(width=1280, depth=32, token_mlp_width=640, mlp_width=5120),
}


class MixerBlock(nn.Module):
    """An MLP over the tokens of each channel, then one over the channels of each token (equation 1).

    Attributes:
        token_mlp_width: hidden width D_S of the MLP over tokens.
        mlp_width: hidden width D_C of the MLP over channels.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the activations of the MLPs.
        drop_path: rate at which a whole branch is dropped.
        dtype: dtype of the computation; parameters are float32.
    """

    token_mlp_width: int
    mlp_width: int
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, N, D]
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        mlp = functools.partial(MLP, activation=self.activation, dropout=self.dropout, dtype=self.dtype)

        def residual(x, branch):
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        y = norm(name="norm1")(x).swapaxes(1, 2)  # [B, D, N]
        y = mlp(self.token_mlp_width, name="token_mlp")(y, train)
        x = residual(x, y.swapaxes(1, 2))
        return residual(x, mlp(self.mlp_width, name="mlp")(norm(name="norm2")(x), train))


class MlpMixer(nn.Module):
    """Image classifier; the defaults are Mixer-B/16. Its token MLPs fix the image size.

    Attributes:
        num_classes: number K of classes; 0 = no head: the mean of the normalised tokens is returned.
        image_size: (height, width) in pixels; images of another size are rejected.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        depth: number of blocks.
        token_mlp_width: hidden width D_S of the MLPs over tokens.
        mlp_width: hidden width D_C of the MLPs over channels.
        positions: added to the tokens: "learned_1d", "learned_2d", "sincos_1d", "sincos_2d" or "none".
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the activations of the MLPs.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    token_mlp_width: int = 384
    mlp_width: int = 3072
    positions: str = "none"
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K] (or features [B, D]).

        Args:
            train: True = dropout and drop path are active.
        """
        if images.shape[1:3] != tuple(self.image_size):
            height, width = self.image_size
            raise ValueError(
                f"images of {images.shape[1]}x{images.shape[2]} do not fit the token MLPs, which are made for "
                f"{height}x{width}; resize the images, or build the model with their size as image_size"
            )
        x = PatchEmbed(self.patch_size, self.width, dtype=self.dtype, name="patch_embed")(images)
        grid = x.shape[1:3]
        x = x.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        if self.positions != "none":
            x = x + Positions(self.positions, grid, self.width, name="pos_embed")(grid).astype(x.dtype)[None]
        x = constrain_batch(x)
        block = nn.remat(MixerBlock, static_argnums=(2,)) if self.remat else MixerBlock
        for i, drop_path in enumerate(drop_path_rates(self.drop_path, self.depth)):
            x = block(
                token_mlp_width=self.token_mlp_width,
                mlp_width=self.mlp_width,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                drop_path=drop_path,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        x = x.mean(axis=1).astype(jnp.float32)
        if not self.num_classes:
            return x
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)
