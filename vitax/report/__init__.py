"""A run on one page, or several compared: what they were, how it went and, of one, what its model does, in pictures.

EXHIBITS is the table of what is shown for each task.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitax import workdir
from vitax.build import open_pipeline
from vitax.config import differences, flatten, from_json
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.prediction import load_run
from vitax.report import page
from vitax.report.curves import final, panels, read_metrics
from vitax.report.exhibits import Maker
from vitax.report.images import classified, matched, pruned, reconstructed, restored
from vitax.report.texts import classified_texts, continuations, guessed, translated
from vitax.schema import resolve

LOGGER = logging.getLogger("vitax")

# (run, source of the test split, how many examples) -> what makes each thing that is shown.
EXHIBITS: dict[str, Callable[..., list[Maker]]] = {
    "classification": classified,
    "token_pruning": pruned,
    "masked_image": reconstructed,
    "contrastive": matched,
    "restoration": restored,
    "translation": translated,
    "language": continuations,
    "masked_words": guessed,
    "text_classification": classified_texts,
}


def report(run: Path, examples: int, source: Source | None = None) -> str:
    """One run as HTML.

    Args:
        run: its folder.
        examples: of the test split that its best checkpoint is tried on; 0 = none, numbers and curves only.
        source: the test split, if it is open.
    """
    config, summary = resolve(workdir.read_config(run)), _json(run / "summary.json")
    parts = [
        f"<h1>{page.text(run.resolve().name)}</h1>",
        page.paragraph(page.text(_headline(config, summary)), note=True),
        _results(run, summary),
        _curves({run.name: run}, config["evals"]["best"]),
    ]
    if examples:
        parts += _exhibits(run, config, examples, source)
    parts.append(_configuration(run, config))
    return page.document(run.resolve().name, *parts)


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
    configs = [flatten(resolve(workdir.read_config(run))) for run in runs]
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
        _curves(named, configs[0].get("evals.best", "")),
    )


def _json(path: Path) -> dict[str, Any]:
    """The content of a file that may not be there."""
    return from_json(path.read_text()) if path.is_file() else {}


def _headline(config: dict[str, Any], summary: dict[str, Any]) -> str:
    told = f"{config['model']['name']}, {config['task']['name']}, {config['data']['name']}; {config['duration']} of batch {config['batch_size']}"
    if summary:
        hardware, versions = summary["hardware"], summary["versions"]
        told += (
            f"; {summary['step']:,} steps in {summary['seconds']:,.0f} s on {hardware['devices']} x {hardware['device']}; "
            f"vitax {versions['vitax']}, jax {versions['jax']}"
        )
    return f"{told}; written {time.strftime('%Y-%m-%d %H:%M')}"


def _results(run: Path, summary: dict[str, Any]) -> str:
    if not summary:
        return page.section("Results", page.paragraph("The run is not finished: there is no summary.json yet."))
    best = summary["best"]
    told = (
        f"Best: {best['metric']} {best['value']:.4f} at step {best['step']:,}."
        if best["step"] is not None and best["value"] is not None
        else ""
    )
    values = {name: value for name, value in summary["metrics"].items() if value is not None}
    splits = list(dict.fromkeys(name.partition("/")[0] for name in values))
    metrics = dict.fromkeys(name.partition("/")[2] for name in values)
    rows = [(metric, *(float(values.get(f"{split}/{metric}", math.nan)) for split in splits)) for metric in metrics]
    parts = [page.paragraph(page.text(told)) if told else "", page.table(("at the end", *splits), rows)]
    return page.section("Results", *parts)


def _curves(runs: dict[str, Path], best: str) -> str:
    figures = panels({name: read_metrics(run) for name, run in runs.items()}, best)
    body = (
        page.grid(map(page.chart, figures))
        if figures
        else page.paragraph("There are too few points in metrics.jsonl yet.")
    )
    return page.section("Curves", body)


def _exhibits(run: Path, config: dict[str, Any], examples: int, source: Source | None) -> list[str]:
    """What the model does. What cannot be shown is reported, in the page and in the log: it is not worth a run."""
    try:
        trained = load_run(run)
        source = open_pipeline(config, run).splits.test if source is None else source
        makers = EXHIBITS[config["task"]["name"]](trained, source, examples)
    except Exception as error:
        return [_missing("the pictures", error)]
    sections = []
    for make in makers:
        try:
            if exhibit := make():
                sections.append(page.section(exhibit.title, exhibit.body))
        except Exception as error:
            sections.append(_missing("a picture", error))
    return sections


def _missing(what: str, error: Exception) -> str:
    """The section that stands where something could not be made."""
    reason = f"{type(error).__name__}: {error}"
    LOGGER.warning("%s of the report could not be made: %s", what, reason, exc_info=not isinstance(error, UserError))
    return page.section("Missing", page.paragraph(page.text(f"Here {what} could not be made: {reason}")))


def _configuration(run: Path, config: dict[str, Any]) -> str:
    recipe = _json(run / workdir.RECIPE)
    parts = []
    if recipe:
        changed = differences(resolve(recipe["config"]), config)
        told = f"Against {recipe['spec']}: " + ("nothing changed." if not changed else "")
        parts = [page.paragraph(page.text(told)), page.table((), [(line,) for line in changed])]
    every = page.table((), [(key, repr(value)) for key, value in flatten(config).items()])
    return page.section("Config", *parts, f"<details><summary>every key</summary>{every}</details>")
