"""Exhibits of a report about segmentation."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vitax import page
from vitax.data.decode import viewable
from vitax.data.mask_files import overlay
from vitax.errors import UserError
from vitax.evals.segmentation import confusion, scores
from vitax.prediction import TrainedRun
from vitax.prediction.segmentation import segmenter
from vitax.report.exhibits import Exhibit, Maker, spread_out

WORST = 8  # images that are shown


class Segmented(NamedTuple):
    """An image of the test split, its true and its predicted classes, and their confusion matrix."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    matrix: np.ndarray


def segmented(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """How well each class is found, and the worst images beside their truth.

    Raises:
        UserError: none of the images can be read.
    """
    segment, rows, classes = segmenter(run), [], len(run.reader.record["class_names"])
    for i in spread_out(source, count):
        try:
            example = source[i]
        except (ValueError, OSError):
            continue
        image = np.asarray(example["image"])
        found = segment(run.variables, image).argmax(-1)
        matrix = confusion(found, example["mask"], classes)
        rows.append(Segmented(source.name(i), viewable(image), example["mask"], found, matrix))
    if not rows:
        raise UserError("none of the test images can be read")
    return [partial(each_class, rows, run.reader.record["class_names"]), partial(worst, rows)]


def each_class(rows: list[Segmented], names: list[str]) -> Exhibit:
    """Intersection over union, accuracy and share of the pixels of each class, the worst first."""
    matrix = np.sum([row.matrix for row in rows], axis=0)
    hits, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    union = true + found - hits
    iou = np.where(union > 0, hits / np.maximum(union, 1), np.nan)
    lines: list[tuple[Any, ...]] = []
    for k in np.argsort(np.where(np.isfinite(iou), iou, 2)):
        if union[k]:
            accuracy = float(hits[k] / true[k]) if true[k] else float("nan")
            lines.append((names[k], float(iou[k]), accuracy, f"{true[k] / matrix.sum():.1%}"))
    measured = scores(matrix)
    note = (
        f"Mean intersection over union {measured['miou']:.3f}, pixel accuracy {measured['pixel_accuracy']:.3f}, of "
        f"{len(rows)} test images at their own size."
    )
    table = page.table(("class", "intersection over union", "accuracy", "share of the pixels"), lines)
    return Exhibit("Classes", page.paragraph(note, note=True) + table)


def worst(rows: list[Segmented]) -> Exhibit:
    """The images with the smallest share of right pixels: image, truth, prediction."""
    right = [np.trace(row.matrix) / max(1, row.matrix.sum()) for row in rows]
    lines = []
    for i in np.argsort(right, kind="stable")[:WORST]:
        row = rows[i]
        pictures = [
            page.picture(row.image, page.text(row.name), side=256),
            page.picture(overlay(row.image, row.truth), "truth", side=256),
            page.picture(overlay(row.image, row.found), f"prediction, {right[i]:.1%} of the pixels right", side=256),
        ]
        lines.append(page.grid(pictures))
    return Exhibit("Worst images", "".join(lines), wide=True)
