"""Boxes of objects in pictures: their forms and overlaps, and the assignment of predicted boxes to true ones.

A box is either (x, y, width, height) with its centre, or its corners (left, top, right, bottom); x and y grow to the right and
downwards.
"""

import jax
import jax.numpy as jnp
import optax

from vitax.mesh import on_each_device

COSTLY = 1e6  # cost of what is not a number; far above any other, and finite


def corners(boxes: jax.Array) -> jax.Array:
    """Centres, widths and heights [..., 4] as corners [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def area(boxes: jax.Array) -> jax.Array:
    """The areas [...] of boxes with corners [..., 4]; 0 for a box whose right side is left of its left side."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def generalized_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised intersection over union of boxes (Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1), in -1..1.

    Args:
        a, b: [..., 4] corners, broadcastable to one another, with areas above 0.

    Returns:
        [...] the intersection over the union, less the share of the smallest box around both that neither covers.
    """
    common = jnp.concatenate([jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    around = jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], axis=-1)
    intersection, hull = area(common), area(around)
    union = area(a) + area(b) - intersection
    return intersection / union - (hull - union) / hull


def match(cost: jax.Array, counts: jax.Array) -> jax.Array:
    """The predictions that are assigned to the true objects at the least total cost, each to one at most.

    Args:
        cost: [B, Q, N] cost of each of Q predictions for each of N <= Q objects.
        counts: [B, N] bool, True = there is such an object.

    Returns:
        [B, N] int32 numbers of predictions in 0..Q-1, all different in a row; those of objects that are not there mean nothing.

    Raises:
        ValueError: there are more objects than predictions.
    """
    if cost.shape[2] > cost.shape[1]:
        raise ValueError(f"{cost.shape[2]} objects cannot each have one of {cost.shape[1]} predictions")
    cost = jnp.clip(jnp.nan_to_num(jax.lax.stop_gradient(cost), nan=COSTLY), -COSTLY, COSTLY)
    # An object that is not there costs the same everywhere, so that it changes nothing for the others.
    cost = jnp.where(counts[:, None, :], cost, 0)
    # In one program for all devices, each step of the search would wait for the slowest picture of all.
    return on_each_device(jax.vmap(_cheapest), cost)


def _cheapest(cost: jax.Array) -> jax.Array:
    """The row of each column [N] int32 in the cheapest assignment of the columns of a matrix [Q, N], each to its own row."""
    rows, columns = optax.assignment.hungarian_algorithm(cost)
    return jnp.zeros_like(rows).at[columns].set(rows)
