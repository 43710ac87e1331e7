"""Rotary positions: queries and keys are turned by their places, so that their products depend on offsets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Rotation(NamedTuple):
    """Angles by which pairs of channels of queries and keys are turned (RoPE: Su et al. 2021, arXiv:2104.09864).

    Attributes:
        cos, sin: [N, E/2] float32, or [B, n, E/2].
    """

    cos: jax.Array
    sin: jax.Array


def centred_rotation(grid: tuple[int, int], head_width: int, prefix: int, base: float = 100.0) -> Rotation:
    """The rotation of DINOv3 (Siméoni et al. 2025, arXiv:2508.10104): rows and columns lie on -1..1.

    Args:
        grid: rows and columns of the patches.
        head_width: width E of a head, divisible by 4.
        prefix: number of tokens before the patches, which are not turned.
        base: the longest period, in units of half a side.

    Raises:
        ValueError: the width is not divisible by 4.
    """
    places = [2 * (np.arange(n) + 0.5) / n - 1 for n in grid]
    return _rotation(places, head_width, prefix, base, 2 * np.pi)


def counted_rotation(grid: tuple[int, int], head_width: int, prefix: int, reference: int = 16) -> Rotation:
    """The rotation of EVA-02 (Fang et al. 2023, arXiv:2303.11331): rows and columns are counted from 0.

    Args:
        grid: rows and columns of the patches.
        head_width: width E of a head, divisible by 4.
        prefix: number of tokens before the patches, which are not turned.
        reference: rows and columns of the grid of the pre-training, on which the places of other grids are put.

    Raises:
        ValueError: the width is not divisible by 4.
    """
    return _rotation([np.arange(n) / n * reference for n in grid], head_width, prefix, 10000.0, 1.0)


def _rotation(places: list[np.ndarray], head_width: int, prefix: int, base: float, frequency: float) -> Rotation:
    """The first half of the angles encodes the row, the second half the column; frequencies fall from the first by ``base``."""
    if head_width % 4:
        raise ValueError(f"rotary positions need heads of a width divisible by 4, not {head_width}")
    both = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    periods = base ** (np.arange(head_width // 4) / (head_width // 4))
    angles = (frequency * both / periods).reshape(len(both), -1)  # [h * w, E/2]
    angles = np.pad(angles, ((prefix, 0), (0, 0)))
    return Rotation(jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32))


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Turns the first half of the channels of x [B, N, A, E] with the second half; computed in float32."""
    cos, sin = (jnp.expand_dims(part, -2) for part in rotation)  # [..., N, 1, E/2]
    cos, sin = (part if part.ndim == 4 else part[None] for part in (cos, sin))
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
