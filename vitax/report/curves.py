"""metrics.jsonl as curves: a panel for each metric, a line for each split or each run."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vitax import page

POINTS = 500  # of a line; longer ones are thinned to means of neighbours
NOT_DRAWN = ("examples", "seconds", "corrupt")
STYLES = ("-", "--", ":", "-.")  # of splits, training first, where colours tell runs apart
DIAGNOSTICS = ("learning_rate", "gradient_norm", "parameter_norm", "data_wait", "skipped_steps")

# {name of a metric: (steps, values)}
Series = dict[str, tuple[np.ndarray, np.ndarray]]


def read_metrics(run: Path) -> Series:
    """The metrics of a run; lines that are damaged, and values that are not finite, are left out."""
    points: dict[str, list[tuple[int, float]]] = {}
    path = run / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            values = json.loads(line)
            step = values.pop("step")
        except (ValueError, KeyError, AttributeError):
            continue
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, []).append((step, value))
    return {
        name: (np.asarray([step for step, _ in pairs]), np.asarray([value for _, value in pairs]))
        for name, pairs in points.items()
    }


def panels(runs: Mapping[str, Series], best: str = "") -> dict[str, Figure]:
    """A figure for each metric that changes: the loss first, then ``best``, and measurements of speed last.

    Args:
        runs: {name: metrics}; lines are coloured by split if there is one run, else by run.
        best: metric that chooses the best checkpoint, "test/accuracy".
    """
    names = dict.fromkeys(name.partition("/")[2] for series in runs.values() for name in series)
    leading = ["loss", best.partition("/")[2]]

    def rank(name: str) -> int:
        if name in leading:
            return leading.index(name)
        return 3 + diagnostic(name)

    shown = sorted((name for name in names if name not in NOT_DRAWN), key=rank)
    return {name: _panel(name, runs) for name in shown if _changes(name, runs)}


def diagnostic(name: str) -> bool:
    """True for a metric of the training itself, not of its result."""
    return name in DIAGNOSTICS or name.endswith("_per_second")


def _changes(name: str, runs: Mapping[str, Series]) -> bool:
    return any(
        len(values[0]) > 1
        for series in runs.values()
        for key, values in series.items()
        if key.partition("/")[2] == name
    )


def _panel(name: str, runs: Mapping[str, Series]) -> Figure:
    figure = Figure(figsize=(3.6, 2.4), layout="constrained")
    panel = figure.subplots()
    keys = {key.partition("/")[::2] for series in runs.values() for key in series}
    drawn = {split for split, metric in keys if metric not in NOT_DRAWN}
    splits = sorted(drawn, key=lambda split: (split != "train", split))
    for number, (run, series) in enumerate(runs.items()):
        for key, (steps, values) in series.items():
            split, _, metric = key.partition("/")
            if metric != name:
                continue
            alone = len(runs) == 1
            color = page.COLORS[(splits.index(split) if alone else number) % len(page.COLORS)]
            style = "-" if alone else STYLES[splits.index(split) % len(STYLES)]
            label = split if alone else f"{split} of {run}"
            marker = "." if len(steps) < 30 else ""
            panel.plot(*thinned(steps, values), style, marker=marker, color=color, label=label, lw=1.2)
    panel.set_title(name.replace("_", " "), fontsize=10)
    panel.set_xlabel("step", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)
    if len(panel.lines) > 1:
        for text in panel.legend(fontsize=7).get_texts():
            text.set_parse_math(False)  # a run may have $ in its name
    return figure


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points: means of as many neighbours as it takes."""
    group = -(-len(steps) // POINTS)
    edges = np.arange(0, len(steps), group)
    counts = np.diff([*edges, len(steps)])
    return np.add.reduceat(steps.astype(float), edges) / counts, np.add.reduceat(values.astype(float), edges) / counts


def final(runs: Sequence[Series]) -> dict[str, list[float | None]]:
    """{metric: its last value in each run}, of metrics that were evaluated, not those of training."""
    names = dict.fromkeys(name for series in runs for name in series if not name.startswith("train/"))
    return {name: [float(series[name][1][-1]) if name in series else None for series in runs] for name in names}


def curves_section(runs: Mapping[str, Path], best: str) -> str:
    """The section of a page that has `panels` of one run or of several."""
    figures = panels({name: read_metrics(run) for name, run in runs.items()}, best)
    if not figures:
        return page.section("Curves", page.paragraph("There are too few points in metrics.jsonl yet."))
    charts = {name: page.chart(figure, f"{name.replace('_', ' ')} by step") for name, figure in figures.items()}
    parts = [page.grid(chart for name, chart in charts.items() if not diagnostic(name))]
    if diagnostics := [chart for name, chart in charts.items() if diagnostic(name)]:
        parts.append(page.folded("diagnostics", page.grid(diagnostics)))
    return page.section("Curves", *parts, wide=True)
