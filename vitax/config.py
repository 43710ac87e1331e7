"""Values of a config: keys and defaults from the signatures of functions, durations, conversion to and from JSON."""

import ast
import difflib
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from vitax.errors import UserError

# Fields of a module that are not keys of a config: they follow from the data or belong to Flax.
GIVEN_FIELDS = ("num_classes", "image_size", "vocab_size", "end_token", "parent", "name")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def literal(text: str) -> Any:
    """The value of a flag: a Python literal if the text is one, otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """``; did you mean 'depth'?`` or, if no known name is close, the list of the known names."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose one of {', '.join(known)}"


def keys(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The config keys that a function takes: its keyword-only arguments.

    Values that come from other code, not from a config, are passed by position. The keys of a module or a NamedTuple
    are its fields.
    """
    parameters = inspect.signature(function).parameters
    if inspect.isclass(function) and not any(
        p.kind is p.KEYWORD_ONLY for n, p in parameters.items() if n not in GIVEN_FIELDS
    ):
        return {name: p for name, p in parameters.items() if name not in GIVEN_FIELDS}
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def complete(section: str, values: Mapping[str, Any], functions: Iterable[Callable[..., Any]]) -> dict[str, Any]:
    """A section with every key of its functions; missing keys get the defaults of the functions.

    The signatures are thus the schema: every key has an effect, and every key can be set on the command line.

    Raises:
        UserError: a key that none of the functions takes, or a missing key without a default.
    """
    known: dict[str, inspect.Parameter] = {}
    for function in functions:
        known |= keys(function)
    prefix = f"config.{section}." if section else "config."
    for key in values:
        if key not in known:
            raise UserError(f"{prefix}{key} is unknown{did_you_mean(key, known)}")
    full = dict(values)
    for key, parameter in known.items():
        if key not in full:
            if parameter.default is parameter.empty:
                raise UserError(f"{prefix}{key} is missing; add it to the config")
            default: Any = parameter.default
            default = dict(default) if isinstance(default, Mapping) else default
            full[key] = jnp.dtype(default).name if key == "dtype" else default
    return full


def call(function: Callable[..., Any], section: str, values: Mapping[str, Any], *given: Any, **fields: Any) -> Any:
    """Calls a function with ``given``, with ``fields`` and with its keys from a completed section.

    Raises:
        UserError: a value of the wrong type, or a value that the function rejects.
    """
    hints = typing.get_type_hints(function)
    if inspect.isclass(function):
        # A plain class has its annotations on __init__, a dataclass or NamedTuple on the class itself.
        hints = typing.get_type_hints(function.__init__) | hints
    prefix = f"config.{section}." if section else "config."
    chosen = {key: _typed(prefix + key, values[key], hints[key]) for key in keys(function)}
    try:
        return function(*given, **fields, **chosen)
    except UserError:
        raise
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"config.{section}: {error}") from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value if it fits the annotation; lists become tuples, and an int becomes a float where a float is due."""
    if name.endswith(".dtype"):
        if value not in DTYPES:
            raise UserError(f"{name}={value!r} is unknown; choose one of {', '.join(DTYPES)}")
        return DTYPES[value]
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, str, bool):
        if type(value) is not hint:
            raise UserError(f"{name}={value!r} is of type {type(value).__name__}, not {hint.__name__}")
        if hint is float and not math.isfinite(value):
            raise UserError(f"{name}={value!r} is not a finite number")
        return value
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) in (
        typing.Union,
        types.UnionType,
    ):  # a text, or something that is written in another way
        return _typed(name, value, str if isinstance(value, str) else next(kind for kind in kinds if kind is not str))
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple | list):
            raise UserError(f"{name}={value!r} is not a tuple; write ({value!r},)")
        if Ellipsis not in kinds and len(value) != len(kinds):
            raise UserError(f"{name}={value!r} does not have {len(kinds)} entries")
        kinds = [kinds[0]] * len(value) if Ellipsis in kinds else kinds
        return tuple(_typed(f"{name}[{i}]", v, kind) for i, (v, kind) in enumerate(zip(value, kinds, strict=True)))
    if typing.get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{name}={value!r} is not a dictionary")
        return {key: _typed(f"{name}[{key!r}]", v, kinds[1]) for key, v in value.items()}
    raise TypeError(f"{name}: config keys cannot be annotated with {hint}")


def steps(name: str, duration: str, *, batch_size: float, examples: int) -> int:
    """The number of steps of a duration with a unit.

    Args:
        name: name of the config key, for messages.
        duration: a number and a unit: "300 epochs", "10000 steps", "1.5e9 examples"; or the longer of two durations:
            "10 epochs, at least 1000 steps"; "" or "0 steps" = 0.
        batch_size: examples per step; their mean, if it varies.
        examples: number of examples in one epoch.

    Returns:
        Steps, rounded to the nearest whole number; at least 1 if the duration is above 0.

    Raises:
        UserError: the text is not a duration, or the duration is longer than 2^31 steps.
    """
    if ", at least " in duration:
        parts = duration.split(", at least ", 1)
        return max(steps(name, part, batch_size=batch_size, examples=examples) for part in parts)
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d\d?)?)\s*(step|epoch|example)s?\s*", duration)
    if not duration:
        return 0
    if not matched:
        raise UserError(
            f"config.{name}={duration!r} is not a duration; write a number and a unit: "
            "'300 epochs', '10000 steps', '1e6 examples' or '10 epochs, at least 1000 steps'"
        )
    per_unit = {"step": 1.0, "epoch": examples / batch_size, "example": 1 / batch_size}
    count = float(matched[1]) * per_unit[matched[2]]
    if count >= 2**31:
        raise UserError(f"config.{name}={duration!r} is more than 2^31 steps")
    return max(1, round(count)) if count else 0


def to_json(config: Mapping[str, Any]) -> str:
    """A config, or another record of a run, as JSON text; tuples become lists."""
    return json.dumps(config, indent=2) + "\n"


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: they become None."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(text: str) -> dict[str, Any]:
    """The config as plain dicts; JSON's lists become tuples again."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(v) for key, v in value.items()}
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    return tuples(json.loads(text))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The config as one flat dictionary: {"model.depth": 12, ...}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def changed(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config with other values: {"model.depth": 6, "batch_size": 8}."""
    copy = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (copy[section] if section else copy)[name] = value
    return copy


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line such as ``model.depth: 12 -> 6`` for each key whose values differ."""
    a, b = flatten(old), flatten(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} -> {b.get(key, absent)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]
