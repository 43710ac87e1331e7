"""Images segmented by a run of segmentation."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vitax.data.drawing import viewable
from vitax.data.mask_files import overlay
from vitax.evals.segmentation import Inference, Segmentation
from vitax.prediction.images import read_images
from vitax.prediction.trained import TrainedRun


def segmenter(run: TrainedRun) -> Segmentation:
    """The segmentation of whole images as the run evaluates itself, or in windows if it does not."""
    given = run.config.get("evals", {})
    inference = Inference(
        given.get("inference") or "slide",
        given.get("stride", Inference().stride),
        given.get("flip", False),
        tuple(given.get("scales", (1.0,))),
    )
    return Segmentation(run.task, run.reader, inference)


def segment_images(run: TrainedRun, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Masks of images: {"file", "mask": [H, W] int32, "overlay": [H, W, 3] uint8, "classes": {name: share of the pixels}}.

    The images may have any size. Windows that overlap are averaged, so that there are no seams. A mask has the numbers that the
    masks of the training have: with ``data.reduce_zero_label``, 1 is the first class.

    Args:
        run: the trained run.
        images: see `vitax.prediction.images.image_readers`.
    """
    segment, names = segmenter(run), run.reader.record["class_names"]
    first = run.reader.record.get("first_class", 0)
    for file, example in read_images(images, run, {}):
        if isinstance(example, Exception):
            yield {"file": file, "error": str(example)}
            continue
        image = np.asarray(example["image"])
        mask = segment(run.variables, image)
        shares = np.bincount(mask.ravel(), minlength=len(names)) / mask.size
        classes = {names[k]: round(float(shares[k]), 4) for k in np.argsort(-shares, kind="stable") if shares[k]}
        drawn = overlay(viewable(image), mask)
        yield {"file": file, "mask": mask + first, "overlay": drawn, "classes": classes}
