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
    """Dense, activation, dropout, dense; or, gated, a product of two dense layers, one of which is activated.

    The gated form is that of Shazeer 2020 (arXiv:2002.05202); with "swish" it is SwiGLU.

    Attributes:
        width: hidden width F.
        activation: key of ACTIVATIONS; in the gated form, of the gate.
        dropout: dropout rate of the hidden features.
        dtype: dtype of the computation; parameters are float32.
        gated: the gated form.
        norm: function that makes a norm with a given name, for the hidden features; None = no norm.
    """

    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    gated: bool = False
    norm: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        check_activation(self.activation)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        hidden = lambda name: constrain_batch(dense(self.width, name=name)(x))  # [..., N, F]
        activate = ACTIVATIONS[self.activation]
        h = activate(hidden("gate")) * hidden("dense1") if self.gated else activate(hidden("dense1"))
        h = Dropout(self.dropout, deterministic=not train)(h)
        if self.norm is not None:
            h = self.norm(name="norm")(h)
        return dense(x.shape[-1], name="dense2")(h)
