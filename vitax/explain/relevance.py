"""Relevance by layer-wise propagation: Chefer et al. 2020, "Transformer Interpretability Beyond Attention Visualization",
arXiv:2012.09838, with the rules of the official code.

Relevance starts as 1 at the class that is to be explained and goes back through every step of the model:

- linear layers and convolutions: the deep Taylor rule (alpha = 1, beta = 0; equation 3), biases left out;
- sums of two branches: to each its share, rescaled so that nothing is lost (equations 9 and 10);
- products of two activations (Q K^T, A V): to each factor, then half to each (section 3.2);
- softmax, norms, activations, scales: passed on unchanged;
- what only moves numbers (reshape, slice, window, shift, merge): moved back.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitax.explain.program import UNITS, Program, Step, run

MOVES = (
    "reshape",
    "transpose",
    "squeeze",
    "broadcast_in_dim",
    "slice",
    "dynamic_slice",
    "concatenate",
    "pad",
    "gather",
    "rev",
    "split",
    "stack",
    "unstack",
    "select_n",
    "copy",
    "convert_element_type",
    "sharding_constraint",
    "optimization_barrier",
    "stop_gradient",
)
PASSES = (
    *UNITS,
    "neg",
    "exp",
    "log",
    "tanh",
    "logistic",
    "erf",
    "erfc",
    "rsqrt",
    "sqrt",
    "integer_pow",
    "pow",
    "max",
    "min",
    "mul",
    "div",
    "sub",
)
LINEAR = ("dot_general", "conv_general_dilated")


class Relevance(NamedTuple):
    """arguments: of each argument, of its shape; None for integers.
    slots: {slot: relevance} of all values on the way, each of the shape of its value.
    """

    arguments: list[jax.Array | None]
    slots: dict[int, jax.Array]


def relevance(program: Program, arguments: Sequence[jax.Array], seed: jax.Array) -> Relevance:
    """Relevance of everything in a program, for one example: Chefer et al. 2020 (arXiv:2012.09838), section 3, with the rules of
    the official code.

    Args:
        program: of a function of one example (a batch of 1): shares are those of the whole array.
        arguments: of the function. The first linear layer that sees nothing else than an argument gets the rule for
            values between bounds (z^B; Montavon et al. 2017, arXiv:1512.02479), the bounds being those of the argument.
        seed: of the shape of the result; 1 for the class, 0 elsewhere.

    Raises:
        ValueError: a step that has no rule, such as a Fourier transform.
    """
    values = run(program, arguments)
    active, raw = set(program.inputs), set(program.inputs)
    for step in program.steps:
        if active & set(step.inputs):
            active |= set(step.outputs)
            varying = [slot for slot in step.inputs if slot in active]
            if step.name in MOVES and set(varying) <= raw:
                raw |= set(step.outputs)
    scores = {step.inputs[0] for step in program.steps if step.name == "softmax"}
    shares: dict[int, list[tuple[jax.Array, bool]]] = {program.outputs[0]: [(seed, True)]}
    slots: dict[int, jax.Array] = {}

    def arrived(slot: int) -> Any:
        """What all users of a value have sent back: a value that is used twice is a step of its own (Clone)."""
        parts = shares.get(slot, [])
        if not parts:
            return None
        if len(parts) == 1 or all(moved for _, moved in parts):
            return sum(part for part, _ in parts)
        value = values[slot]
        return value * sum(divide(part, value) for part, _ in parts)

    for step in reversed(program.steps):
        given = [arrived(slot) for slot in step.outputs]
        if all(one is None for one in given):
            continue
        slots |= {s: one for s, one in zip(step.outputs, given, strict=True) if one is not None}
        given = [jnp.zeros_like(values[s]) if one is None else one for s, one in zip(step.outputs, given, strict=True)]
        inputs = [values[slot] for slot in step.inputs]
        floats = [bool(jnp.issubdtype(x.dtype, jnp.floating)) for x in inputs]
        changing = [s in active and is_float for s, is_float in zip(step.inputs, floats, strict=True)]
        if not any(changing):
            continue  # indices: what they chose has been told its relevance
        bounded = any(s in raw for s, v in zip(step.inputs, changing, strict=True) if v)
        rule = _rule(step, changing, bounded, biased=step.outputs[0] in scores)
        for slot, sent in zip(step.inputs, rule(step, inputs, given, changing), strict=True):
            if sent is not None:
                shares.setdefault(slot, []).append((sent, step.name in MOVES))
    found = [arrived(slot) for slot in program.inputs]
    return Relevance(found, slots)


def divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / (b + 1e-9), and 0 where b is exactly 0."""
    away = b + 1e-9
    return jnp.where(b == 0, 0.0, a / jnp.where(away == 0, 1e-9, away))


Rule = Callable[[Step, list[jax.Array], list[jax.Array], list[bool]], list[jax.Array | None]]


def _rule(step: Step, varying: list[bool], bounded: bool, biased: bool) -> Rule:
    if step.name in MOVES:
        return _move
    if step.name in LINEAR:
        if sum(varying) == 2:
            return _product
        return _bounded_linear if bounded else _linear
    if step.name in ("add", "add_any"):
        # What is added to scores of attention, positions and masks, takes no part, as no bias does.
        return _pass if biased and sum(varying) == 1 else _add
    if step.name in ("reduce_sum", "reduce_window_sum"):
        return _share
    if step.name in PASSES and sum(varying) == 1:
        return _pass
    raise ValueError(
        f"relevance has no rule for {step.name!r} in {step.scope or 'the function'}; "
        "explain this model by gradients: gradcam, gradient_x_input or integrated_gradients"
    )


def _transposed(step: Step, inputs: list[jax.Array], at: list[bool]) -> tuple[list[jax.Array], Any]:
    """The results of a step, and how cotangents of them become those of its inputs that are marked."""
    chosen = [x for x, yes in zip(inputs, at, strict=True) if yes]

    def apply(*chosen: jax.Array) -> list[jax.Array]:
        rest = iter(chosen)
        return step.apply(*(next(rest) if yes else x for x, yes in zip(inputs, at, strict=True)))

    return jax.vjp(apply, *chosen)


def _spread(found: Sequence[jax.Array], at: list[bool]) -> list[jax.Array | None]:
    rest = iter(found)
    return [next(rest) if yes else None for yes in at]


def _move(step, inputs, given, varying):
    results, back = _transposed(step, inputs, varying)
    return _spread(back([r.astype(x.dtype) for r, x in zip(given, results, strict=True)]), varying)


def _pass(step, inputs, given, varying):
    (found,) = (x for x, yes in zip(inputs, varying, strict=True) if yes)
    if found.shape != given[0].shape:
        raise ValueError(f"relevance cannot pass {step.name!r} from {given[0].shape} to {found.shape}")
    return _spread([given[0]], varying)


def _share(step, inputs, given, varying):
    """Of a sum, each summand gets what it has contributed."""
    results, back = _transposed(step, inputs, varying)
    found = back([divide(given[0], results[0])])
    chosen = [x for x, yes in zip(inputs, varying, strict=True) if yes]
    return _spread([x * g for x, g in zip(chosen, found, strict=True)], varying)


def _product(step, inputs, given, varying):
    return [part / 2 for part in _share(step, inputs, given, varying)]


def _linear(step, inputs, given, varying):
    """Equation 3, with one divisor for the positive and the negative part of x."""
    at = varying.index(True)
    x, kernel = inputs[at], inputs[1 - at]

    def part(sign: Callable[[jax.Array], jax.Array]) -> tuple[jax.Array, jax.Array, Any]:
        both = list(inputs)
        both[at], both[1 - at] = sign(x), sign(kernel)
        (out,), back = _transposed(step, both, varying)
        return both[at], out, back

    (x1, out1, back1), (x2, out2, back2) = part(jax.nn.relu), part(lambda a: jnp.minimum(a, 0))
    share = divide(given[0], out1 + out2)
    return _spread([x1 * back1([share])[0] + x2 * back2([share])[0]], varying)


def _bounded_linear(step, inputs, given, varying):
    """z^B: x lies between its smallest and its largest value."""
    at = varying.index(True)
    x, kernel = inputs[at], inputs[1 - at]
    kernels = (kernel, jax.nn.relu(kernel), jnp.minimum(kernel, 0))
    points = (x, jnp.full_like(x, x.min()), jnp.full_like(x, x.max()))
    outs, backs = [], []
    for point, one in zip(points, kernels, strict=True):
        both = list(inputs)
        both[at], both[1 - at] = point, one
        (out,), back = _transposed(step, both, varying)
        outs.append(out)
        backs.append(back)
    share = given[0] / (outs[0] - outs[1] - outs[2] + 1e-9)
    terms = [point * back([share])[0] for point, back in zip(points, backs, strict=True)]
    return _spread([terms[0] - terms[1] - terms[2]], varying)


def _add(step, inputs, given, varying):
    a, b = inputs
    total = given[0]
    if sum(varying) == 1:
        at = varying.index(True)
        other = inputs[1 - at]
        if max(other.shape[:-1], default=1) == 1:  # a bias takes no part
            return _pass(step, inputs, given, varying)
    share = divide(total, a + b)
    parts = [_like(x, x * share) for x in (a, b)]
    sums = [part.sum() for part in parts]
    whole = jnp.abs(sums[0]) + jnp.abs(sums[1])
    found = [part * divide(divide(jnp.abs(s), whole) * total.sum(), s) for part, s in zip(parts, sums, strict=True)]
    return [part if yes else None for part, yes in zip(found, varying, strict=True)]


def _like(x: jax.Array, part: jax.Array) -> jax.Array:
    """Sums over what x was broadcast to."""
    return part if part.shape == x.shape else jax.vjp(lambda y: jnp.broadcast_to(y, part.shape), x)[1](part)[0]
