"""What happened to each tensor when weights were loaded."""

from dataclasses import dataclass, field

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
    """

    format: str = ""
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    remade: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.format}: {len(self.loaded)} parameters loaded, "
            f"{len(self.reshaped)} of them laid out anew"
        ]
        for path, (before, after) in self.resized.items():
            lines.append(f"resized     {path} {_shape(before)} -> {_shape(after)}")
        for word in ("remade", "missing", "unexpected", "ignored"):
            names = getattr(self, word)
            if names:
                more = f", ... ({len(names)})" if len(names) > 6 else ""
                lines.append(f"{word:<11} {', '.join(names[:6])}{more}")
        return "\n".join(lines)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
