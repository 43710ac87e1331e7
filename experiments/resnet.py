"""A small ResNet (He et al. 2015, arXiv:1512.03385, section 4.2), for the comparison in `small_data.py`.

It is also an example of how vitax trains a model from outside: the file adds it to the table of models, and main does
the rest.

    python experiments/resnet.py --config=experiments/resnet.py [--config.data.name=folder --config.data.path=DIR]

Differences from the paper: group normalisation (Wu & He 2018, arXiv:1803.08494) in place of batch normalisation, and
AdamW.
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from ml_collections import ConfigDict

from vitax import config_file, main
from vitax.models import MODELS


class ResNet(nn.Module):
    """Classifier of images: [B, H, W, C] to [B, num_classes]; each stage but the first begins by halving the side.

    Attributes:
        num_classes: number of classes.
        widths: channels of each stage.
        depth: number of blocks of each stage.
        dtype: dtype of the computation.
    """

    num_classes: int = 1000
    widths: tuple[int, ...] = (16, 32, 64)
    depth: int = 3
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(self._norm("norm")(self._conv(self.widths[0], 1, "stem")(images)))
        for stage, width in enumerate(self.widths):
            for i in range(self.depth):
                stride, name = 2 if stage and not i else 1, f"stage{stage}_block{i}"
                y = self._conv(width, stride, f"{name}_conv1")(x)
                y = nn.relu(self._norm(f"{name}_norm1")(y))
                y = self._norm(f"{name}_norm2")(self._conv(width, 1, f"{name}_conv2")(y))
                if stride > 1:
                    x = nn.Conv(width, (1, 1), stride, use_bias=False, name=f"{name}_shortcut")(x)
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x.mean(axis=(1, 2)))

    def _conv(self, width: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(width, (3, 3), stride, use_bias=False, dtype=self.dtype, name=name)

    def _norm(self, name: str) -> nn.GroupNorm:
        return nn.GroupNorm(8, dtype=self.dtype, name=name)


def get_config(variant: str = "") -> ConfigDict:
    """This model on the digits of ``configs/vit_b16.py:demo``."""
    demo = Path(__file__).parent.parent / "configs" / "vit_b16.py"
    config = ConfigDict(config_file.load_config(f"{demo}:demo"))
    config.duration = "40 epochs"
    config.model = dict(name="resnet")
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="4 epochs", weight_decay=0.05, clip_norm=1.0)
    return config


# It takes images, as a ViT does, and has no view: its predictions are shown, but not explained.
FAMILY = MODELS["vit"]._replace(module=ResNet, sizes={}, paper="He et al. 2015, arXiv:1512.03385", view=None)

if __name__ == "__main__":
    MODELS["resnet"] = FAMILY
    main.COMMAND.main()
