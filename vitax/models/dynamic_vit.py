"""DynamicViT: Rao et al., "Efficient Vision Transformers with Dynamic Token Sparsification", 2021, arXiv:2106.02034.

The backbones are DeiT; LV-ViT is not implemented. During training all tokens stay, and tokens that a predictor drops
are only hidden from the others, so that the decision has a gradient. Otherwise dropped tokens are removed, and each
stage keeps a fixed number.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jax.tree_util import Partial

from vitax.mesh import constrain_batch
from vitax.models import vit
from vitax.nn.blocks import Block, LayerNorm, drop_path_rates
from vitax.nn.dense import Dense
from vitax.nn.mlp import ACTIVATIONS
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import Positions

# From the official training script; the default keep_ratios are those of a base ratio of 0.7.
SIZES = {"256": dict(width=256, depth=12, num_heads=4, mlp_width=1024), "S": vit.SIZES["S"], "B": vit.SIZES["B"]}


class Pruned(NamedTuple):
    """Output of DynamicViT during training.

    Attributes:
        logits: [B, K] float32.
        tokens: [B, N, D] normalised patch tokens.
        keep: [S, B, N] float32, 1 = kept after that stage; gradients reach the predictors through it.
    """

    logits: jax.Array
    tokens: jax.Array
    keep: jax.Array


def policy_softmax(policy: jax.Array, scores: jax.Array) -> jax.Array:
    """Softmax in which dropped keys have no weight, except for their own query (equations 10 and 11).

    Args:
        policy: [B, N], 1 = kept, 0 = dropped.
        scores: [B, A, N, N] attention scores.
    """
    tokens, epsilon = scores.shape[-1], 1e-6
    diagonal = jnp.eye(tokens)[None, None]
    allowed = policy[:, None, None, :] * (1 - diagonal) + diagonal
    e = jnp.exp(scores - scores.max(axis=-1, keepdims=True)) * allowed
    return (e + epsilon / tokens) / (e.sum(axis=-1, keepdims=True) + epsilon)


def gumbel_keep(log_probs: jax.Array, noise: jax.Array) -> jax.Array:
    """Hard decisions of a straight-through Gumbel-softmax at temperature 1 (Jang et al. 2016, arXiv:1611.01144).

    Args:
        log_probs: [B, N, 2] log-probabilities; column 0 = keep.
        noise: [B, N, 2] standard Gumbel noise.

    Returns:
        [B, N], 1 or 0, with the gradient of the soft decision.
    """
    logits = log_probs + noise
    soft = jax.nn.softmax(logits)[..., 0]
    hard = (logits[..., 0] >= logits[..., 1]).astype(soft.dtype)
    return jax.lax.stop_gradient(hard - soft) + soft


class Predictor(nn.Module):
    """Scorer of tokens by their own features and the mean of all kept tokens (equations 3 to 6).

    Attributes:
        dtype: dtype of the computation; parameters are float32.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, kept: jax.Array) -> jax.Array:
        """Log-probabilities [B, N, 2] float32 of keeping (column 0) and dropping (column 1) each token.

        Args:
            x: [B, N, D] tokens.
            kept: [B, N], 1 = kept so far.
        """
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        gelu, d = ACTIVATIONS["gelu"], x.shape[-1]
        x = LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(x)
        x = gelu(dense(d, name="dense_in")(x))
        local, context = jnp.split(x, 2, axis=-1)
        weight = kept[:, :, None]  # float32: bfloat16 cannot count to 577
        count = weight.sum(axis=1, keepdims=True)
        count = jnp.where(count > 0, count, 1)  # of few patches, all may have been dropped by chance
        context = (context * weight).sum(axis=1, keepdims=True) / count
        context = context.astype(x.dtype)
        x = jnp.concatenate([local, jnp.broadcast_to(context, local.shape)], axis=-1)
        for i, width in enumerate((d // 2, d // 4)):
            x = gelu(dense(width, name=f"dense{i + 1}")(x))
        return jax.nn.log_softmax(dense(2, name="dense3")(x).astype(jnp.float32))


class DynamicViT(nn.Module):
    """Image classifier that drops tokens between blocks; the defaults are DeiT-S with ratio 0.7.

    Attributes:
        num_classes: number K of classes; 0 = no head: the class token is returned.
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        stages: blocks before which a predictor decides; () = no predictors: the dense model, which accepts the same
            parameters.
        keep_ratios: share of all patches that is left after each stage; ``int(N * ratio)`` patches stay.
        qkv_bias: biases in the query, key and value projections.
        norm_epsilon: epsilon of the layer norms.
        drop_path: drop path rate of the last block; the first block has 0, and the rates in between rise linearly.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_width: int = 1536
    stages: tuple[int, ...] = (3, 6, 9)
    keep_ratios: tuple[float, ...] = (0.7, 0.49, 0.343)
    qkv_bias: bool = True
    norm_epsilon: float = 1e-6
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, noise: jax.Array | None = None) -> jax.Array | Pruned:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K] or, in training with stages, to `Pruned`.

        Outside training, the indices of the patches that are left after each stage, best first, are stored as
        ``intermediates/kept{stage}`` [B, n].

        Args:
            train: True = training: dropped tokens are only hidden, and drop path is active.
            noise: [S, B, N, 2] standard Gumbel noise, used during training; None = drawn from the stream "dropout".
        """
        x = self._embed(images)
        b, n = x.shape[0], x.shape[1] - 1
        count = self._counts(n)
        kept = jnp.ones((b, n))
        index = jnp.broadcast_to(jnp.arange(n), (b, n))
        decisions = []
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i, drop_path in enumerate(drop_path_rates(self.drop_path, self.depth)):
            if i in self.stages:
                stage = self.stages.index(i)
                scores = Predictor(self.dtype, name=f"predictor{stage}")(x[:, 1:], kept)
                if train:
                    gumbel = self._gumbel(scores.shape) if noise is None else noise[stage]
                    kept = kept * gumbel_keep(scores, gumbel)
                    decisions.append(kept)
                else:
                    _, best = jax.lax.top_k(scores[:, :, 0], count[stage])  # [B, n]
                    rows = jnp.concatenate([jnp.zeros((b, 1), best.dtype), best + 1], axis=1)
                    x = constrain_batch(jnp.take_along_axis(x, rows[:, :, None], axis=1))
                    kept = jnp.ones(best.shape)
                    index = jnp.take_along_axis(index, best, axis=1)
                    self.sow("intermediates", f"kept{stage}", index)
            softmax = None
            if train:
                policy = jnp.concatenate([jnp.ones((b, 1)), kept], axis=1)
                softmax = Partial(policy_softmax, policy)
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                qkv_bias=self.qkv_bias,
                norm_epsilon=self.norm_epsilon,
                drop_path=drop_path,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train, softmax=softmax)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        logits = x[:, 0].astype(jnp.float32)
        if self.num_classes:
            head = Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")
            logits = head(logits)
        pruned = train and self.stages
        return Pruned(logits, x[:, 1:], jnp.stack(decisions)) if pruned else logits

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches: the class token."""
        return 1

    def _embed(self, images: jax.Array) -> jax.Array:
        """Class token and patches with their positions: [B, 1+N, D]."""
        x = PatchEmbed(self.patch_size, self.width, dtype=self.dtype, name="patch_embed")(images)
        b, *grid, d = x.shape
        token = self.param("cls_token", nn.initializers.normal(0.02), (d,))
        token = jnp.broadcast_to(token.astype(x.dtype), (b, 1, d))
        x = jnp.concatenate([token, x.reshape(b, -1, d)], axis=1)
        height, width = self.image_size
        table = (height // self.patch_size, width // self.patch_size)
        positions = Positions("learned_1d", table, d, 1, name="pos_embed")(tuple(grid))
        return constrain_batch(x + positions.astype(x.dtype)[None])

    def _counts(self, patches: int) -> list[int]:
        """Number of patches that are left after each stage."""
        rising = sorted(set(self.stages)) == list(self.stages)
        inside = all(0 <= stage < self.depth for stage in self.stages)
        if not rising or not inside or len(self.stages) != len(self.keep_ratios):
            raise ValueError(
                f"stages {self.stages} must increase and lie in 0..{self.depth - 1}, and keep_ratios "
                f"{self.keep_ratios} must have one entry for each stage"
            )
        count = [int(patches * ratio) for ratio in self.keep_ratios]
        if sorted([patches, *count], reverse=True) != [patches, *count] or min([1, *count]) < 1:
            raise ValueError(
                f"keep_ratios {self.keep_ratios} leave {count} of {patches} patches; "
                f"they must not grow, and must leave at least one patch"
            )
        return count

    def _gumbel(self, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(self.make_rng("dropout"), shape)
