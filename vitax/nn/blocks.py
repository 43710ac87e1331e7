"""The transformer block, its MLP, and stochastic depth."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.attention import SelfAttention, Softmax
from vitax.nn.dense import Dense, wide


@jax.jit
def gelu(x: jax.Array) -> jax.Array:
    """x times the standard normal distribution function (Hendrycks & Gimpel 2016, arXiv:1606.08415), in float32 at least.

    By erf, as PyTorch does, not by erfc, as `jax.nn.gelu` does: more than twice as fast on CPUs, where erfc needs an exponential.
    """
    half, erf = 0.5 * wide(x), jax.lax.erf(wide(x) * np.sqrt(0.5))
    return (half * (1 + erf)).astype(x.dtype)


@jax.jit
def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x) (Hendrycks & Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


# Each is a jitted function with a name, by which explanations know it.
ACTIVATIONS = {
    "gelu": gelu,  # timm, DeiT, MAE, Swin
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),  # Google's JAX ViT, Mixer, BERT
    "quick_gelu": quick_gelu,  # OpenAI's CLIP
    "relu": jax.nn.relu,
    "swish": jax.nn.swish,
}


def check_activation(name: str) -> None:
    """Refuses what is no key of ACTIVATIONS.

    Raises:
        ValueError: it is none.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"activation {name!r} is unknown; choose one of {known}")


def drop_path(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Drops whole examples of a residual branch (Huang et al. 2016, arXiv:1603.09382).

    Args:
        x: [B, ...] output of the branch.
        rate: chance to drop, 0 <= rate < 1; what stays is divided by 1 - rate.
        key: random key.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / (1 - rate), 0)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """The rate of each block: 0 for the first, ``last`` for the last, those between on a line."""
    return [last * i / max(1, depth - 1) for i in range(depth)]


class DropPath(nn.Module):
    """`drop_path` while training."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return drop_path(x, self.rate, self.make_rng("dropout")) if train and self.rate else x


@functools.partial(jax.jit, static_argnames=("epsilon", "dtype"))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float, dtype: Dtype) -> jax.Array:
    """Ba et al. 2016 (arXiv:1607.06450), over the last axis, its statistics in float32.

    The variance is the mean of (x - mean)^2: Flax's default E[x^2] - E[x]^2 loses digits where the mean is far from 0,
    which the official implementations do not.

    Args:
        x: [..., D].
        scale, bias: [D].
        epsilon: added to the variance.
        dtype: of the result.
    """
    x, (scale, bias) = wide(x), (jnp.reshape(y, (1,) * (x.ndim - 1) + (-1,)) for y in (scale, bias))
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return (centred * (jax.lax.rsqrt(variance + epsilon) * scale) + bias).astype(dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with its parameters. A function with a name of its own: explanations know it by that."""

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [..., D]
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return layer_norm(x, scale, bias, epsilon=self.epsilon, dtype=self.dtype)


class MLP(nn.Module):
    """Dense, activation, dropout, dense."""

    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        check_activation(self.activation)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        h = constrain_batch(dense(self.width, name="dense1")(x))  # [..., N, F]
        h = ACTIVATIONS[self.activation](h)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return dense(x.shape[-1], name="dense2")(h)


class Block(nn.Module):
    """Attention, then MLP, each around a residual.

    Pre-norm (``norm_first``): ``x + f(norm(x))``, as in ViT; post-norm: ``norm(x + f(x))``, as in BERT.

    Attributes:
        dropout: rate at the end of each branch.
        hidden_dropout: rate after the activation of the MLP.
        attention_dropout: rate on the attention weights.
        drop_path: rate at which a whole branch is dropped.
    """

    num_heads: int
    mlp_width: int
    qkv_bias: bool = True
    out_bias: bool = True
    activation: str = "gelu"
    norm_first: bool = True
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        *,
        bias: jax.Array | None = None,
        mask: jax.Array | None = None,
        softmax: Softmax | None = None,
    ) -> jax.Array:
        """[B, N, D] to [B, N, D]; ``bias``, ``mask`` and ``softmax`` as in `dot_product_attention`."""
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        norm1, norm2 = norm(name="norm1"), norm(name="norm2")
        mlp = MLP(self.mlp_width, self.activation, self.hidden_dropout, self.dtype, name="mlp")
        attention = SelfAttention(
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            out_bias=self.out_bias,
            dropout=self.attention_dropout,
            dtype=self.dtype,
            name="attention",
        )
        attend = functools.partial(attention, train=train, bias=bias, mask=mask, softmax=softmax)

        def residual(x, branch):
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        if self.norm_first:
            x = residual(x, attend(norm1(x)))
            return residual(x, mlp(norm2(x), train))
        x = norm1(residual(x, attend(x)))
        return norm2(residual(x, mlp(x, train)))
