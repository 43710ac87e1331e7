"""Exhibits of a report about detection."""

from functools import partial
from typing import Any

import numpy as np

from vitax import page
from vitax.data.drawing import boxed, viewable
from vitax.evals.detection import Tally, in_pixels
from vitax.prediction import TrainedRun
from vitax.report.exhibits import Exhibit, Maker, shown

SHOWN = 8  # images
SURE = 0.5  # score from which an object is drawn


def detected(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """How well each class is found, and the images with the most mistakes beside their truth.

    Raises:
        UserError: none of the images can be read.
    """
    names = tuple(run.reader.record["class_names"])
    tally, rows = Tally(names), []
    for item in shown(run, source, count):
        tally.add(item.example, item.row)
        # Pictures at the size of the model would take gigabytes; those that are shown are read again.
        rows.append(item._replace(example={name: x for name, x in item.example.items() if name != "image"}))
    mistakes = [_mistakes(item.example, item.row, len(names)) for item in rows]
    worst = [rows[i] for i in np.argsort(mistakes, kind="stable")[::-1][:SHOWN]]
    return [partial(each_class, tally), partial(pictures, worst, source, names)]


def _mistakes(example: dict[str, Any], row: dict[str, np.ndarray], classes: int) -> int:
    """By how many the true and the found numbers of objects differ, summed over the classes."""
    there = (example["label"] >= 0) & ~example["ignored"]
    true = np.bincount(example["label"][there], minlength=classes)
    found = np.bincount(row["classes"][row["scores"] >= SURE], minlength=classes)
    return int(np.abs(true - found).sum())


def each_class(tally: Tally) -> Exhibit:
    """Average precision of each class, the worst first."""
    scores = tally.scores()
    note = (
        f"AP {scores['ap']:.3f}, AP50 {scores['ap50']:.3f}, AP75 {scores['ap75']:.3f} of {len(tally.images)} test images, as COCO "
        "defines them."
    )
    lines = sorted(tally.of_classes(), key=lambda line: line[1])
    table = page.table(("class", "AP", "AP50", "objects"), lines)
    return Exhibit("Classes", page.paragraph(note, note=True) + table)


def pictures(rows: list[Any], source: Any, names: tuple[str, ...]) -> Exhibit:
    """Images with the true and the found objects, those with the most mistakes in their number first."""
    lines = []
    for item in rows:
        image = viewable(np.asarray(source[item.index]["image"]))
        there = item.example["label"] >= 0
        sure = item.row["scores"] >= SURE
        true, found = (
            (in_pixels(side["boxes"][chosen], item.example["original"]), side[key][chosen].tolist())
            for side, key, chosen in ((item.example, "label", there), (item.row, "classes", sure))
        )
        words = [f"{names[k]} {p:.2f}" for k, p in zip(found[1], item.row["scores"][sure], strict=True)]
        both = [
            page.picture(boxed(image, *true, [names[k] for k in true[1]]), source.name(item.index), side=320),
            page.picture(boxed(image, *found, words), f"found, with scores from {SURE}", side=320),
        ]
        lines.append(page.grid(both))
    return Exhibit("Images with the most mistakes", "".join(lines), wide=True)
