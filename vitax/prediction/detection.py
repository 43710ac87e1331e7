"""Objects found in images by a run of detection."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vitax.data.drawing import boxed, viewable
from vitax.evals.detection import in_pixels
from vitax.prediction.images import image_readers, number_of
from vitax.prediction.trained import TrainedRun, predictions


def detect(run: TrainedRun, images: Iterable[Any], *, threshold: float | str = 0.5) -> Iterator[dict[str, Any]]:
    """Objects in images: {"file", "objects", "boxed": [H, W, 3] uint8} for each.

    An object is {"label", "score", "box": [left, top, right, bottom] in pixels}; the best are first. The pixels are those of the
    picture as it is decoded: upright by its EXIF data, and smaller than in its file if that has more than ``data.max_pixels``.
    "boxed" is the picture with the boxes.

    Args:
        run: the trained run.
        images: see `vitax.prediction.images.image_readers`; of any size.
        threshold: score, 0..1, from which an object counts.

    Raises:
        UserError: the threshold is out of its range.
    """
    least = number_of(threshold)
    names = run.reader.record["class_names"]
    readers, again = itertools.tee(image_readers(images, run, {}))
    for (file, example, row), (_, read) in zip(predictions(run, readers), again, strict=True):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        chosen = [i for i in np.argsort(-row["scores"], kind="stable") if row["scores"][i] >= least]
        boxes, classes = in_pixels(row["boxes"], example["original"])[chosen], row["classes"][chosen]
        scores = [round(float(row["scores"][i]), 4) for i in chosen]
        objects = [
            {"label": names[k], "score": score, "box": [round(float(side), 1) for side in box]}
            for k, score, box in zip(classes, scores, boxes, strict=True)
        ]
        words = [f"{names[k]} {score:.2f}" for k, score in zip(classes, scores, strict=True)]
        picture = boxed(viewable(np.asarray(read()["image"])), boxes, classes.tolist(), words)
        yield {"file": file, "objects": objects, "boxed": picture}
