"""The text of an optimised XLA module as computations of instructions."""

import math
import re
from typing import NamedTuple

BITS = {"pred": 8, "bf16": 16, "f8e4m3fn": 8, "f8e5m2": 8, "token": 0, "opaque": 0}  # other names end with their bits
SHAPE = re.compile(r"\b(pred|token|opaque|bf16|f8e\w+|[a-z]+\d+)\[([\d,]*)\]")
INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")


class Instruction(NamedTuple):
    """A line of a module: the type of its result, its operation, its arguments (whole, and names), its attributes."""

    type: str
    op: str
    text: str
    arguments: tuple[str, ...]
    attributes: str
    root: bool


Computation = dict[str, Instruction]


def parsed(program: str) -> tuple[dict[str, Computation], str]:
    """{name: computation} of a module, and the name of its entry."""
    computations: dict[str, Computation] = {}
    current, entry = None, ""
    for line in program.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith("{") and "->" in line:
            matched = re.match(r"(ENTRY )?%?([\w.\-]+) ", line)
            if matched is None:
                continue
            current = computations.setdefault(matched[2], {})
            entry = matched[2] if matched[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (matched := INSTRUCTION.match(line)):
            current[matched[2]] = _instruction(matched[3], bool(matched[1]))
    return computations, entry


def _instruction(text: str, root: bool) -> Instruction:
    """Takes "TYPE op(arguments), attributes" apart."""
    end = _closing(text, 0) + 1 if text.startswith("(") else (text + " ").index(" ")
    result, rest = text[:end], text[end:].strip()
    matched = re.match(r"([a-z][\w\-]*)\(", rest)
    if matched is None:
        return Instruction(result, "", "", (), rest, root)
    close = _closing(rest, matched.end() - 1)
    inside = rest[matched.end() : close]
    return Instruction(result, matched[1], inside, tuple(re.findall(r"%([\w.\-]+)", inside)), rest[close + 1 :], root)


def _closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text) - 1


def shapes(text: str) -> list[tuple[str, int]]:
    """The arrays in a type, as (shape, bytes)."""
    found = []
    for kind, dims in SHAPE.findall(text):
        bits = BITS[kind] if kind in BITS else int(re.sub(r"\D", "", kind))
        found.append((f"{kind}[{dims}]", math.prod(map(int, filter(None, dims.split(",")))) * bits // 8))
    return found


def size(text: str) -> int:
    """Bytes of all arrays in a type."""
    return sum(count for _, count in shapes(text))


def dims(text: str) -> tuple[str, list[int]]:
    """Kind of numbers and sizes of the first array in a type."""
    matched = SHAPE.search(text)
    return ("", []) if matched is None else (matched[1], [int(n) for n in matched[2].split(",") if n])
