"""Position embeddings on a grid."""

import jax


def resize_positions(table: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Positions for another grid: antialiased bicubic interpolation in both directions.

    Dosovitskiy et al. 2020 (arXiv:2010.11929), section 3.2; the kernel is that of timm.

    Args:
        table: [h, w, D].
        grid: rows and columns wanted.

    Returns:
        [*grid, D]; the table itself where the grid is its own.
    """
    if table.shape[:2] == tuple(grid):
        return table
    return jax.image.resize(table, (*grid, table.shape[-1]), "bicubic", antialias=True)
