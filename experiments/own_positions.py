"""Attention that prefers near patches, as an example of a position encoding from outside.

Each head subtracts a slope times the distance of two patches from its scores, with slopes as in ALiBi (Press et al. 2021,
arXiv:2108.12409, section 3); nothing is learned, so that any image size works without interpolation.

    python experiments/own_positions.py --config=experiments/own_positions.py
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vitax import config_file, main
from vitax.models import MODELS
from vitax.models.vit import ViT
from vitax.nn.positions import PositionScheme


def distance_bias(grid: tuple[int, int], num_heads: int, prefix: int) -> np.ndarray:
    """Biases [A, prefix + N, prefix + N]: minus slope times distance in patches; 0 for tokens that have no place."""
    rows, columns = (axis.reshape(-1) for axis in np.mgrid[: grid[0], : grid[1]])
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    slopes = 2.0 ** (-8 * np.arange(1, num_heads + 1) / num_heads)
    bias = -slopes[:, None, None] * distance
    return np.pad(bias, ((0, 0), (prefix, 0), (prefix, 0))).astype(np.float32)


class NearViT(ViT):
    """A ViT whose only positions are distances."""

    def scheme(self, grid: tuple[int, int], prefix: int) -> PositionScheme:
        bias = jnp.asarray(distance_bias(grid, self.num_heads, prefix))[None]
        return PositionScheme(biases=(bias,) * self.depth)


def get_config(variant: str = "") -> ConfigDict:
    """This model on the digits of ``configs/vit_b16.py:demo``."""
    demo = Path(__file__).parent.parent / "configs" / "vit_b16.py"
    config = ConfigDict(config_file.load_config(f"{demo}:demo"))
    config.model = {key: value for key, value in config.model.items() if key != "positions"} | {"name": "near_vit"}
    return config


FAMILY = MODELS["vit"]._replace(module=NearViT, sizes={}, paper="Press et al. 2021, arXiv:2108.12409")

if __name__ == "__main__":
    MODELS["near_vit"] = FAMILY
    main.COMMAND.main()
