"""Results of several runs with several seeds: a CSV, a table of means and standard deviations, a plot."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Row = dict[str, Any]
TEXTS = ("variant", "command")


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows as a CSV that has a column for every key of any row."""
    path.parent.mkdir(exist_ok=True)
    names = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(names), restval="")
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[Row]:
    """The rows of a CSV that `write` has written; all values but TEXTS are float, or None if empty."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {k: v if k in TEXTS else float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
        ]


def grouped(rows: Sequence[Row], metric: str) -> dict[tuple[str, float | None], list[float]]:
    """{(variant, x): values of all seeds}, for the variants that have the metric."""
    groups: dict[tuple[str, float | None], list[float]] = {}
    for row in rows:
        if row.get(metric) is not None:
            groups.setdefault((row["variant"], row["x"]), []).append(row[metric])
    return groups


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def markdown(rows: Sequence[Row], metrics: Mapping[str, str], x: str = "") -> str:
    """A Markdown table with a line for each variant: mean and, for several seeds, standard deviation of each metric.

    Args:
        rows: {"variant", "x", metric: value} for each run; "x" is a number, or None.
        metrics: {metric: its title}.
        x: title of the numbers "x".
    """
    columns = {metric: grouped(rows, metric) for metric in metrics}
    keys = dict.fromkeys(key for groups in columns.values() for key in groups)
    with_x = any(number is not None for _, number in keys)
    head = ["variant", *([x] if with_x else []), *metrics.values(), "seeds"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for key in keys:
        cells = [key[0], *([f"{key[1]:g}" if key[1] is not None else ""] if with_x else [])]
        for groups in columns.values():
            values = groups.get(key)
            mean = f"{statistics.mean(values):.3f}" if values else ""
            cells.append(f"{mean} ± {spread(values):.3f}" if values and len(values) > 1 else mean)
        count = max(len(groups.get(key, ())) for groups in columns.values())
        lines.append(f"| {' | '.join([*cells, str(count)])} |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], metrics: Mapping[str, str], path: Path, x: str = "") -> None:
    """Draws the first of the metrics, with standard deviations over seeds as bars.

    If any variant has an x, each series is a line over x, and a variant without x is a dashed level. Otherwise each
    variant is a column of dots.

    Args:
        rows: as for `markdown`.
        metrics: {metric: its title}.
        path: file of the picture.
        x: title of the numbers "x".
    """
    metric = next(iter(metrics))
    groups = grouped(rows, metric)
    figure = Figure(figsize=(6, 3.6), dpi=120, layout="constrained")
    panel = figure.subplots()
    if any(number is not None for _, number in groups):
        for number, name in enumerate(dict.fromkeys(series for series, _ in groups)):
            line = {place: values for (series, place), values in groups.items() if series == name}
            means = [statistics.mean(values) for values in line.values()]
            if None in line:  # without x: a level to compare with
                panel.axhline(means[0], ls="--", color=f"C{number}", label=name)
                continue
            panel.errorbar(
                [place for place in line if place is not None],
                means,
                [spread(v) for v in line.values()],
                marker="o",
                capsize=3,
                color=f"C{number}",
                label=name,
            )
        numbers = [value for _, value in groups if value is not None]
        panel.set_xlabel(x)
        panel.legend()
        if min(numbers) > 0 and max(numbers) / min(numbers) > 8:
            panel.set_xscale("log")
        panel.set_xticks(sorted(set(numbers)), [f"{value:g}" for value in sorted(set(numbers))])
        panel.minorticks_off()
    else:
        for position, values in enumerate(groups.values()):
            panel.plot([position] * len(values), values, ".", color="0.6")
            panel.errorbar(position, statistics.mean(values), spread(values), marker="o", capsize=4, color="C0")
        names = [name for name, _ in groups]
        wide = len(names) > 4 or len(" ".join(names)) > 50
        slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if wide else {}
        panel.set_xticks(range(len(names)), names, **slanted)
    panel.set_ylabel(metrics[metric])
    panel.grid(alpha=0.3)
    figure.savefig(path)
