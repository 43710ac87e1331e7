"""Relevance by layer-wise propagation, with the rules of the official code.

Chefer et al. 2020, "Transformer Interpretability Beyond Attention Visualization", arXiv:2012.09838.

Relevance starts as 1 at the class that is explained, and goes back through every step of the model:

- linear layers and convolutions use the deep Taylor rule (alpha = 1, beta = 0; equation 3), without biases;
- each branch of a sum of two gets its share, rescaled so that nothing is lost (equations 9 and 10);
- each factor of a product of two activations (Q K^T, A V) gets half of its share (section 3.2);
- softmax, norms, activations and scales pass relevance on unchanged;
- operations that only move numbers (reshape, slice, window, shift, merge) move relevance back.
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
    """The relevance of everything in a program.

    Attributes:
        arguments: relevance of each argument, with its shape; None for integers.
        slots: {slot: relevance} of all values on the way, each with the shape of its value.
    """

    arguments: list[jax.Array | None]
    slots: dict[int, jax.Array]


def relevance(program: Program, arguments: Sequence[jax.Array], seed: jax.Array) -> Relevance:
    """Relevance of everything in a program, for one example.

    Chefer et al. 2020 (arXiv:2012.09838), section 3, with the rules of the official code.

    Args:
        program: program of a function of one example (a batch of 1), because shares are taken of the whole array.
        arguments: arguments of the function. A linear layer whose only varying input is an argument uses the rule for
            bounded values (z^B; Montavon et al. 2017, arXiv:1512.02479), with the bounds of that argument.
        seed: relevance of the result, with its shape: 1 for the class, 0 elsewhere.

    Raises:
        ValueError: a step has no rule, such as a Fourier transform.
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
        """The relevance that all users of a value have sent back; one with several users counts as a step (Clone)."""
        parts = shares.get(slot, [])
        if not parts:
            return None
        if len(parts) == 1 or all(moved for _, moved in parts):
            return sum(part for part, _ in parts)
        value = values[slot]
        return value * sum(divide(part, value) for part, _ in parts)

    for step in reversed(program.steps):
        received = [arrived(slot) for slot in step.outputs]
        if all(r is None for r in received):
            continue
        slots |= {s: r for s, r in zip(step.outputs, received, strict=True) if r is not None}
        received = [jnp.zeros_like(values[s]) if r is None else r for s, r in zip(step.outputs, received, strict=True)]
        inputs = [values[slot] for slot in step.inputs]
        floats = [bool(jnp.issubdtype(x.dtype, jnp.floating)) for x in inputs]
        changing = [s in active and is_float for s, is_float in zip(step.inputs, floats, strict=True)]
        if not any(changing):
            continue  # indices: the values that they select have received their relevance
        bounded = any(s in raw for s, v in zip(step.inputs, changing, strict=True) if v)
        rule = _rule(step, changing, bounded, biased=step.outputs[0] in scores)
        for slot, sent in zip(step.inputs, rule(step, inputs, received, changing), strict=True):
            if sent is not None:
                shares.setdefault(slot, []).append((sent, step.name in MOVES))
    of_arguments = [arrived(slot) for slot in program.inputs]
    return Relevance(of_arguments, slots)


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
        # Positions and masks that are added to attention scores take no part; neither do biases.
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
    """The results of a step, and the function from their cotangents to those of the marked inputs."""
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
    (value,) = (x for x, yes in zip(inputs, varying, strict=True) if yes)
    if value.shape != given[0].shape:
        raise ValueError(f"relevance cannot pass {step.name!r} from {given[0].shape} to {value.shape}")
    return _spread([given[0]], varying)


def _share(step, inputs, given, varying):
    """Gives each summand of a sum the share that it has contributed."""
    results, back = _transposed(step, inputs, varying)
    cotangents = back([divide(given[0], results[0])])
    chosen = [x for x, yes in zip(inputs, varying, strict=True) if yes]
    return _spread([x * g for x, g in zip(chosen, cotangents, strict=True)], varying)


def _product(step, inputs, given, varying):
    return [part / 2 for part in _share(step, inputs, given, varying)]


def _linear(step, inputs, given, varying):
    """Equation 3, with one divisor for the positive and the negative part of x."""
    at = varying.index(True)
    x, kernel = inputs[at], inputs[1 - at]

    def part(sign: Callable[[jax.Array], jax.Array]) -> tuple[jax.Array, jax.Array, Any]:
        operands = list(inputs)
        operands[at], operands[1 - at] = sign(x), sign(kernel)
        (out,), back = _transposed(step, operands, varying)
        return operands[at], out, back

    (x1, out1, back1), (x2, out2, back2) = part(jax.nn.relu), part(lambda a: jnp.minimum(a, 0))
    share = divide(given[0], out1 + out2)
    return _spread([x1 * back1([share])[0] + x2 * back2([share])[0]], varying)


def _bounded_linear(step, inputs, given, varying):
    """The rule z^B, with the smallest and the largest value of x as bounds."""
    at = varying.index(True)
    x, kernel = inputs[at], inputs[1 - at]
    kernels = (kernel, jax.nn.relu(kernel), jnp.minimum(kernel, 0))
    points = (x, jnp.full_like(x, x.min()), jnp.full_like(x, x.max()))
    outs, backs = [], []
    for point, weights in zip(points, kernels, strict=True):
        operands = list(inputs)
        operands[at], operands[1 - at] = point, weights
        (out,), back = _transposed(step, operands, varying)
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
        addend = inputs[1 - at]
        if max(addend.shape[:-1], default=1) == 1:  # a bias takes no part
            return _pass(step, inputs, given, varying)
    share = divide(total, a + b)
    parts = [_like(x, x * share) for x in (a, b)]
    sums = [part.sum() for part in parts]
    whole = jnp.abs(sums[0]) + jnp.abs(sums[1])
    rescaled = [part * divide(divide(jnp.abs(s), whole) * total.sum(), s) for part, s in zip(parts, sums, strict=True)]
    return [part if yes else None for part, yes in zip(rescaled, varying, strict=True)]


def _like(x: jax.Array, part: jax.Array) -> jax.Array:
    """The sum of ``part`` over the axes along which x was broadcast."""
    return part if part.shape == x.shape else jax.vjp(lambda y: jnp.broadcast_to(y, part.shape), x)[1](part)[0]
