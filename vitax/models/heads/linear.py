"""Linear head, which shows what features hold: Caron et al., "DINO", arXiv:2104.14294; Oquab et al., arXiv:2304.07193."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.models.heads.layers import Classifier, resized


class Linear(nn.Module):
    """A batch norm of one map, or of several that are joined at the size of the finest, and a linear classifier.

    Attributes:
        num_classes: number K of classes.
        width: not used; every head has this field.
        dropout: rate at which channels are dropped before the classifier.
        dtype: dtype of the computation; parameters and logits are float32.
    """

    num_classes: int
    width: int = 0
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool = False) -> jax.Array:
        """Maps [B, h, w, D], the finest first, become logits [B, H, W, K] at the size of the finest."""
        x = jnp.concatenate([resized(x, maps[0].shape[1:3]) for x in maps], axis=-1)
        x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="norm")(x)
        return Classifier(self.num_classes, self.dropout, name="classifier")(x, train)
