"""Heads that turn the maps of a backbone into one vector for each pixel, one file for each; HEADS is the table."""

import flax.linen as nn

from vitax.models.heads.all_mlp import AllMLP
from vitax.models.heads.fcn import FCN
from vitax.models.heads.linear import Linear
from vitax.models.heads.upernet import UPerNet

HEADS: dict[str, type[nn.Module]] = {"upernet": UPerNet, "mlp": AllMLP, "linear": Linear}

__all__ = ["FCN", "HEADS", "AllMLP", "Linear", "UPerNet"]
