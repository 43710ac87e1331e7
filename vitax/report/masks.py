"""Exhibits of a report about segmentation."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vitax import page
from vitax.data.drawing import viewable
from vitax.data.mask_files import overlay
from vitax.errors import UserError
from vitax.evals.segmentation import confusion, scores
from vitax.prediction import TrainedRun
from vitax.prediction.segmentation import segmenter
from vitax.report.exhibits import Exhibit, Maker, spread_out

WORST = 8  # images that are shown


class Segmented(NamedTuple):
    """An image of the test split, its true and its predicted classes, and the share of the pixels that are right."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    right: float


def segmented(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """How well each class is found, and the worst images beside their truth.

    Raises:
        UserError: none of the images can be read, or no pixel of them counts.
    """
    segment, names = segmenter(run), run.reader.record["class_names"]
    total, images = np.zeros((len(names), len(names)), np.int64), 0
    rows: list[Segmented] = []  # the worst only: images may be large
    for i in spread_out(source, count):
        try:
            example = source[i]
        except (ValueError, OSError):
            continue
        image = np.asarray(example["image"])
        found = segment(run.variables, image)
        matrix = confusion(found, example["mask"], len(names))
        if not matrix.sum():
            continue
        total, images = total + matrix, images + 1
        right = float(np.trace(matrix) / matrix.sum())
        rows.append(Segmented(source.name(i), viewable(image), example["mask"], found, right))
        rows = sorted(rows, key=lambda row: row.right)[:WORST]
    if not rows:
        raise UserError("none of the test images can be read")
    return [partial(each_class, total, images, names), partial(worst, rows)]


def each_class(matrix: np.ndarray, images: int, names: list[str]) -> Exhibit:
    """Intersection over union, accuracy and share of the pixels of each class, the worst first."""
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
        f"{images} test images at their own size."
    )
    table = page.table(("class", "intersection over union", "accuracy", "share of the pixels"), lines)
    return Exhibit("Classes", page.paragraph(note, note=True) + table)


def worst(rows: list[Segmented]) -> Exhibit:
    """The images with the smallest share of right pixels: image, truth, prediction."""
    lines = []
    for row in rows:
        pictures = [
            page.picture(row.image, row.name, side=256),
            page.picture(overlay(row.image, row.truth), "truth", side=256),
            page.picture(overlay(row.image, row.found), f"prediction, {row.right:.1%} of the pixels right", side=256),
        ]
        lines.append(page.grid(pictures))
    return Exhibit("Worst images", "".join(lines), wide=True)
