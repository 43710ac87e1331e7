"""Average precision of detected objects, as COCO defines it, by pycocotools."""

import contextlib
import io
from typing import Any

import numpy as np

from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables

MEASURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
Arrays = dict[str, np.ndarray]


def in_pixels(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Boxes as shares of a picture in pixels of it.

    Args:
        boxes: [n, 4] centre (x, y), width and height.
        size: [2] int, height and width of the picture.

    Returns:
        [n, 4] left, top, right, bottom.
    """
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1) * np.array([size[1], size[0], size[1], size[0]])


def _lengths(corners: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom [n, 4] as left, top, width, height."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


class Tally:
    """The true and the detected objects of a split.

    Args:
        names: names of the classes.
    """

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.images: list[dict[str, Any]] = []
        self.true: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    def add(self, example: Arrays, row: Arrays) -> None:
        """Adds an image.

        Args:
            example: "boxes" [N, 4], "label", "ignored", "area" [N] and "original" [2], see `BoxTransform`.
            row: "boxes" [Q, 4], "scores" and "classes" [Q], what is detected.
        """
        number = len(self.images) + 1
        height, width = (int(side) for side in example["original"])
        self.images.append({"id": number, "height": height, "width": width})
        there = example["label"] >= 0
        for box, label, ignored, area in zip(
            _lengths(in_pixels(example["boxes"][there], example["original"])),
            *(example[name][there] for name in ("label", "ignored", "area")),
            strict=True,
        ):
            self.true.append(
                {
                    "id": len(self.true) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": int(ignored),
                }
            )
        for box, label, score in zip(
            _lengths(in_pixels(row["boxes"], example["original"])), row["classes"], row["scores"], strict=True
        ):
            self.found.append(
                {"image_id": number, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
            )

    def evaluated(self) -> Any:
        """`pycocotools.cocoeval.COCOeval` after its accumulation; it prints nothing."""
        from pycocotools.coco import COCO  # it takes a third of a second to import
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            categories = [{"id": k, "name": name} for k, name in enumerate(self.names)]
            truth.dataset = {"info": {}, "images": self.images, "annotations": self.true, "categories": categories}
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(self.found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation

    def scores(self) -> dict[str, float]:
        """The measures of COCO, 0..1; NaN where no object counts, such as none of that size."""
        if not self.found:
            return dict.fromkeys(MEASURES, float("nan"))
        values = self.evaluated().stats[: len(MEASURES)]
        return {name: float(v) if v >= 0 else float("nan") for name, v in zip(MEASURES, values, strict=True)}

    def of_classes(self) -> list[tuple[str, float, float, int]]:
        """Of each class that occurs: its name, average precision, that at an overlap of a half, and its number of objects."""
        precision = self.evaluated().eval["precision"][:, :, :, 0, -1]  # [overlap, recall, class]
        counts = np.bincount(
            [note["category_id"] for note in self.true if not note["iscrowd"]], minlength=len(self.names)
        )
        return [
            (self.names[k], float(precision[:, :, k].mean()), float(precision[0, :, k].mean()), int(counts[k]))
            for k in np.flatnonzero(counts)
        ]


def average_precision(given: Given, *, average_precision: bool = True) -> Evaluation | None:
    """Detects the objects of the test split, and compares them with the true ones as COCO does.

    Measures "ap", the mean average precision over the overlaps 0.5, 0.55, ..., 0.95, and "ap50" and "ap75" at one overlap;
    "ap_small", "ap_medium" and "ap_large" of objects below 32^2, from 32^2 to 96^2, and above 96^2 pixels of the decoded picture; and
    "ar1", "ar10" and "ar100", the mean recall with so many detections for each image. All are 0..1.

    Args:
        average_precision: False = off.
    """
    if not average_precision:
        return None
    predict = choose(given.task, "scores", "classes", "boxes")
    names = tuple(given.reader.record["class_names"])

    def run(variables: Variables) -> dict[str, float]:
        tally = Tally(names)
        for batch, out in predicted(predict, variables, given.test, given.mesh):
            for i in range(len(batch["original"])):
                tally.add({name: x[i] for name, x in batch.items()}, {name: x[i] for name, x in out.items()})
        return tally.scores()

    return Evaluation(MEASURES, run)
