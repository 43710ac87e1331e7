"""The pre-norm transformer block, its MLP, and stochastic depth."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import SelfAttention

ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),  # erf: timm, DeiT, MAE, Swin
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),  # Google's JAX ViT, Mixer, BERT
}


def drop_path(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Drops whole examples of a residual branch (Huang et al. 2016, arXiv:1603.09382).

    Args:
        x: [B, ...] output of the branch.
        rate: chance to drop, 0 <= rate < 1; what stays is divided by 1 - rate.
        key: random key.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / (1 - rate), 0)


class LayerNorm(nn.LayerNorm):
    """Flax's, with the variance as the mean of (x - mean)^2: its default E[x^2] - E[x]^2 loses digits where the mean
    is far from 0, which the official implementations do not."""

    use_fast_variance: bool = False


class MLP(nn.Module):
    """Dense, activation, dropout, dense, dropout."""

    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        dense = functools.partial(
            nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform()
        )
        drop = functools.partial(nn.Dropout, self.dropout, deterministic=not train)
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation {self.activation!r} is unknown; choose one of {known}")
        h = constrain_batch(dense(self.width, name="dense1")(x))  # [B, N, F]
        h = drop()(ACTIVATIONS[self.activation](h))
        return drop()(dense(x.shape[-1], name="dense2")(h))


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``; each branch may be dropped while training."""

    num_heads: int
    mlp_width: int
    qkv_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        def residual(x, branch):
            if train and self.drop_path:
                branch = drop_path(branch, self.drop_path, self.make_rng("dropout"))
            return constrain_batch(x + branch)

        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        h = SelfAttention(self.num_heads, self.qkv_bias, self.dtype, name="attention")(
            norm(name="norm1")(x)
        )
        x = residual(x, nn.Dropout(self.dropout, deterministic=not train)(h))
        h = MLP(self.mlp_width, self.activation, self.dropout, self.dtype, name="mlp")(
            norm(name="norm2")(x), train
        )
        return residual(x, h)
