"""Vision Transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020, arXiv:2010.11929.

Deliberate differences from the paper:

- it also has drop path, as DeiT and MAE use it (0 = the paper), the distillation token of DeiT (arXiv:2012.12877),
  attention pooling (arXiv:2106.04560, appendix A), CLIP's norm before the blocks, and register tokens, layer scale and
  norms of queries and keys, which later models have;
- GELU is exact, as in timm, DeiT and MAE; the official JAX code uses ``gelu_tanh``;
- images of other sizes than ``image_size``, rectangles included, are accepted: positions are interpolated on the fly,
  bicubic with antialiasing, as in timm (the official code: linear);
- positions "relative" are a number for each head and 2-D offset, as in Swin; "relative_1d" is the paper's appendix D.4;
- initialisation follows MAE: Xavier for every matrix, patches included, and zero biases; truncated normal positions.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import CrossAttention
from vitax.nn.blocks import Block, LayerNorm, drop_path_rates
from vitax.nn.dense import Dense, wide
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.patches import PatchEmbed, in_whole_patches
from vitax.nn.positions import CONCATENATED, FIXED, LEARNED, RELATIVE, PositionScheme, position_scheme

# Table 1 of the paper; Ti and S: Touvron et al. 2020 (arXiv:2012.12877), table 1.
SIZES = {
    "Ti": dict(width=192, depth=12, num_heads=3, mlp_width=768),
    "S": dict(width=384, depth=12, num_heads=6, mlp_width=1536),
    "B": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
    "L": dict(width=1024, depth=24, num_heads=16, mlp_width=4096),
    "H": dict(width=1280, depth=32, num_heads=16, mlp_width=5120),
}
POSITIONS = (*LEARNED, *FIXED, *RELATIVE, "rotary", "learned_rotary", "none")
POSITIONS_AT = ("input", "concatenated", "blocks", "blocks_shared")


class ViT(nn.Module):
    """Image classifier; the defaults are ViT-B/16.

    Attributes:
        num_classes: number K of classes; 0 = no head: the pooled features are returned.
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        patch_bias: bias in the patch embedding; CLIP's has no bias.
        class_token: a learned token before the patches.
        distillation_token: a second learned token before the patches, with a head of its own; the logits of the two
            heads are averaged.
        register_tokens: number of learned tokens between those and the patches (Darcet et al. 2023, arXiv:2309.16588).
        positions: "learned_1d" (the paper), "learned_2d", "sincos_1d", "sincos_2d", "relative", "relative_1d", "rotary"
            (DINOv3), "learned_rotary" (EVA-02) or "none", see `vitax.nn.positions.position_scheme`.
        positions_at: "input", which adds them to the patches; "concatenated", where the embedded patches have three
            quarters of the width, and the positions the last quarter; "blocks", which adds separate positions before each
            block; or "blocks_shared", which adds the same positions before each block (appendix D.4, table 8).
        antialias: learned positions are interpolated with antialiasing, as in timm; False = as in Hugging Face.
        norm_first_tokens: a norm before the first block, as in CLIP.
        pooling: "token" (the class token), "mean" (of the patch tokens), "map" (attention pooling of them), or "none".
        norm_after_pooling: the last norm comes after the pooling, as in MAE's fine-tuning, instead of before it.
        pre_logits: width of a layer with tanh before the head, as in the paper's pre-training; 0 = no such layer.
        head_norm: a batch norm without scale and bias before the head, as in MAE's linear probing.
        qkv_bias: biases in the query, key and value projections.
        key_bias: False = no biases of keys, whatever ``qkv_bias`` says, as in DINOv3 and EVA.
        qk_norm: layer norms of the queries and keys of each head.
        attention_norm: a norm of the joined outputs of the heads, as in EVA-02's CLIP.
        mlp_norm: a norm of the hidden features of the MLPs, as in EVA-02.
        layer_scale: initial value of learned factors of the branches, as in DeiT III and DINOv2; 0 = no factors.
        gated_mlp: the MLPs are gated, as in DINOv3's larger models: SwiGLU with activation "swish".
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the positions, after attention and after both layers of the MLPs.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters are float32, and so are softmax, norm statistics and logits.
        remat: recompute each block in the backward pass, which takes less memory and about a third more time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    patch_bias: bool = True
    class_token: bool = True
    distillation_token: bool = False
    register_tokens: int = 0
    positions: str = "learned_1d"
    positions_at: str = "input"
    antialias: bool = True
    norm_first_tokens: bool = False
    pooling: str = "token"
    norm_after_pooling: bool = False
    pre_logits: int = 0
    head_norm: bool = False
    qkv_bias: bool = True
    key_bias: bool = True
    qk_norm: bool = False
    attention_norm: bool = False
    mlp_norm: bool = False
    layer_scale: float = 0.0
    gated_mlp: bool = False
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, keep: jax.Array | None = None) -> jax.Array:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K] (or features [B, D]).

        The tokens before the pooling are stored as ``intermediates/tokens`` [B, T+N, D]; they are normalised unless
        ``norm_after_pooling``.

        Args:
            train: True = dropout and drop path are active, and ``head_norm`` uses the statistics of the batch.
            keep: [B, n] int, indices of the only patches that enter, in the raster order of the whole grid (MAE).
        """
        x, _ = self._blocks(images, train, keep)
        if not self.norm_after_pooling:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        x = self._pool(x, self.prefix)
        if self.norm_after_pooling:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="fc_norm")(x)
        return self._head(wide(x), train)

    def last_map(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The normalised patches after the last block, {P: [B, ceil(H/P), ceil(W/P), D]}, of images filled up with zeros."""
        images = in_whole_patches(images, self.patch_size)
        last, _ = self._blocks(images, train)
        last = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(last)
        grid = (side // self.patch_size for side in images.shape[1:3])
        return {self.patch_size: last[:, self.prefix :].reshape(len(images), *grid, -1)}

    def _blocks(
        self, images: jax.Array, train: bool, keep: jax.Array | None = None, taken: tuple[int, ...] = ()
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The tokens [B, T+N, D] after all blocks, and those after the blocks whose numbers are ``taken``."""
        self._check()
        width = self.width - (self.width // CONCATENATED) * (self.positions_at == "concatenated")
        x = PatchEmbed(self.patch_size, width, self.patch_bias, self.dtype, name="patch_embed")(images)
        b, *grid, d = x.shape  # [B, H/P, W/P, D]; D is the width, unless positions are concatenated later
        before = self.prefix
        x = jnp.concatenate([*self._prefix_tokens(b, d, x.dtype), x.reshape(b, -1, d)], axis=1)  # [B, T+N, D]

        positions = self.scheme(tuple(grid), before)
        x = positions.enter(x)
        if keep is not None:
            prefix_index = jnp.broadcast_to(jnp.arange(before), (b, before))
            index = jnp.concatenate([prefix_index, keep + before], axis=1)  # [B, T+n]
            x, positions = jnp.take_along_axis(x, index[:, :, None], axis=1), positions._replace(index=index)
        x = constrain_batch(Dropout(self.dropout, deterministic=not train)(x))
        if self.norm_first_tokens:
            x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm_first")(x)

        block, seen = nn.remat(Block, static_argnums=(2,)) if self.remat else Block, []
        for i, drop_path in enumerate(drop_path_rates(self.drop_path, self.depth)):
            x = positions.before_block(i, x)
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                qkv_bias=self.qkv_bias,
                key_bias=self.key_bias,
                qk_norm=self.qk_norm,
                attention_norm=self.attention_norm,
                mlp_norm=self.mlp_norm,
                layer_scale=self.layer_scale,
                gated_mlp=self.gated_mlp,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                hidden_dropout=self.dropout,
                drop_path=drop_path,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train, bias=positions.bias(i), rotation=positions.rotation())
            if i in taken:
                seen.append(x)
        return x, seen

    @property
    def prefix(self) -> int:
        """Number T of tokens before the patches."""
        return self.class_token + self.distillation_token + self.register_tokens

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps pooled features [B, D] (or [B, 2, D] for two heads) to logits [B, K]; without a head, returns them."""
        if self.pre_logits:
            x = nn.tanh(Dense(self.pre_logits, name="pre_logits")(x))
        if not self.num_classes:
            return x
        if self.head_norm:
            norm = dict(momentum=0.9, epsilon=1e-6, use_scale=False, use_bias=False, name="head_norm")
            x = nn.BatchNorm(not train, **norm)(x)
        # Zeros, as in the official code, so that an untrained head gives every class the same probability.
        head = functools.partial(Dense, self.num_classes, kernel_init=nn.initializers.zeros)
        if self.distillation_token:
            return (head(name="head")(x[:, 0]) + head(name="head_dist")(x[:, 1])) / 2
        return head(name="head")(x)

    def _prefix_tokens(self, b: int, d: int, dtype: Dtype) -> list[jax.Array]:
        """The learned tokens before the patches: class and distillation token [B, 1, D], registers [B, R, D]."""
        init, rows = nn.initializers.normal(0.02), []
        if self.class_token:
            rows.append(self.param("cls_token", init, (d,))[None])
        if self.distillation_token:
            rows.append(self.param("dist_token", init, (d,))[None])
        if self.register_tokens:
            rows.append(self.param("register_tokens", init, (self.register_tokens, d)))
        return [jnp.broadcast_to(row.astype(dtype), (b, *row.shape)) for row in rows]

    def scheme(self, grid: tuple[int, int], prefix: int) -> PositionScheme:
        """The positions of a grid of patches after ``prefix`` tokens; a subclass with positions of its own overrides it."""
        height, width = self.image_size
        return position_scheme(
            self.positions,
            self.positions_at,
            grid,
            (height // self.patch_size, width // self.patch_size),
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            prefix=prefix,
            antialias=self.antialias,
        )

    def _pool(self, x: jax.Array, prefix: int) -> jax.Array:
        """Pools tokens [B, T+N, D] to the input of the head: [B, D], or [B, 2, D] for two heads."""
        if self.pooling == "none":
            return x
        if self.pooling == "token":
            return x[:, :2] if self.distillation_token else x[:, 0]
        if self.pooling == "mean":
            return x[:, prefix:].mean(axis=1)
        return AttentionPool(
            self.num_heads, self.mlp_width, self.activation, self.norm_epsilon, self.dtype, name="pool"
        )(x[:, prefix:])

    def _check(self) -> None:
        for name, known in (
            ("pooling", ("token", "mean", "map", "none")),
            ("positions", POSITIONS),
            ("positions_at", POSITIONS_AT),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(known)}")
        for name in ("patch_size", "width", "depth", "num_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1)")
        if self.positions in RELATIVE and not self.positions_at.startswith("blocks"):
            raise ValueError("relative positions act on scores; choose positions_at 'blocks' or 'blocks_shared'")
        if self.positions_at != "input" and self.positions not in (*LEARNED, *FIXED, *RELATIVE):
            raise ValueError(f"positions_at={self.positions_at!r} has no meaning for positions={self.positions!r}")
        if self.pooling == "token" and not self.class_token:
            raise ValueError("pooling 'token' needs class_token=True; otherwise choose pooling 'mean'")
        if self.distillation_token and self.pooling != "token":
            raise ValueError("distillation_token needs pooling 'token'")


class AttentionPool(nn.Module):
    """A learned query that attends to all tokens, then an MLP (Zhai et al. 2021, arXiv:2106.04560).

    Attributes:
        num_heads: number of attention heads.
        mlp_width: hidden width of the MLP.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norm.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    mlp_width: int
    activation: str
    norm_epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, N, D] -> [B, D]
        b, _, d = x.shape
        query = self.param("query_token", nn.initializers.normal(d**-0.5), (d,))
        query = jnp.broadcast_to(query.astype(x.dtype), (b, 1, d))
        x = CrossAttention(self.num_heads, dtype=self.dtype, name="attention")(query, x)
        y = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        x = x + MLP(self.mlp_width, self.activation, dtype=self.dtype, name="mlp")(y)
        return x[:, 0]
