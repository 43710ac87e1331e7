"""The variants of a sweep: all combinations of the values of some keys."""

import itertools
from collections.abc import Mapping, Sequence

from vitax.config import did_you_mean
from vitax.errors import UserError

Overrides = dict[str, str]


def parse(overs: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """{key: its values} from texts such as "model.width=64,128"; a comma inside brackets separates no values.

    Raises:
        UserError: a text is not KEY=VALUE,VALUE, or the config has no such key.
    """
    grid: dict[str, list[str]] = {}
    for over in overs:
        key, equals, values = over.partition("=")
        key = key.removeprefix("config.")
        if not equals or not values:
            raise UserError(f"--over={over} is not KEY=VALUE,VALUE...")
        if key not in known:
            raise UserError(f"--over={over}: the config has no key {key!r}{did_you_mean(key, known)}")
        if key in grid:
            raise UserError(f"--over names {key} twice")
        grid[key] = split(values)
        if len(set(grid[key])) < len(grid[key]):
            raise UserError(f"--over={over} names a value twice")
    return grid


def split(values: str) -> list[str]:
    """The values between commas; a comma inside brackets or quotation marks separates no values.

    Raises:
        UserError: a bracket or a quotation mark is not closed, or a value is empty.
    """
    parts, depth, quote = [""], 0, ""
    for character in values:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    if depth or quote:
        raise UserError(f"--over: a bracket or a quotation mark in {values} is not closed")
    if not all(part.strip() for part in parts):
        raise UserError(f"--over: a value in {values} is empty")
    return [part.strip() for part in parts]


def variants(grid: Mapping[str, Sequence[str]]) -> dict[str, Overrides]:
    """{name: overrides} of all combinations; a name has the last part of each key, or all of it where two keys share it."""
    lasts = [key.rpartition(".")[2] for key in grid]
    short = {key: last if lasts.count(last) == 1 else key for key, last in zip(grid, lasts, strict=True)}
    return {
        ", ".join(f"{short[key]}={value}" for key, value in zip(grid, chosen, strict=True)): dict(
            zip(grid, chosen, strict=True)
        )
        for chosen in itertools.product(*grid.values())
    }
