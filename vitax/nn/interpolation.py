"""Interpolation of learned positions for grids of another size."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_positions(table: jax.Array, grid: tuple[int, int], antialias: bool = True) -> jax.Array:
    """Positions for another grid: bicubic interpolation in both directions.

    Dosovitskiy et al. 2020 (arXiv:2010.11929), section 3.2.

    Args:
        table: [h, w, D].
        grid: rows and columns of the result.
        antialias: True = as in timm; False = as in Hugging Face's ViT and CLIP: PyTorch's kernel without antialiasing.

    Returns:
        [*grid, D]; the table itself if it has this grid.
    """
    if table.shape[:2] == tuple(grid):
        return table
    if antialias:
        return jax.image.resize(table, (*grid, table.shape[-1]), "bicubic", antialias=True)
    rows, columns = (_cubic(old, new) for old, new in zip(table.shape[:2], grid, strict=True))
    return jnp.einsum("ab,cd,bde->ace", rows, columns, table, precision=jax.lax.Precision.HIGHEST)


def _cubic(old: int, new: int) -> np.ndarray:
    """The matrix [new, old] of cubic interpolation: Keys 1981, with a = -3/4 and the values at the edges repeated."""
    a = -0.75
    places = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(places).astype(int)
    matrix = np.zeros((new, old))
    for offset in (-1, 0, 1, 2):
        d = np.abs(places - first - offset)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        np.add.at(matrix, (np.arange(new), np.clip(first + offset, 0, old - 1)), np.where(d <= 1, near, far))
    return matrix.astype(np.float32)
