"""Methods that find the parts of an image that speak for a class: METHODS is the table."""

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

    Attributes:
        scores: function from a normalised image [1, H, W, C] to scores [1, K].
        program: the traced program of ``scores``.
        grid: (h, w), rows and columns of patches.
        layers: number of attention layers that count, from the first; the layers of a decoder do not count.
        pooled: tokens that are classified: "token", one token; "tokens", all tokens before the patches; "mean", all
            patches.
        place: position of that one token among all tokens.
        kept: image -> {layer: [n] the patches that are left from there on}; {} for most models.
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
    """Traces a classifier for explanations; see `Subject` for the arguments.

    Args:
        scores: function from a normalised image [1, H, W, C] to scores [1, K].
        image: [1, H, W, C], normalised.
        grid: (h, w), rows and columns of patches.
        pooled: "token", "tokens" or "mean".
        place: position of the token that is classified.
        layers: number of attention layers that count; None = all.
        kept: image -> {layer: [n] the patches that are left from there on}.
    """
    program = trace(scores, image)
    count = len(program.attention) if layers is None else layers
    return Subject(scores, program, grid, count, pooled, place, kept)


def explainer(method: str, it: Subject) -> Callable[[jax.Array, int], jax.Array]:
    """The function that makes heat maps by a method: (image [1, H, W, C], label) -> [h, w] float, compiled once.

    A map shows how much each patch or each pixel speaks for the class (below 0: against it); for methods that do not
    depend on the class, it shows how much the model looks there.

    Args:
        method: key of METHODS.
        it: the classifier.

    Raises:
        ValueError: the method has no meaning for the model.
    """
    possible = applicable(it)
    if method not in possible:
        raise ValueError(f"{method} has no meaning for this model; choose one of {', '.join(possible)}")
    scores = jax.eval_shape(it.scores, *it.program.example)

    def explain(image: jax.Array, label: jax.Array) -> jax.Array:
        seed = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)[None]
        return METHODS[method](it, image, seed)

    return jax.jit(explain)


def applicable(it: Subject) -> list[str]:
    """The methods that have a meaning for a model."""
    global_attention = attends_globally(it)
    names = [name for name in METHODS if global_attention or name not in ("rollout", "attention")]
    if "fft" in {step.name for step in it.program.steps}:
        names = [name for name in names if name not in ("relevance", "lrp")]
    return names


def attends_globally(it: Subject) -> bool:
    """True if every layer attends from all tokens to all tokens, with weights [1, A, N, N]."""
    program = it.program
    if not program.attention:
        return False
    values = jax.eval_shape(lambda x: run(program, [x]), *it.program.example)
    shapes = [values[slot].shape for slot in program.attention[: it.layers]]
    tokens = it.grid[0] * it.grid[1]
    return all(len(shape) == 4 for shape in shapes) and shapes[0][-1] >= tokens


def attention(it: Subject, image: jax.Array) -> list[jax.Array]:
    """The attention of every head of every layer, among all tokens.

    Args:
        it: the classifier.
        image: [1, H, W, C], normalised.

    Returns:
        [A, N, N] for each layer; rows are queries, and the rows of tokens that were pruned before are 0. [A, 1, N] for
        a pooling query.
    """
    values = run(it.program, [image])
    return _in_place(it, image, [values[slot][0] for slot in it.program.attention[: it.layers]])


def head_maps(it: Subject, image: jax.Array) -> jax.Array:
    """The attention of every head of every layer to the patches, [layers, A, h, w].

    The queries are the tokens that the model classifies, see `Subject`.
    """
    return jnp.stack([jax.vmap(lambda head: _row(it, head))(layer) for layer in attention(it, image)])


def head_distances(it: Subject, image: jax.Array) -> jax.Array:
    """Mean distance that every head of every layer looks, in patches: [layers, A]; see `maps.attention_distance`.

    Only layers that have all patches, and a query for each of them, are included.
    """
    layers = attention(it, image)[: min(it.kept(image), default=None)]
    prefix = layers[0].shape[-1] - it.grid[0] * it.grid[1]
    whole = [layer for layer in layers if layer.shape[-2] == layer.shape[-1]]
    return jnp.stack([maps.attention_distance(layer, it.grid, prefix) for layer in whole])


def _row(it: Subject, joint: jax.Array) -> jax.Array:
    """The part of a map [n, N] or [1, N] that leads from the classified tokens to the patches, as [h, w]."""
    prefix = joint.shape[-1] - it.grid[0] * it.grid[1]
    token_row = joint[it.place : it.place + 1]
    read = {"token": token_row, "tokens": joint[:prefix], "mean": joint[prefix:]}[it.pooled]
    row = joint[0] if len(joint) == 1 else read.mean(axis=0)
    return row[prefix:].reshape(it.grid)


def _in_place(it: Subject, image: jax.Array, layers: list[jax.Array]) -> list[jax.Array]:
    """Layers [..., n, m] of the remaining tokens, or of a query that pools only the patches, expanded to all tokens."""
    count, kept, left, expanded = layers[0].shape[-1], it.kept(image), None, []
    for number, layer in enumerate(layers):
        left = kept.get(number, left)
        n, m = layer.shape[-2:]
        if n == 1 < m:
            layer = jnp.pad(layer, [(0, 0)] * (layer.ndim - 1) + [(count - m, 0)])
        elif left is not None:
            layer = maps.placed(layer, jnp.concatenate([jnp.zeros(1, int), 1 + left]), count)
        expanded.append(layer)
    return expanded


def _rollout(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    return _row(it, maps.rollout([layer.mean(axis=0) for layer in attention(it, image)]))


def _last_attention(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    return _row(it, attention(it, image)[-1].mean(axis=0))


def _grad_cam(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """GradCAM on the attention of the classified token in the last layer.

    For models without such attention, it uses the last tokens that are normalised before they are averaged.
    """
    program = it.program
    if it.pooled != "mean" and attends_globally(it):
        slots, values = program.attention[: it.layers], run(program, [image])
        (gradient,) = gradients(program, [image], seed, slots[-1:])
        last = values[slots[-1]][0]  # [A, n, m]
        # A query that pools sees the patches alone.
        pools = last.shape[-2] < last.shape[-1]
        prefix = 0 if pools else values[slots[0]].shape[-1] - it.grid[0] * it.grid[1]
        cam = lambda weights, slope: maps.grad_cam(weights, slope, prefix)
        rows = jax.vmap(cam, in_axes=1)(last, gradient[0])  # [n, m]
        return _row(it, _in_place(it, image, [*(values[slot][0, 0] for slot in slots[:-1]), rows])[-1])
    values = jax.eval_shape(lambda x: run(program, [x]), *it.program.example)
    tokens = it.grid[0] * it.grid[1]
    sizes = {slot: values[slot].shape for slot in program.slots("layer_norm")}
    slot = [slot for slot, shape in sizes.items() if np.prod(shape[1:-1]) > 1][-1]
    (gradient,) = gradients(program, [image], seed, [slot])
    value = run(program, [image])[slot]
    d = value.shape[-1]
    flat = [x.reshape(-1, d).T for x in (value, gradient)]  # [D, N]
    heat = maps.grad_cam(flat[0], flat[1])
    heat = heat[-tokens:] if len(heat) >= tokens else heat
    h, w = value.shape[1:3] if value.ndim == 4 else it.grid
    return heat.reshape(h, w)


def _relevance(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    """Chefer et al., equations 13 and 14; for local attention, the relevance of the patches (`_lrp`)."""
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
    """Sums of the pixels [H, W] of each patch, [h, w]."""
    (h, w), (height, width) = it.grid, pixels.shape
    return pixels[: height // h * h, : width // w * w].reshape(h, height // h, w, width // w).sum((1, 3))


def _gradient_x_input(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    attribution = gradient_x_input(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, attribution[0].sum(axis=-1))


def _integrated_gradients(it: Subject, image: jax.Array, seed: jax.Array) -> jax.Array:
    attribution = integrated_gradients(lambda x: jnp.sum(seed * it.scores(x)), image)
    return _patches(it, attribution[0].sum(axis=-1))


METHODS: dict[str, Callable[[Subject, jax.Array, jax.Array], jax.Array]] = {
    "relevance": _relevance,
    "lrp": _lrp,
    "rollout": _rollout,
    "attention": _last_attention,
    "gradcam": _grad_cam,
    "gradient_x_input": _gradient_x_input,
    "integrated_gradients": _integrated_gradients,
}
