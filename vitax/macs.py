"""Multiply-accumulates of a function, counted in its jaxpr."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count_macs(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-accumulates of all matrix products and convolutions; one multiply-accumulate is two FLOPs.

    Softmax, norms, activations, additions and Fourier transforms are not counted, as is usual in papers. Values that a
    mask discards are counted, because they are computed.

    Args:
        function: anything that jax can trace.
        arguments: arrays or `jax.ShapeDtypeStruct`s.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        out: Any = equation.outvars[0].aval if equation.outvars else None
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += out.size * math.prod(shape[i] for i in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            layout = equation.params["dimension_numbers"].rhs_spec  # (out, in, *space)
            total += out.size * math.prod(kernel[i] for i in layout[1:])
        elif equation.primitive.name.startswith("dot_product_attention_"):
            total += _fused_attention(equation)
        else:
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            total += times * sum(_count(inner) for inner in _inner(equation.params.values()))
    return total


def _fused_attention(equation: Any) -> int:
    """Multiply-accumulates of cuDNN's attention: two products, and four in the backward pass.

    The kernel computes the scores a second time for the backward pass; as with recomputed activations, the unfused form
    is what counts.
    """
    batch, n, heads, width = equation.invars[0].aval.shape
    products = 4 if "bwd" in equation.primitive.name else 2
    return products * batch * heads * n * equation.invars[1].aval.shape[1] * width


def _inner(values: Any) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    jaxprs = []
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            jaxprs.append(value.jaxpr)
        elif isinstance(value, core.Jaxpr):
            jaxprs.append(value)
        elif isinstance(value, tuple | list):
            jaxprs += _inner(value)
    return jaxprs
