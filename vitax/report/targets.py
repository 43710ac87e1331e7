"""Exhibits of a report about images or texts with several labels, or with numbers."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vitax import page
from vitax.evals.targets import average_precisions, explained
from vitax.prediction import TrainedRun
from vitax.report.exhibits import Exhibit, Maker, Shown, looks_of, shown
from vitax.report.inside import inside

DRAWN = 6  # numbers that are drawn, predicted against true
SHOWN = 12  # examples of a list


def labelled(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """How well each label is found, the worst mistakes, and what is inside a ViT."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [
        partial(each_label, rows, names),
        partial(most_wrong, rows, names, source),
        partial(inside, run, rows),
    ]


def each_label(rows: list[Shown], names: list[str]) -> Exhibit:
    """Average precision, precision and recall of each label, the worst first."""
    probabilities, labels = _stacked(rows, "probabilities")
    found = average_precisions(probabilities, labels)
    lines: list[tuple[Any, ...]] = []
    for k in np.argsort(np.where(np.isfinite(found), found, 2)):
        taken, has, known = probabilities[:, k] >= 0.5, labels[:, k] == 1, np.isfinite(labels[:, k])
        hits = int((taken & has).sum())
        precision = hits / int((taken & known).sum()) if (taken & known).any() else float("nan")
        recall = hits / int(has.sum()) if has.any() else float("nan")
        lines.append((names[k], float(found[k]), precision, recall, int(has.sum())))
    note = page.paragraph(f"Precision and recall at a probability of a half, {len(rows)} test examples.", note=True)
    head = ("label", "average precision", "precision", "recall", "examples")
    return Exhibit("Labels", note + page.table(head, lines))


def most_wrong(rows: list[Shown], names: list[str], source: Any) -> Exhibit:
    """The labels that were missed, or given, with the most certainty."""
    probabilities, labels = _stacked(rows, "probabilities")
    errors = np.nan_to_num(np.abs(probabilities - labels))
    found = []
    for flat in np.argsort(-errors, axis=None)[:SHOWN]:
        i, k = divmod(int(flat), errors.shape[1])
        if errors[i, k] < 0.5:
            break
        what = "missed" if labels[i, k] else "given wrongly"
        found.append((rows[i], f"{names[k]} {what} ({probabilities[i, k]:.0%})"))
    return Exhibit("Worst mistakes", _listed(found, source))


def estimated(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """Predicted against true numbers, the largest errors, and what is inside a ViT."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [
        partial(each_number, rows, names),
        partial(farthest, rows, names, source, run.reader.record["target_std"]),
        partial(inside, run, rows),
    ]


def each_number(rows: list[Shown], names: list[str]) -> Exhibit:
    """Predicted against true numbers."""
    values, targets = _stacked(rows, "values")
    shares, charts = explained(values, targets), []
    for k, name in enumerate(names[:DRAWN]):
        figure = Figure(figsize=(3.2, 3.0), layout="constrained")
        panel = figure.subplots()
        panel.scatter(targets[:, k], values[:, k], s=10, color=looks_of(0)[0], linewidths=0)
        both = [np.nanmin(targets[:, k]), np.nanmax(targets[:, k])]
        panel.plot(both, both, color="grey", linewidth=1, linestyle="--")
        panel.set(xlabel=f"{name}, true", ylabel="predicted")
        charts.append(page.chart(figure, f"{name}: predicted against true"))
    lines = [
        (name, float(np.nanmean(np.abs(values[:, k] - targets[:, k]))), float(shares[k]))
        for k, name in enumerate(names)
    ]
    return Exhibit("Predicted and true", page.table(("number", "mean absolute error", "R2"), lines) + "".join(charts))


def farthest(rows: list[Shown], names: list[str], source: Any, std: list[float]) -> Exhibit:
    """The largest errors, in standard deviations of the training."""
    values, targets = _stacked(rows, "values")
    errors = np.nan_to_num(np.abs(values - targets) / np.asarray(std))
    found = []
    for flat in np.argsort(-errors, axis=None)[:SHOWN]:
        i, k = divmod(int(flat), errors.shape[1])
        found.append((rows[i], f"{names[k]} {targets[i, k]:.4g}, predicted {values[i, k]:.4g}"))
    return Exhibit("Largest errors", _listed(found, source))


def _listed(found: list[tuple[Shown, str]], source: Any) -> str:
    """Examples with what is said about each: pictures, or a table of texts."""
    if not found:
        return page.paragraph("None among these examples.")
    if "image" not in found[0][0].example:
        lines = [(said, " | ".join(source.source[item.index]["texts"])[:300]) for item, said in found]
        return page.table(("prediction", "text"), lines)
    pictures = [
        page.picture(item.example["image"], f"{said}, {Path(source.name(item.index)).name}") for item, said in found
    ]
    return page.grid(pictures)


def _stacked(rows: list[Shown], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets, both [n, T] float64."""
    predicted, true = ([item.row[name] for item in rows], [item.example["target"] for item in rows])
    return np.asarray(predicted, np.float64), np.asarray(true, np.float64)
