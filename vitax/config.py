"""Values of a config: sections whose every key is consumed, durations with a unit, JSON there and back."""

import difflib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vitax.errors import UserError


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """``; did you mean 'depth'?`` or, where nothing is close, the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


class Section:
    """One section of a config, handed out to the functions whose keyword arguments its keys are.

    Each key has to be consumed by somebody: `finish` raises for what nobody wanted. The signature of a function
    is thus the schema of the config, its defaults are the config's defaults, and no knob is dead.
    """

    def __init__(self, name: str, values: Mapping[str, Any]):
        self.name, self.values = name, dict(values)
        self.known: set[str] = set()

    def call(self, function: Callable[..., Any], **given: Any) -> Any:
        """Calls the function with ``given`` and with those keys of the section that it takes.

        Raises:
            UserError: a value of the wrong type, or an argument without default that is not there.
        """
        parameters = {
            name: parameter
            for name, parameter in inspect.signature(function).parameters.items()
            if name not in given
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        hints = typing.get_type_hints(function)
        self.known |= set(parameters)
        chosen = {
            name: _typed(f"config.{self.name}.{name}", self.values[name], hints.get(name, Any))
            for name in parameters
            if name in self.values
        }
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in chosen:
                raise UserError(f"config.{self.name}.{name} is missing; add it to the config")
        return function(**given, **chosen)

    def finish(self) -> None:
        for key in self.values:
            if key not in self.known:
                raise UserError(
                    f"config.{self.name}.{key} is used by nothing{did_you_mean(key, self.known)}"
                )


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value, where it fits the annotation; lists become tuples, whole numbers become floats where due."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise UserError(f"{name}={value!r} is of type {type(value).__name__}, not {hint.__name__}")
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, tuple | list):
            raise UserError(f"{name}={value!r} is not a tuple")
        if Ellipsis not in kinds and len(value) != len(kinds):
            raise UserError(f"{name}={value!r} does not have {len(kinds)} entries")
        kinds = [kinds[0]] * len(value) if Ellipsis in kinds else kinds
        return tuple(
            _typed(f"{name}[{i}]", v, kind) for i, (v, kind) in enumerate(zip(value, kinds, strict=True))
        )
    return value


def steps(name: str, duration: str, *, batch_size: int, examples: int) -> int:
    """A duration with its unit, in steps.

    Args:
        name: of the config key, for messages.
        duration: a number and a unit: "300 epochs", "10000 steps", "1.5e9 examples"; "" or "0 steps" = 0.
        batch_size: examples per step.
        examples: in one epoch.

    Returns:
        Steps, rounded to the nearest whole; at least 1 where the duration is above 0.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*(step|epoch|example)s?\s*", duration)
    if not duration:
        return 0
    if not found:
        raise UserError(
            f"config.{name}={duration!r} is no duration; write a number and a unit: "
            "'300 epochs', '10000 steps' or '1e6 examples'"
        )
    per_unit = {"step": 1.0, "epoch": examples / batch_size, "example": 1 / batch_size}
    count = float(found[1]) * per_unit[found[2]]
    return max(1, round(count)) if count else 0


def to_json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"


def from_json(text: str) -> dict[str, Any]:
    """The config as plain dicts; JSON's lists become tuples again."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(v) for key, v in value.items()}
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    return tuples(json.loads(text))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model.depth": 12, ...}"""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``model.depth: 12 -> 6`` for each key whose value is not the same."""
    a, b = flatten(old), flatten(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} -> {b.get(key, absent)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]
