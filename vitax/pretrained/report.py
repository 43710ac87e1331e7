"""The report of what happened to each tensor when weights were loaded."""

from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass
class Report:
    """A report of what happened to each tensor.

    Names in ``unexpected`` and ``ignored`` are names in the file; other names are paths of our variables.

    Attributes:
        format: name of the format of the file.
        entry: key of the weights in a training checkpoint; "" = it holds nothing else.
        other_entries: keys of further weights in it.
        prefix: prefix that was removed from all names.
        loaded: variables taken from the file.
        reshaped: loaded variables whose layout differs from the file: transposed, joined or split.
        resized: variables interpolated to another grid, with both shapes.
        remade: variables that the file lacks or has in another shape, for the requested model; freshly initialised.
        missing: variables that the file lacks for its own model, allowed by the caller; freshly initialised.
        unexpected: tensors in the file that the model has no place for, allowed by the caller.
        ignored: tensors in the file that are not parameters.
        told: fields that the config.json beside the file tells, and its tensors do not.
        assumed: fields that neither the file nor the caller gave, with the usual value that was used.
        given: fields that the caller set to values unusual for such files: (usual, given).
    """

    format: str = ""
    entry: str = ""
    other_entries: tuple[str, ...] = ()
    prefix: str = ""
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    remade: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    given: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.format}: {len(self.loaded)} parameters loaded, {len(self.reshaped)} of them in another layout"]
        if self.entry:
            others = f"; not read: {', '.join(self.other_entries)}" if self.other_entries else ""
            lines.append(f"entry       {self.entry}{others}")
        if self.prefix:
            lines.append(f"prefix      {self.prefix} removed from all names")
        for path, (before, after) in self.resized.items():
            lines.append(f"resized     {path} {_shape(before)} -> {_shape(after)}")
        for word in ("remade", "missing", "unexpected", "ignored"):
            names = getattr(self, word)
            if names:
                more = f", ... ({len(names)})" if len(names) > 6 else ""
                lines.append(f"{word:<11} {', '.join(names[:6])}{more}")
        if self.told:
            told = ", ".join(f"{key}={value!r}" for key, value in sorted(self.told.items()))
            lines.append(f"config.json {told}")
        if self.assumed:
            assumptions = ", ".join(f"{key}={value!r}" for key, value in sorted(self.assumed.items()))
            lines.append(f"assumed     {assumptions}: files do not record these")
        for key, (usual, given) in self.given.items():
            lines.append(f"given       {key}={given!r}, where such weights usually have {usual!r}")
        return "\n".join(lines)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
