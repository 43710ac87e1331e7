"""Vision Transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020, arXiv:2010.11929.

Differs from the paper on purpose:
- drop path, which DeiT and MAE train with, is there (0 = the paper);
- GELU is the exact one, as in timm, DeiT and MAE; the official JAX code uses ``gelu_tanh``;
- images of another size than ``image_size`` are legal, rectangles too: positions are interpolated on the fly,
  bicubic with antialiasing, as in timm (the official code: linear);
- initialisation follows MAE: Xavier for every matrix, patches included, and zero biases; truncated normal positions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import resize_positions

# Table 1 of the paper; Ti and S: Touvron et al. 2020 (arXiv:2012.12877), table 1.
SIZES = {
    "Ti": dict(width=192, depth=12, num_heads=3, mlp_width=768),
    "S": dict(width=384, depth=12, num_heads=6, mlp_width=1536),
    "B": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
    "L": dict(width=1024, depth=24, num_heads=16, mlp_width=4096),
    "H": dict(width=1280, depth=32, num_heads=16, mlp_width=5120),
}


class ViT(nn.Module):
    """Image classifier; the defaults are ViT-B/16.

    Attributes:
        num_classes: K; 0 = no head, the pooled features are returned.
        image_size: (height, width) in pixels that the position table is made for.
        patch_size: P in pixels.
        pooling: "token" (a class token, as in the paper) or "mean" (average of the normalised patch tokens, no
            class token).
        dropout: rate after the position embedding, attention and MLP layers.
        drop_path: rate of the last block; the first has 0, those between lie on a line.
        dtype: of the computation; parameters are float32, and so are softmax, norm statistics and logits.
        remat: recompute each block in the backward pass: less memory, about a third more time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    pooling: str = "token"
    qkv_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] normalised images to [B, K] float32 logits (or [B, D] features)."""
        if self.pooling not in ("token", "mean"):
            raise ValueError(f"pooling {self.pooling!r} is unknown; choose 'token' or 'mean'")
        for name in ("patch_size", "width", "depth", "num_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1)")
        x = PatchEmbed(self.patch_size, self.width, self.dtype, name="patch_embed")(images)
        x = constrain_batch(x)
        b, *grid, d = x.shape  # [B, H/P, W/P, D]

        table = tuple(side // self.patch_size for side in self.image_size)
        position_init = nn.initializers.truncated_normal(0.02)
        positions = self.param("pos_embed", position_init, (*table, d))
        x = x + resize_positions(positions, grid).astype(x.dtype)[None]
        x = x.reshape(b, -1, d)  # [B, N, D]
        if self.pooling == "token":
            token = self.param("cls_token", nn.initializers.zeros, (d,))
            token = token + self.param("cls_pos_embed", position_init, (d,))
            token = jnp.broadcast_to(token.astype(x.dtype), (b, 1, d))
            x = jnp.concatenate([token, x], axis=1)  # [B, 1+N, D]
        x = constrain_batch(nn.Dropout(self.dropout, deterministic=not train)(x))

        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                qkv_bias=self.qkv_bias,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                drop_path=self.drop_path * i / max(1, self.depth - 1),
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)

        x = x[:, 0] if self.pooling == "token" else x.mean(axis=1)  # [B, D]
        x = x.astype(jnp.float32)
        if not self.num_classes:
            return x
        # Zeros, as in the official code: an untrained head gives every class the same chance.
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)
