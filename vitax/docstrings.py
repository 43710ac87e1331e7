"""Meanings of arguments, read from docstrings: ``--help`` prints them under the keys of a config."""

import inspect
import re
from collections.abc import Callable
from typing import Any

_ENTRY = re.compile(r"( *)(\w+(?:, \w+)*): (.*)")


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """{argument: its meaning on one line} from the "Args:" or "Attributes:" section of a docstring.

    An entry is ``name: meaning`` or ``name, name: meaning``; lines with a deeper indentation continue it. A class has
    the meanings of its base classes too.
    """
    if inspect.isclass(function):
        texts = {}
        for part in reversed(function.__mro__):
            texts |= _entries(part.__doc__)
        return texts
    return _entries(function.__doc__)


def _entries(docstring: str | None) -> dict[str, str]:
    """{argument: its meaning} of one docstring."""
    text = inspect.cleandoc(docstring or "")
    section = re.search(r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        entry = _ENTRY.fullmatch(line)
        if entry and len(entry[1]) == 4:
            names = entry[2].split(", ")
            texts |= dict.fromkeys(names, entry[3].strip())
        elif line.strip():
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
