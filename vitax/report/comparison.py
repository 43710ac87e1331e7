"""Several runs compared on one page."""

from pathlib import Path

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
        page.section("Last values", page.table(("", *named), metrics)),
        page.section(
            "What differs in their configs",
            page.table(("", *named), differing) if differing else page.paragraph("Nothing."),
        ),
        curves_section(named, outline(resolved[0]).best),
    )
