"""The MLP of a transformer block, plain or gated, and its activations."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.nn.dense import Dense, wide
from vitax.nn.dropout import Dropout


@jax.jit
def gelu(x: jax.Array) -> jax.Array:
    """x times the standard normal distribution function (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    It is computed in float32 at least, by erf as in PyTorch. `jax.nn.gelu` uses erfc, which needs an exponential on
    CPUs and takes more than twice as long there.
    """
    half, erf = 0.5 * wide(x), jax.lax.erf(wide(x) * np.sqrt(0.5))
    return (half * (1 + erf)).astype(x.dtype)


@jax.jit
def gelu_tanh(x: jax.Array) -> jax.Array:
    """GELU with tanh in place of the error function (Hendrycks & Gimpel 2016, section 2)."""
    return jax.nn.gelu(x, approximate=True)


@jax.jit
def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x) (Hendrycks & Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


# Each is a named jitted function, because explanations recognise it by its name.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,  # timm, DeiT, MAE, Swin
    "gelu_tanh": gelu_tanh,  # Google's JAX ViT, Mixer, BERT
    "quick_gelu": quick_gelu,  # OpenAI's CLIP
    "relu": jax.nn.relu,
    "swish": jax.nn.swish,
}


def check_activation(name: str) -> None:
    """Rejects a name that is not a key of ACTIVATIONS.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"activation {name!r} is unknown; choose one of {known}")


class MLP(nn.Module):
    """Dense, activation, dropout, dense.

    Attributes:
        width: hidden width F.
        activation: key of ACTIVATIONS.
        dropout: dropout rate after the activation.
        dtype: dtype of the computation; parameters are float32.
    """

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
        h = Dropout(self.dropout, deterministic=not train)(h)
        return dense(x.shape[-1], name="dense2")(h)


class GatedMLP(nn.Module):
    """Two dense layers whose product, one of them activated, is mapped back (Shazeer 2020, arXiv:2002.05202; SwiGLU with "swish").

    Attributes:
        width: hidden width F.
        activation: activation of the gate, a key of ACTIVATIONS.
        dropout: dropout rate after the product.
        dtype: dtype of the computation; parameters are float32.
    """

    width: int
    activation: str = "swish"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        check_activation(self.activation)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        gate = ACTIVATIONS[self.activation](constrain_batch(dense(self.width, name="gate")(x)))  # [..., N, F]
        h = gate * constrain_batch(dense(self.width, name="dense1")(x))
        h = Dropout(self.dropout, deterministic=not train)(h)
        return dense(x.shape[-1], name="dense2")(h)
