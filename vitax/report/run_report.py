"""A run on one page: its settings, its curves, its results, and pictures of what its model does.

EXHIBITS is the table of what is shown for each task.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitax import page, rundir
from vitax.build import open_pipeline
from vitax.config import differences, flatten, from_json
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.monitoring.progress import duration
from vitax.prediction import TrainedRun, load_run
from vitax.reading import Outline, outline
from vitax.report.curves import curves_section
from vitax.report.exhibits import Maker
from vitax.report.images import classified, matched, pruned, reconstructed, restored
from vitax.report.masks import segmented
from vitax.report.objects import detected
from vitax.report.targets import estimated, labelled
from vitax.report.texts import classified_texts, continuations, guessed, translated
from vitax.resolve import resolve

MISSING = "could not be made"
LOGGER = logging.getLogger("vitax")

# (run, source of the test split, how many examples) -> what makes each thing that is shown.
EXHIBITS: dict[str, Callable[..., list[Maker]]] = {
    "classification": classified,
    "multilabel": labelled,
    "regression": estimated,
    "token_pruning": pruned,
    "masked_image": reconstructed,
    "contrastive": matched,
    "restoration": restored,
    "segmentation": segmented,
    "detection": detected,
    "translation": translated,
    "language": continuations,
    "masked_words": guessed,
    "text_classification": classified_texts,
    "text_multilabel": labelled,
    "text_regression": estimated,
}


def _nothing(run: TrainedRun, source: Source, examples: int) -> list[Maker]:
    """For an objective that is not in the table: curves and numbers only."""
    return []


def report(run: Path, examples: int, source: Source | None = None) -> str:
    """One run as HTML.

    Args:
        run: its folder.
        examples: of the test split that its best checkpoint is tried on; 0 = none, numbers and curves only.
        source: the test split, if it is open.
    """
    config, summary = resolve(rundir.read_config(run)), _json(run / "summary.json")
    about = outline(config)
    parts = [
        f"<h1>{page.text(run.resolve().name)}</h1>",
        page.paragraph(page.text(_headline(about, summary)), note=True),
        page.tiles(_tiles(about, summary)),
        _results(run, summary),
        curves_section({run.name: run}, about.best),
    ]
    if examples:
        parts += _exhibits(run, config, examples, source)
    if (run / rundir.WEIGHTS).is_file():
        lines = (run / rundir.WEIGHTS).read_text(encoding="utf-8").splitlines()
        parts.append(page.section("Weights it started from", *(page.paragraph(page.text(line)) for line in lines)))
    parts.append(_configuration(run, config))
    return page.document(run.resolve().name, *parts)


def _json(path: Path) -> dict[str, Any]:
    """The content of a file that may not be there."""
    return from_json(path.read_text()) if path.is_file() else {}


def _headline(about: Outline, summary: dict[str, Any]) -> str:
    headline = f"{about.model}, {about.task}, {about.data}; {about.duration} of batch {about.batch_size}"
    if summary:
        hardware, versions = summary["hardware"], summary["versions"]
        headline += (
            f"; {summary['step']:,} steps in {summary['seconds']:,.0f} s on {hardware['devices']} x {hardware['device']}; "
            f"vitax {versions['vitax']}, jax {versions['jax']}"
        )
    return f"{headline}; written {time.strftime('%Y-%m-%d %H:%M')}"


def _tiles(about: Outline, summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The values that a reader looks for first; those that an older summary lacks are left out."""
    tiles = []
    best = summary.get("best", {})
    if best.get("value") is not None:
        tiles.append((f"{best['value']:.4f}", f"best {best['metric']}, at step {best['step']:,}"))
    if examples := summary.get("examples"):
        tiles.append((f"{examples['train']:,}", f"{examples['unit']} to learn from, {examples['test']:,} to test"))
    if "seconds" in summary:
        tiles.append((duration(summary["seconds"]), f"of training, {summary['step']:,} steps"))
    if "parameters" in summary:
        tiles.append((f"{summary['parameters']:,}", "parameters"))
    tiles.append((Path(about.init_from).name or "random", "weights it started from"))
    return tiles


def _results(run: Path, summary: dict[str, Any]) -> str:
    if not summary:
        return page.section("Results", page.paragraph("The run is not finished: there is no summary.json yet."))
    best = summary["best"]
    sentence = (
        f"Best: {best['metric']} {best['value']:.4f} at step {best['step']:,}."
        if best["step"] is not None and best["value"] is not None
        else ""
    )
    values = {name: value for name, value in summary["metrics"].items() if value is not None}
    splits = list(dict.fromkeys(name.partition("/")[0] for name in values))
    metrics = dict.fromkeys(name.partition("/")[2] for name in values)
    rows = [(metric, *(float(values.get(f"{split}/{metric}", math.nan)) for split in splits)) for metric in metrics]
    parts = [page.paragraph(page.text(sentence)) if sentence else "", page.table(("at the end", *splits), rows)]
    return page.section("Results", *parts)


def _exhibits(run: Path, config: dict[str, Any], examples: int, source: Source | None) -> list[str]:
    """The exhibits of the task. One that cannot be made is reported in the page and in the log: it must not end the run."""
    try:
        trained = load_run(run)
        source = open_pipeline(config, run).splits.test if source is None else source
        makers = EXHIBITS.get(trained.task_name, _nothing)(trained, source, examples)
    except Exception as error:
        return [_missing("the pictures", error)]
    sections = []
    for make in makers:
        try:
            if exhibit := make():
                sections.append(page.section(exhibit.title, exhibit.body, wide=exhibit.wide))
        except Exception as error:
            sections.append(_missing("a picture", error))
    return sections


def _missing(what: str, error: Exception) -> str:
    """The section that stands where something could not be made."""
    reason = f"{type(error).__name__}: {error}"
    LOGGER.warning("%s of the report could not be made: %s", what, reason, exc_info=not isinstance(error, UserError))
    return page.section("Missing", page.paragraph(page.text(f"Here {what} {MISSING}: {reason}")))


def _configuration(run: Path, config: dict[str, Any]) -> str:
    recipe = _json(run / rundir.RECIPE)
    parts = []
    if recipe:
        changed = differences(resolve(recipe["config"]), config)
        sentence = f"Against {recipe['spec']}: " + ("nothing changed." if not changed else "")
        parts = [page.paragraph(page.text(sentence)), page.table((), [(line,) for line in changed])]
    every = page.table((), [(key, repr(value)) for key, value in flatten(config).items()])
    return page.section("Config", *parts, page.folded("every key", every), wide=True)
