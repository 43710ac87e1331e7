"""UPerNet: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", arXiv:1807.10221, 2018.

As in mmsegmentation, with which Swin, NAT and MAE report their results: the coarsest map is pooled at several sides (the
pyramid pooling of PSPNet, arXiv:1612.01105), a feature pyramid (arXiv:1612.03144) hands it down to the finer maps, and all of
them are joined at the size of the finest.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.models.heads.layers import Classifier, ConvNorm, pooled, resized

POOLED = (1, 2, 3, 6)  # sides of the pooled maps


class UPerNet(nn.Module):
    """Pyramid pooling, feature pyramid and classifier.

    Attributes:
        num_classes: number K of classes.
        width: number of channels.
        dropout: rate at which channels are dropped before the classifier.
        dtype: dtype of the computation; parameters and logits are float32.
    """

    num_classes: int
    width: int = 512
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool = False) -> jax.Array:
        """Maps [B, h, w, D], the finest first, become logits [B, H, W, K] at the size of the finest."""

        def conv(x: jax.Array, kernel: int, name: str) -> jax.Array:
            return ConvNorm(self.width, kernel, self.dtype, name=name)(x, train)

        *finer, coarsest = maps
        size = coarsest.shape[1:3]
        pools = [resized(conv(pooled(coarsest, side), 1, f"pool{side}"), size) for side in POOLED]
        above = conv(jnp.concatenate([coarsest, *pools], axis=-1), 3, "bottleneck")
        levels = [above]
        for i in reversed(range(len(finer))):
            above = conv(finer[i], 1, f"lateral{i}") + resized(above, finer[i].shape[1:3])
            levels.insert(0, conv(above, 3, f"smooth{i}"))
        x = jnp.concatenate([resized(level, maps[0].shape[1:3]) for level in levels], axis=-1)
        x = conv(x, 3, "join")
        return Classifier(self.num_classes, self.dropout, name="classifier")(x, train)
