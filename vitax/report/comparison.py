"""Several runs compared on one page."""

import json
import statistics
from pathlib import Path
from typing import Any

from vitax import page, rundir
from vitax.config import flatten
from vitax.errors import UserError
from vitax.reading import outline
from vitax.report.curves import curves_section, final, read_metrics
from vitax.resolve import resolve


def comparison(runs: list[Path]) -> str:
    """Several runs as HTML: overlaid curves, last values side by side, and what differs in their configs.

    Raises:
        UserError: two have the same name.
    """
    named = {str(run): run for run in runs}
    if len(named) < len(runs):
        raise UserError("a run is named twice")
    short = {run.resolve().name: run for run in runs}
    named = short if len(short) == len(runs) else named
    resolved = [resolve(rundir.read_config(run)) for run in runs]
    configs = [flatten(config) for config in resolved]
    keys = sorted({key for config in configs for key in config})
    rows = [(key, *(repr(config[key]) if key in config else "" for config in configs)) for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    values = final([read_metrics(run) for run in runs])
    metrics = [(name, *("" if value is None else value for value in row)) for name, row in values.items()]
    return page.document(
        f"{len(runs)} runs",
        f"<h1>{len(runs)} runs</h1>",
        *_seeds(list(named), runs, configs),
        page.section("Last values", page.table(("", *named), metrics)),
        page.section(
            "What differs in their configs",
            page.table(("", *named), differing) if differing else page.paragraph("Nothing."),
        ),
        curves_section(named, outline(resolved[0]).best),
    )


def _seeds(names: list[str], runs: list[Path], configs: list[dict[str, Any]]) -> list[str]:
    """A section with mean and standard deviation of runs whose configs differ only in their seeds; [] if there are no such runs."""
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        same = {key: value for key, value in config.items() if key != "seed"}
        groups.setdefault(repr(sorted(same.items())), []).append(i)
    if all(len(members) == 1 for members in groups.values()):
        return []
    rows = []
    for members in groups.values():
        summaries = [_summary(runs[i]) for i in members]
        metric = summaries[0].get("best", {}).get("metric", "")
        best = [summary["best"]["value"] for summary in summaries if summary.get("best", {}).get("value") is not None]
        last = [x for summary in summaries if (x := summary.get("metrics", {}).get(metric)) is not None]
        rows.append((", ".join(names[i] for i in members), metric, _spread(best), _spread(last), len(best)))
    head = ("runs that differ only in their seeds", "metric", "best", "last", "finished")
    return [page.section("Seeds", page.table(head, rows), wide=True)]


def _summary(run: Path) -> dict[str, Any]:
    path = run / "summary.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _spread(values: list[float]) -> str:
    """Mean and, for several values, sample standard deviation."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"
