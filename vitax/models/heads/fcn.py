"""Fully convolutional head: Long et al., "Fully Convolutional Networks for Semantic Segmentation", arXiv:1411.4038, 2014."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.models.heads.layers import Classifier, ConvNorm


class FCN(nn.Module):
    """A 3x3 convolution of one map and a classifier, which trains the backbone at its middle (PSPNet's auxiliary loss).

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
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D] -> [B, H, W, K]
        x = ConvNorm(self.width, 3, self.dtype, name="conv0")(x, train)
        return Classifier(self.num_classes, self.dropout, name="classifier")(x, train)
