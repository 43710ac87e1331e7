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
    pooled: what is classified: "token", one token; "tokens", each of those before the patches; "mean", all patches.
    place: of that one token among all.
    kept: image -> {layer: the patches [n] that are left from there on}; none for most models.
    """

    scores: Callable[[jax.Array], jax.Array]
    program: Program
    grid: tuple[int, int]
    layers: int
    pooled: str
    place: int = 0
    kept: Callable[[jax.Array], dict[int, jax.Array]] = lambda image: {}


def subject(
    scores: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    grid: tuple[int, int],
    *,
    pooled: str = "token",
    place: int = 0,
    layers: int | None = None,
    kept: Callable[[jax.Array], dict[int, jax.Array]] = lambda image: {},
) -> Subject:
    """Traces a classifier; the arguments are the fields of `Subject`."""
    program = trace(scores, image)
    count = len(program.attention) if layers is None else layers
    return Subject(scores, program, grid, count, pooled, place, kept)


def explainer(method: str, it: Subject) -> Callable[[jax.Array, int], jax.Array]:
    """What makes heat maps by a method: (image [1, H, W, C], label) -> [h, w] float, compiled once.

    A map says how much each patch, or each pixel, speaks for the class (below 0: against it); of methods that do not know the
    class, how much it is looked at.

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
    rows = attends_globally(it)
    found = [name for name in METHODS if rows or name not in ("rollout", "attention")]
    if "fft" in {step.name for step in it.program.steps}:
        found = [name for name in found if name not in ("relevance", "lrp")]
    return found


def attends_globally(it: Subject) -> bool:
    """Whether every layer attends from all tokens to all tokens: weights [1, A, N, N]."""
    program = it.program
    if not program.attention:
        return False
    values = jax.eval_shape(lambda x: run(program, [x]), *it.program.example)
    shapes = [values[slot].shape for slot in program.attention[: it.layers]]
    tokens = it.grid[0] * it.grid[1]
    return all(len(shape) == 4 for shape in shapes) and shapes[0][-1] >= tokens


def attention(it: Subject, image: jax.Array) -> list[jax.Array]:
    """What every head of every layer looks at, among all tokens.

    Args:
        image: [1, H, W, C], normalised.

    Returns:
        [A, N, N] of each layer, rows: queries; those of tokens that were pruned before are 0. Of a pooling query [A, 1, N].
    """
    values = run(it.program, [image])
    return _in_place(it, image, [values[slot][0] for slot in it.program.attention[: it.layers]])


def head_maps(it: Subject, image: jax.Array) -> jax.Array:
    """What of the image every head of every layer looks at: [layers, A, h, w] of what the model classifies, see `Subject`."""
    return jnp.stack([jax.vmap(lambda head: _row(it, head))(layer) for layer in attention(it, image)])


def head_distances(it: Subject, image: jax.Array) -> jax.Array:
    """How far every head of every layer looks on average, in patches: [layers, A], of the layers that have all patches and a
    query for each; see `maps.attention_distance`."""
    layers = attention(it, image)[: min(it.kept(image), default=None)]
    prefix = layers[0].shape[-1] - it.grid[0] * it.grid[1]
    whole = [layer for layer in layers if layer.shape[-2] == layer.shape[-1]]
    return jnp.stack([maps.attention_distance(layer, it.grid, prefix) for layer in whole])


def _row(it: Subject, joint: jax.Array) -> jax.Array:
    """What of [n, N] or [1, N] the classified tokens see of the patches, as [h, w]."""
    prefix = joint.shape[-1] - it.grid[0] * it.grid[1]
    one = joint[it.place : it.place + 1]
    read = {"token": one, "tokens": joint[:prefix], "mean": joint[prefix:]}[it.pooled]
    row = joint[0] if len(joint) == 1 else read.mean(axis=0)
    return row[prefix:].reshape(it.grid)


def _in_place(it: Subject, image: jax.Array, layers: list[jax.Array]) -> list[jax.Array]:
    """Layers [..., n, m] of tokens that are left, or of a query that pools the patches alone, among all tokens."""
    count, kept, left, found = layers[0].shape[-1], it.kept(image), None, []
    for number, layer in enumerate(layers):
        left = kept.get(number, left)
        n, m = layer.shape[-2:]
        if n == 1 < m:
            layer = jnp.pad(layer, [(0, 0)] * (layer.ndim - 1) + [(count - m, 0)])
        elif left is not None:
            layer = maps.placed(layer, jnp.concatenate([jnp.zeros(1, int), 1 + left]), count)
        found.append(layer)
    return found


def _rollout(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    return _row(it, maps.rollout([layer.mean(axis=0) for layer in attention(it, image)]))


def _last_attention(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    return _row(it, attention(it, image)[-1].mean(axis=0))


def _grad_cam(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """On the attention of the classified token in the last layer or, where there is none, on the last tokens that are
    normalised before they are averaged."""
    program = it.program
    if it.pooled != "mean" and attends_globally(it):
        slots, values = program.attention[: it.layers], run(program, [image])
        (gradient,) = gradients(program, [image], seed, slots[-1:])
        rows = jax.vmap(maps.grad_cam, in_axes=1)(values[slots[-1]][0], gradient[0])  # [N, N]
        return _row(it, _in_place(it, image, [*(values[slot][0, 0] for slot in slots[:-1]), rows])[-1])
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
    if not attends_globally(it):
        return jax.nn.relu(_patches(it, _lrp(it, image, seed)))
    program, slots = it.program, it.program.attention[: it.layers]
    slopes, shares = (gradients(program, [image], seed, slots), relevance(program, [image], seed).slots)
    layers = [maps.attributed(g, shares[s])[0] for g, s in zip(slopes, slots, strict=True)]
    return _row(it, maps.rollout(_in_place(it, image, layers), normalise=False))


def _lrp(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """Relevance down to the pixels, summed over colours: [H, W]."""
    (pixels,) = relevance(it.program, [image], seed).arguments
    return jnp.zeros(image.shape[1:3]) if pixels is None else pixels[0].sum(axis=-1)


def _patches(it: Subject, pixels: jax.Array) -> jax.Array:
    """[H, W] to sums over patches [h, w]."""
    (h, w), (height, width) = it.grid, pixels.shape
    return pixels[: height // h * h, : width // w * w].reshape(h, height // h, w, width // w).sum((1, 3))


def _gradient_x_input(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    found = gradient_x_input(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, found[0].sum(axis=-1))


def _integrated_gradients(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    found = integrated_gradients(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, found[0].sum(axis=-1))


METHODS: dict[str, Callable[[Subject, jax.Array, jax.Array], jax.Array]] = {
    "relevance": _relevance,
    "lrp": _lrp,
    "rollout": _rollout,
    "attention": _last_attention,
    "gradcam": _grad_cam,
    "gradient_x_input": _gradient_x_input,
    "integrated_gradients": _integrated_gradients,
}
