"""What happened to each tensor when weights were loaded."""

from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass
class Report:
    """Names are the file's in ``unexpected`` and ``ignored``, else paths of our variables.

    loaded: taken from the file.
    reshaped: among them, those that lie in another layout here: transposed, joined, split.
    resized: interpolated to another grid, with both shapes.
    remade: not taken, because another size or number of classes was asked for; freshly initialised.
    missing: not in the file, allowed by the caller; freshly initialised.
    unexpected: in the file, but not of this model; allowed by the caller.
    ignored: in the file, but no parameters.
    assumed: fields that neither the file nor the caller told, with the usual value that was taken.
    given: fields that the caller set otherwise than is usual for such files: (usual, given).
    """

    format: str = ""
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    remade: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    assumed: dict[str, Any] = field(default_factory=dict)
    given: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.format}: {len(self.loaded)} parameters loaded, {len(self.reshaped)} of them laid out anew"]
        for path, (before, after) in self.resized.items():
            lines.append(f"resized     {path} {_shape(before)} -> {_shape(after)}")
        for word in ("remade", "missing", "unexpected", "ignored"):
            names = getattr(self, word)
            if names:
                more = f", ... ({len(names)})" if len(names) > 6 else ""
                lines.append(f"{word:<11} {', '.join(names[:6])}{more}")
        if self.assumed:
            spelled = ", ".join(f"{key}={value!r}" for key, value in sorted(self.assumed.items()))
            lines.append(f"assumed     {spelled}: no file tells these")
        for key, (usual, given) in self.given.items():
            lines.append(f"given       {key}={given!r}, where such weights usually have {usual!r}")
        return "\n".join(lines)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
