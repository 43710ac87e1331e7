"""Which parts of an image speak for a class: METHODS is the table."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax.explain import maps
from vitax.explain.gradients import gradient_x_input, integrated_gradients
from vitax.explain.program import Program, gradients, run, trace
from vitax.explain.relevance import relevance


class Subject(NamedTuple):
    """A classifier of one image, as explanations see it.

    scores: [1, H, W, C] normalised image to [1, K].
    program: of ``scores``.
    grid: (h, w) of its patches.
    layers: attention layers that count, from the first; those of a decoder do not.
    pooled: "token", what is classified is the first token; "mean", all patches.
    kept: image -> the patches [n] that are left after each pruning; none for most models.
    """

    scores: Callable[[jax.Array], jax.Array]
    program: Program
    grid: tuple[int, int]
    layers: int
    pooled: str
    kept: Callable[[jax.Array], list[jax.Array]] = lambda image: []


def subject(
    scores: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    grid: tuple[int, int],
    *,
    pooled: str = "token",
    layers: int | None = None,
    kept: Callable[[jax.Array], list[jax.Array]] = lambda image: [],
) -> Subject:
    """Traces a classifier; the arguments are the fields of `Subject`."""
    program = trace(scores, image)
    count = len(program.attention) if layers is None else layers
    return Subject(scores, program, grid, count, pooled, kept)


def explainer(method: str, it: Subject) -> Callable[[jax.Array, int], jax.Array]:
    """What makes heat maps by a method: (image [1, H, W, C], label) -> [h, w] float, compiled once.

    A map says how much each patch, or each pixel, speaks for the class; of methods that do not know the class, how much
    it is looked at.

    Args:
        method: key of METHODS.

    Raises:
        ValueError: the method has no meaning for the model.
    """
    possible = applicable(it)
    if method not in possible:
        raise ValueError(f"{method} has no meaning for this model; choose of {', '.join(possible)}")
    scores = jax.eval_shape(it.scores, *it.program.example)

    def explain(image: jax.Array, label: jax.Array) -> jax.Array:
        seed = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)[None]
        return METHODS[method](it, image, seed)

    return jax.jit(explain)


def applicable(it: Subject) -> list[str]:
    """The methods that have a meaning for a model."""
    rows = _is_global(it)
    found = [name for name in METHODS if rows or name not in ("rollout", "attention")]
    if "fft" in {step.name for step in it.program.steps}:
        found = [name for name in found if name not in ("relevance", "lrp")]
    return found


def _is_global(it: Subject) -> bool:
    """Whether every layer attends from all tokens to all tokens: weights [1, A, N, N]."""
    program = it.program
    if not program.attention:
        return False
    values = jax.eval_shape(lambda x: run(program, [x]), *it.program.example)
    shapes = [values[slot].shape for slot in program.attention[: it.layers]]
    tokens = it.grid[0] * it.grid[1]
    return all(len(shape) == 4 for shape in shapes) and shapes[0][-1] >= tokens


def _attention(it: Subject, image: jax.Array) -> list[jax.Array]:
    """[A, N, M] of each layer."""
    values = run(it.program, [image])
    return [values[slot][0] for slot in it.program.attention[: it.layers]]


def _row(it: Subject, joint: jax.Array) -> jax.Array:
    """What of [n, 1 + N] or [1, N] the classified token sees of the patches, as [h, w]."""
    prefix = joint.shape[-1] - it.grid[0] * it.grid[1]
    row = joint[0] if it.pooled == "token" or len(joint) == 1 else joint[prefix:].mean(axis=0)
    return row[prefix:].reshape(it.grid)


def _in_place(it: Subject, image: jax.Array, layers: list[jax.Array]) -> list[jax.Array]:
    """Layers of tokens that are left, or of a query that pools the patches alone, among all tokens."""
    count = layers[0].shape[-1]
    left = {1 + len(patches): patches for patches in it.kept(image)}

    def place(layer: jax.Array) -> jax.Array:
        n, m = layer.shape
        if n == 1 < m:
            return jnp.pad(layer, ((0, 0), (count - m, 0)))
        if n in left:
            return maps.placed(layer, jnp.concatenate([jnp.zeros(1, int), 1 + left[n]]), count)
        return layer

    return [place(layer) for layer in layers]


def _rollout(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    layers = _in_place(it, image, [layer.mean(axis=0) for layer in _attention(it, image)])
    return _row(it, maps.rollout(layers))


def _last_attention(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    layers = _in_place(it, image, [layer.mean(axis=0) for layer in _attention(it, image)])
    return _row(it, layers[-1])


def _grad_cam(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """On the attention of the classified token in the last layer or, where there is none, on the last tokens that are
    normalised before they are averaged."""
    program = it.program
    if it.pooled == "token" and _is_global(it):
        slot = program.attention[: it.layers][-1]
        weights = _attention(it, image)[-1][:, 0]  # [A, N]
        (gradient,) = gradients(program, [image], seed, [slot])
        rows = maps.grad_cam(weights, gradient[0][:, 0])
        placed = _in_place(it, image, [_attention(it, image)[0][0], jnp.diag(rows)])[-1]
        return _row(it, jnp.diag(placed)[None])
    values = jax.eval_shape(lambda x: run(program, [x]), *it.program.example)
    tokens = it.grid[0] * it.grid[1]
    sizes = {slot: values[slot].shape for slot in program.slots("layer_norm")}
    slot = [slot for slot, shape in sizes.items() if np.prod(shape[1:-1]) > 1][-1]
    (gradient,) = gradients(program, [image], seed, [slot])
    value = run(program, [image])[slot]
    d = value.shape[-1]
    flat = [x.reshape(-1, d).T for x in (value, gradient)]  # [D, N]
    found = maps.grad_cam(*flat)[-tokens:] if flat[0].shape[1] >= tokens else maps.grad_cam(*flat)
    h, w = value.shape[1:3] if value.ndim == 4 else it.grid
    return found.reshape(h, w)


def _relevance(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """Chefer et al., equations 13 and 14; where attention is local, relevance of the patches (`_lrp`)."""
    if not _is_global(it):
        return jax.nn.relu(_patches(it, _lrp(it, image, seed)))
    program, slots = it.program, it.program.attention[: it.layers]
    slopes, shares = (
        gradients(program, [image], seed, slots),
        relevance(program, [image], seed).slots,
    )
    layers = [maps.attributed(g, shares[s])[0] for g, s in zip(slopes, slots, strict=True)]
    return _row(it, maps.rollout(_in_place(it, image, layers), normalise=False))


def _lrp(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """Relevance down to the pixels, summed over colours: [H, W]."""
    return relevance(it.program, [image], seed).arguments[0][0].sum(axis=-1)


def _patches(it: Subject, pixels: jax.Array) -> jax.Array:
    """[H, W] to sums over patches [h, w]."""
    (h, w), (height, width) = it.grid, pixels.shape
    return pixels[: height // h * h, : width // w * w].reshape(h, height // h, w, width // w).sum((1, 3))  # fmt: skip


def _gradient_x_input(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    found = gradient_x_input(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, jnp.abs(found[0].sum(axis=-1)))


def _integrated_gradients(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    found = integrated_gradients(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, jnp.abs(found[0].sum(axis=-1)))


METHODS: dict[str, Callable[[Subject, jax.Array, jax.Array], jax.Array]] = {
    "relevance": _relevance,
    "lrp": _lrp,
    "rollout": _rollout,
    "attention": _last_attention,
    "gradcam": _grad_cam,
    "gradient_x_input": _gradient_x_input,
    "integrated_gradients": _integrated_gradients,
}
