"""Dropout (Srivastava et al. 2014, JMLR 15), with few random numbers on GPUs."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax.mesh import constrain_batch, platform


class Dropout(nn.Dropout):
    """Flax's Dropout, which sets a share of the numbers to 0 and divides the others by the share that is kept.

    On GPUs, where 32 random bits for each number would take a tenth of a step of BERT, four decisions share them if
    that changes the rate by at most a fiftieth (0.1 becomes 26 / 256), and two otherwise.

    Attributes:
        rate: share of the numbers to drop, 0 <= rate < 1.
        deterministic: nothing is dropped.
    """

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool = False) -> jax.Array:
        if not self.rate or self.deterministic or deterministic:
            return x
        key = self.make_rng("dropout")
        if platform() != "gpu":
            keep = jax.random.bernoulli(key, 1 - self.rate, x.shape)
            return jax.lax.select(keep, x / (1 - self.rate), jnp.zeros_like(x))
        bits = bits_for(self.rate)
        threshold = round(self.rate * 2**bits)
        keep = random_bits(key, x.shape, bits) >= threshold
        return jnp.where(keep, x / (1 - threshold / 2**bits), 0)


def bits_for(rate: float) -> int:
    """Random bits for each decision: 8 if the rate is within a fiftieth of a multiple of 1/256, otherwise 16."""
    return 8 if abs(round(rate * 256) / 256 - rate) <= rate / 50 else 16


def random_bits(key: jax.Array, shape: tuple[int, ...], bits: int) -> jax.Array:
    """Random numbers of 8 or 16 bits, [*shape], several of them from one 32-bit word."""
    count, last = 32 // bits, shape[-1]
    words = jax.random.bits(key, (*shape[:-1], -(-last // count)), jnp.uint32)
    # Written to memory; otherwise each of the numbers would be computed with a word of its own.
    words = jax.lax.optimization_barrier(constrain_batch(words))
    small = jax.lax.bitcast_convert_type(words, {8: jnp.uint8, 16: jnp.uint16}[bits])
    return small.reshape(*shape[:-1], -1)[..., :last]
