"""The transformer block, its norm, and stochastic depth."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.masking import Mask
from vitax.mesh import constrain_batch
from vitax.nn.attention import SelfAttention
from vitax.nn.dense import wide
from vitax.nn.dot_product import Softmax
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.relative import OffsetKeys
from vitax.nn.rotary import Rotation


def drop_path(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Drops whole examples of a residual branch (Huang et al. 2016, arXiv:1603.09382).

    Args:
        x: [B, ...] output of the branch.
        rate: probability of dropping an example, 0 <= rate < 1; the other examples are divided by 1 - rate.
        key: random key.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / (1 - rate), 0)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Drop path rate of each block: 0 for the first, ``last`` for the last, linear in between."""
    return [last * i / max(1, depth - 1) for i in range(depth)]


class DropPath(nn.Module):
    """`drop_path` during training.

    Attributes:
        rate: probability of dropping an example.
    """

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return drop_path(x, self.rate, self.make_rng("dropout")) if train and self.rate else x


@functools.partial(jax.jit, static_argnames=("epsilon", "dtype"))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float, dtype: Dtype) -> jax.Array:
    """Layer norm of Ba et al. 2016 (arXiv:1607.06450) over the last axis, with statistics in float32.

    The variance is the mean of (x - mean)^2, as in the official implementations: Flax's default E[x^2] - E[x]^2 loses
    digits where the mean is far from 0.

    Args:
        x: [..., D].
        scale: [D] factors.
        bias: [D] offsets.
        epsilon: number that is added to the variance.
        dtype: dtype of the result.
    """
    norm = _norm_in_16_bits if x.dtype in (jnp.bfloat16, jnp.float16) else _norm
    return norm(x, scale, bias, epsilon, dtype)


def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Dtype) -> jax.Array:
    scale, bias = (jnp.reshape(y, (1,) * (x.ndim - 1) + (-1,)) for y in (scale, bias))
    centred, inverse = _normalized(x, epsilon)
    return (centred * (inverse * scale) + bias).astype(dtype)


def _normalized(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """x - mean, and 1 / standard deviation [..., 1], in float32 or float64."""
    x = wide(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred, jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm_in_16_bits(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Dtype) -> jax.Array:
    """`_norm`, whose backward pass reads x, in 16 bits, and the gradient, and keeps no float32 array of that size."""
    return _norm(x, scale, bias, epsilon, dtype)


def _norm_forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Dtype):
    mean = wide(x).mean(axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.square(wide(x) - mean).mean(axis=-1, keepdims=True) + epsilon)
    mean, inverse = jax.lax.optimization_barrier((mean, inverse))
    return _norm(x, scale, bias, epsilon, dtype), (x, scale, mean, inverse)


def _norm_backward(epsilon: float, dtype: Dtype, kept: tuple[jax.Array, ...], gradient: jax.Array):
    x, scale, mean, inverse = kept
    normal, gradient = (wide(x) - mean) * inverse, gradient.astype(jnp.float32)
    scaled = gradient * scale.reshape((1,) * (x.ndim - 1) + (-1,))
    along = normal * (scaled * normal).mean(axis=-1, keepdims=True) + scaled.mean(axis=-1, keepdims=True)
    axes = tuple(range(x.ndim - 1))
    of_x = (inverse * (scaled - along)).astype(x.dtype)
    return of_x, (gradient * normal).sum(axes).astype(scale.dtype), gradient.sum(axes).astype(scale.dtype)


_norm_in_16_bits.defvjp(_norm_forward, _norm_backward)


class LayerNorm(nn.Module):
    """Layer norm with learned scale and bias, by the named function `layer_norm`, which explanations recognise.

    Attributes:
        epsilon: number that is added to the variance.
        dtype: dtype of the result; parameters and statistics are float32.
        scale_init: initializer of the scale.
    """

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [..., D]
        scale = self.param("scale", self.scale_init, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return layer_norm(x, scale, bias, epsilon=self.epsilon, dtype=self.dtype)


class Block(nn.Module):
    """Attention, then MLP, each with a residual connection.

    Pre-norm (``norm_first``): ``x + f(norm(x))``, as in ViT; post-norm: ``norm(x + f(x))``, as in BERT.

    Attributes:
        num_heads: number of attention heads.
        mlp_width: hidden width of the MLP.
        qkv_bias: biases in the query, key and value projections.
        out_bias: bias in the output projection of the attention.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_first: pre-norm; False = post-norm.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate at the end of each branch.
        hidden_dropout: dropout rate after the activation of the MLP.
        attention_dropout: dropout rate on the attention weights.
        drop_path: rate at which a whole branch is dropped.
        layer_scale: initial value of a learned factor for each channel of a branch (Touvron et al. 2021,
            arXiv:2103.17239); 0 = no factors.
        key_bias: False = no biases of keys, whatever ``qkv_bias`` says.
        qk_norm: layer norms of the queries and keys of each head.
        attention_norm: a norm of the joined outputs of the heads (Wang et al. 2022, arXiv:2210.06423).
        mlp_norm: a norm of the hidden features of the MLP, of the same source.
        gated_mlp: the gated form of `MLP`.
        causal: a token attends to itself and the tokens before it only.
        dtype: dtype of the computation; parameters are float32.
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
    layer_scale: float = 0.0
    key_bias: bool = True
    qk_norm: bool = False
    attention_norm: bool = False
    mlp_norm: bool = False
    gated_mlp: bool = False
    causal: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        *,
        bias: jax.Array | OffsetKeys | None = None,
        mask: Mask = None,
        softmax: Softmax | None = None,
        rotation: Rotation | None = None,
    ) -> jax.Array:
        """Maps [B, N, D] to [B, N, D].

        Args:
            bias: broadcastable to [B, A, N, N], added to the scaled scores; or keys of offsets, see `SelfAttention`.
            mask: see `vitax.nn.dot_product.dot_product_attention`.
            softmax: function from scores to weights; None = `jax.nn.softmax`.
            rotation: of queries and keys, see `vitax.nn.rotary.Rotation`.
        """
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        norm1, norm2 = norm(name="norm1"), norm(name="norm2")
        mlp = MLP(
            self.mlp_width,
            self.activation,
            self.hidden_dropout,
            self.dtype,
            self.gated_mlp,
            norm if self.mlp_norm else None,
            name="mlp",
        )
        attention = SelfAttention(
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            out_bias=self.out_bias,
            dropout=self.attention_dropout,
            dtype=self.dtype,
            key_bias=self.key_bias,
            qk_norm=norm if self.qk_norm else None,
            out_norm=norm if self.attention_norm else None,
            name="attention",
        )
        given = dict(bias=bias, mask=mask, causal=self.causal, softmax=softmax, rotation=rotation)
        attend = lambda y: attention(y, train=train, **given)

        def residual(x, branch, name):
            if self.layer_scale:
                init = nn.initializers.constant(self.layer_scale)
                branch = branch * self.param(name, init, (x.shape[-1],)).astype(branch.dtype)[None, None]
            branch = Dropout(self.dropout, deterministic=not train)(branch)
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        if self.norm_first:
            x = residual(x, attend(norm1(x)), "attention_scale")
            return residual(x, mlp(norm2(x), train), "mlp_scale")
        x = norm1(residual(x, attend(x), "attention_scale"))
        return norm2(residual(x, mlp(x, train), "mlp_scale"))
