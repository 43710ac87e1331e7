"""All-MLP head: Xie et al., "SegFormer", arXiv:2105.15203, 2021, section 3.2."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.models.heads.layers import Classifier, ConvNorm, resized
from vitax.nn.dense import Dense


class AllMLP(nn.Module):
    """Linear projections of all maps, joined at the size of the finest and mixed by one more.

    Attributes:
        num_classes: number K of classes.
        width: number of channels.
        dropout: rate at which channels are dropped before the classifier.
        dtype: dtype of the computation; parameters and logits are float32.
    """

    num_classes: int
    width: int = 256
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool = False) -> jax.Array:
        """Maps [B, h, w, D], the finest first, become logits [B, H, W, K] at the size of the finest."""
        projected = [Dense(self.width, dtype=self.dtype, name=f"project{i}")(x) for i, x in enumerate(maps)]
        # The coarsest comes first, as in the official code.
        x = jnp.concatenate([resized(x, maps[0].shape[1:3]) for x in reversed(projected)], axis=-1)
        x = ConvNorm(self.width, dtype=self.dtype, name="mix")(x, train)
        return Classifier(self.num_classes, self.dropout, name="classifier")(x, train)
