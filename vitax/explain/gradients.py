"""Explanations of any differentiable model: by the gradient of a class score with respect to the input."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Score = Callable[[jax.Array], jax.Array]  # input -> the score of the explained class, one number


def gradient_x_input(score: Score, x: jax.Array) -> jax.Array:
    """Gradient times input (Shrikumar et al. 2016, arXiv:1605.01713), with the shape of x."""
    return jax.grad(score)(x) * x


def integrated_gradients(score: Score, x: jax.Array, baseline: jax.Array | None = None, steps: int = 32) -> jax.Array:
    """Mean gradient on the straight path from a baseline to x, times (x - baseline), by the midpoint rule.

    Sundararajan et al. 2017 (arXiv:1703.01365), equation 3. The sum of the result is score(x) - score(baseline), up to
    the error of the midpoint rule.

    Args:
        score: input -> the score of the explained class.
        x: the input.
        baseline: start of the path, with the shape of x; None = zeros, the mean colour of normalised images.
        steps: number of points on the path.
    """
    start = jnp.zeros_like(x) if baseline is None else baseline
    points = (jnp.arange(steps, dtype=x.dtype) + 0.5) / steps

    def add(total: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        return total + jax.grad(score)(start + t * (x - start)), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(x), points)
    return (x - start) * total / steps
