"""A function as a list of steps, which explanations walk forwards and backwards.

No model is written a second time to be explained: it is traced. The operations that explanations need to recognise
(softmax, norms, activations) are functions with their own names in the trace, the `UNITS`. Attention weights, their
gradients and relevance are then available whatever the model does between them: windows, shifts, merges, pruned tokens.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from vitax.nn.blocks import layer_norm
from vitax.nn.dense import unit_length
from vitax.nn.fused import plain_forms
from vitax.nn.mlp import ACTIVATIONS

# Functions of a trace that count as one step: their contents are not inspected.
_FUNCTIONS: tuple[Callable[..., Any], ...] = (jax.nn.softmax, layer_norm, unit_length, *ACTIVATIONS.values())
UNITS = tuple(inspect.unwrap(function).__name__ for function in _FUNCTIONS)


class Step(NamedTuple):
    """One operation.

    Attributes:
        name: name of its primitive or of its unit.
        inputs: slots of the inputs.
        outputs: slots of the outputs.
        apply: (values of the inputs) -> list of values of the outputs.
        scope: the modules that contain it, such as "ViT/block0/attention".
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    apply: Callable[..., list[jax.Array]]
    scope: str


class Program(NamedTuple):
    """A traced function.

    Attributes:
        steps: the operations, in the order of computation.
        inputs: slots of the arguments.
        outputs: slots of the results.
        constants: {slot: value} of values that do not depend on the arguments: parameters, masks.
        example: the shapes of the arguments.
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    example: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def attention(self) -> list[int]:
        """Slots of the attention weights [..., A, N, M] of each layer, first layer first."""
        return [step.outputs[0] for step in self.steps if step.name == "softmax"]

    def slots(self, name: str) -> list[int]:
        """Slots of the results of all steps with a name."""
        return [step.outputs[0] for step in self.steps if step.name == name]


def trace(function: Callable[..., jax.Array], *arguments: Any) -> Program:
    """The program of a function of arrays that returns one array.

    Args:
        function: function without control flow that depends on the arguments; inference, not training.
        arguments: arrays, or `jax.ShapeDtypeStruct`s.
    """
    with plain_forms():
        closed = jax.make_jaxpr(function)(*arguments)
    steps: list[Step] = []
    constants: dict[int, Any] = {}
    count = 0

    def new() -> int:
        nonlocal count
        count += 1
        return count - 1

    def constant(value: Any) -> int:
        slot = new()
        constants[slot] = jnp.asarray(value)
        return slot

    def flatten(jaxpr: Any, slots: dict[Any, int], scope: str) -> tuple[int, ...]:
        """Appends the steps of a jaxpr whose inputs are in ``slots``; returns the slots of its results."""

        def read(atom: Any) -> int:
            return constant(atom.val) if isinstance(atom, core.Literal) else slots[atom]

        for equation in jaxpr.eqns:
            inputs = tuple(read(atom) for atom in equation.invars)
            path = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
            name, inner = equation.params.get("name"), _inner(equation)
            if inner is not None and name not in UNITS:
                starts = {var: constant(x) for var, x in zip(inner.jaxpr.constvars, inner.consts, strict=True)}
                starts |= dict(zip(inner.jaxpr.invars, inputs, strict=True))
                results = flatten(inner.jaxpr, starts, path)
                slots |= dict(zip(equation.outvars, results, strict=True))
                continue
            outputs = tuple(new() for _ in equation.outvars)
            slots |= dict(zip(equation.outvars, outputs, strict=True))
            unit = inner is not None
            apply = core.jaxpr_as_fun(inner) if unit else _primitive(equation)
            steps.append(Step(name if unit else equation.primitive.name, inputs, outputs, apply, path))
        return tuple(read(atom) for atom in jaxpr.outvars)

    slots = {var: constant(x) for var, x in zip(closed.jaxpr.constvars, closed.consts, strict=True)}
    inputs = tuple(new() for _ in closed.jaxpr.invars)
    slots |= dict(zip(closed.jaxpr.invars, inputs, strict=True))
    outputs = flatten(closed.jaxpr, slots, "")
    shapes = tuple(jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars)
    return _fold(Program(tuple(steps), inputs, outputs, constants, shapes))


def run(
    program: Program, arguments: Sequence[jax.Array], added: Mapping[int, jax.Array] | None = None
) -> dict[int, jax.Array]:
    """The values of all slots, {slot: value}, with their shapes in the model: attention weights are [..., A, N, M].

    Args:
        program: the traced function.
        arguments: the arguments of the function.
        added: {slot: array} to add to the values of slots; the gradient with respect to added zeros is the gradient
            with respect to those values.
    """
    values = dict(program.constants) | dict(zip(program.inputs, arguments, strict=True))
    for step in program.steps:
        results = step.apply(*(values[slot] for slot in step.inputs))
        for slot, value in zip(step.outputs, results, strict=True):
            values[slot] = value + added[slot] if added and slot in added else value
    return values


def gradients(
    program: Program, arguments: Sequence[jax.Array], seed: jax.Array, slots: Sequence[int]
) -> list[jax.Array]:
    """Gradients of the sum of seed * result with respect to the values of slots, each with the shape of its value.

    Args:
        program: the traced function.
        arguments: the arguments of the function.
        seed: weights of the result, with its shape; [1, K] for a classifier.
        slots: slots of the values.
    """
    values = run(program, arguments)
    zeros = {slot: jnp.zeros_like(values[slot]) for slot in slots}

    def scalar(added: dict[int, jax.Array]) -> jax.Array:
        return jnp.sum(seed * run(program, arguments, added)[program.outputs[0]])

    by_slot = jax.grad(scalar)(zeros)
    return [by_slot[slot] for slot in slots]


def _inner(equation: Any) -> Any:
    """The jaxpr of an equation that only calls it; None for others, loops and branches among them."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(key)
        if isinstance(inner, core.ClosedJaxpr):
            return inner
        if isinstance(inner, core.Jaxpr):
            return core.ClosedJaxpr(inner, ())
    return None


def _primitive(equation: Any) -> Callable[..., list[jax.Array]]:
    def apply(*values: jax.Array) -> list[jax.Array]:
        out = equation.primitive.bind(*values, **equation.params)
        return list(out) if equation.primitive.multiple_results else [out]

    return apply


def _fold(program: Program) -> Program:
    """Computes the steps that do not depend on the arguments once, and makes their results constants."""
    constants, steps = dict(program.constants), []
    for step in program.steps:
        if all(slot in constants for slot in step.inputs):
            results = step.apply(*(constants[slot] for slot in step.inputs))
            constants |= dict(zip(step.outputs, results, strict=True))
        else:
            steps.append(step)
    return program._replace(constants=constants, steps=tuple(steps))
