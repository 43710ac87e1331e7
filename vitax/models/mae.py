"""Masked autoencoder: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, arXiv:2111.06377.

The encoder is `vitax.models.vit.ViT`, so that its parameters fit the classifier to fine-tune. The choice of hidden
patches (`vitax.masking.random_masking`) and the target of the loss (`vitax.losses.patch_mse`) are not part of the
model.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.models import vit
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.dense import Dense
from vitax.nn.positions import Positions

SIZES = {
    "B": vit.SIZES["B"] | dict(patch_size=16),
    "L": vit.SIZES["L"] | dict(patch_size=16),
    "H": vit.SIZES["H"] | dict(patch_size=14),
}


class MAEDecoder(nn.Module):
    """Decoder of all places: encoded tokens at the visible patches, one shared mask token elsewhere.

    Attributes:
        out_width: number of values that are predicted for each patch.
        grid: (rows, columns) for which the position table is made.
        width: width of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_ratio: hidden width of the MLPs / width.
        positions: kind of position encoding, see `Positions`.
        norm_epsilon: epsilon of the layer norms.
        dtype: dtype of the computation; parameters, softmax, norm statistics and predictions are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    out_width: int
    grid: tuple[int, int]
    width: int = 512
    depth: int = 8
    num_heads: int = 16
    mlp_ratio: float = 4.0
    positions: str = "sincos_2d"
    norm_epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, keep: jax.Array, grid: tuple[int, int], train: bool = False) -> jax.Array:
        """Maps encoded tokens [B, 1+n, D] of the places ``keep`` [B, n] of a grid to [B, h*w, out_width]."""
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        x = dense(self.width, name="embed")(x)
        b, places = x.shape[0], grid[0] * grid[1]
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (self.width,))
        patches = jnp.broadcast_to(mask_token.astype(x.dtype), (b, places, self.width))
        # vmap over examples, because a scatter over the whole batch would gather the batch from all devices.
        patches = jax.vmap(lambda all, at, new: all.at[at].set(new))(patches, keep, x[:, 1:])
        x = jnp.concatenate([x[:, :1], patches], axis=1)  # [B, 1+N, D]
        positions = Positions(self.positions, self.grid, self.width, 1, name="pos_embed")(grid)
        x = constrain_batch(x + positions.astype(x.dtype)[None])
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=round(self.width * self.mlp_ratio),
                norm_epsilon=self.norm_epsilon,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        return dense(self.out_width, name="prediction")(x)[:, 1:].astype(jnp.float32)


class MAE(nn.Module):
    """Encoder of the visible patches and light decoder of all patches; the defaults are MAE-B/16.

    Attributes:
        image_size: (height, width) in pixels; other sizes are accepted, and positions are computed for them, or
            interpolated if they are learned.
        patch_size: side P of a patch in pixels.
        width: width D of the encoder's tokens.
        depth: number of blocks of the encoder.
        num_heads: attention heads of the encoder's blocks.
        mlp_width: hidden width of the encoder's MLPs.
        decoder_width: width of the decoder's tokens.
        decoder_depth: number of blocks of the decoder (paper, table 1: 1 to 12).
        decoder_num_heads: attention heads of the decoder's blocks.
        decoder_mlp_ratio: hidden width of the decoder's MLPs / decoder_width.
        positions: position encoding of encoder and decoder: "sincos_2d" (the paper) or "learned_1d".
        norm_epsilon: epsilon of the layer norms.
        dtype: dtype of the computation; parameters, softmax, norm statistics and predictions are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_num_heads: int = 16
    decoder_mlp_ratio: float = 4.0
    positions: str = "sincos_2d"
    norm_epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, keep: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps images and the indices of their visible patches to predicted pixels.

        Args:
            images: [B, H, W, C], normalised.
            keep: [B, n] int, indices of the visible patches in the raster order of the grid, each at most once.
            train: passed on to the blocks, whose dropout and drop path rates are 0.

        Returns:
            [B, N, P*P*C] float32 predictions for every patch, in the order of `vitax.nn.patches.patchify`.
        """
        encoder = self.encoder(name="encoder")
        p = self.patch_size
        decoder = MAEDecoder(
            out_width=p * p * images.shape[-1],
            grid=tuple(side // p for side in self.image_size),
            width=self.decoder_width,
            depth=self.decoder_depth,
            num_heads=self.decoder_num_heads,
            mlp_ratio=self.decoder_mlp_ratio,
            positions=self.positions,
            norm_epsilon=self.norm_epsilon,
            dtype=self.dtype,
            remat=self.remat,
            name="decoder",
        )
        latent = encoder(images, train=train, keep=keep)  # [B, 1+n, D], float32
        grid = (images.shape[1] // p, images.shape[2] // p)
        return decoder(latent, keep, grid, train)

    def encoder(self, **options: Any) -> vit.ViT:
        """The encoder, whose parameters are those of "encoder"; without ``keep`` it sees all patches.

        Args:
            options: of the module: ``name`` inside this one, or ``parent=None`` outside.
        """
        return vit.ViT(
            num_classes=0,
            image_size=self.image_size,
            patch_size=self.patch_size,
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            positions=self.positions,
            pooling="none",
            norm_epsilon=self.norm_epsilon,
            dtype=self.dtype,
            remat=self.remat,
            **options,
        )
