"""Reconstructions of images by a masked autoencoder."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vitax.prediction.images import image_readers
from vitax.prediction.trained import TrainedRun, predictions


def reconstruct(run: TrainedRun, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Reconstructions: {"file", "image", "hidden", "squared_error"} for each image, see `image_readers`.

    "image" is uint8 [H, 3 W, C], enlarged if it is small: the input, its visible patches and the reconstruction side by
    side. "hidden" is the share of hidden patches, "squared_error" the mean over the hidden pixels, scaled to 0..1.
    """
    spec, patch = run.reader.spec, run.model.patch_size
    for file, example, row in predictions(run, image_readers(images, run)):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        masked, error = masked_and_error(example["image"], row, patch)
        triple = np.concatenate([example["image"], masked, row["reconstruction"]], axis=1)
        yield {
            "file": file,
            "image": enlarged(triple, spec.image_size[0]),
            "hidden": round(float(1 - row["visible"].mean()), 4),
            "squared_error": round(error, 6),
        }


def masked_and_error(image: np.ndarray, row: dict[str, np.ndarray], patch: int) -> tuple[np.ndarray, float]:
    """The visible patches of an image, the rest grey, and the mean squared error of the hidden pixels, scaled to 0..1.

    Args:
        image: [H, W, C] uint8.
        row: predictions for the image, "visible" and "reconstruction".
        patch: side of a patch in pixels.
    """
    rows, columns = (side // patch for side in image.shape[:2])
    visible = row["visible"].reshape(rows, columns).repeat(patch, 0).repeat(patch, 1)[..., None]
    wrong = np.square((row["reconstruction"].astype(float) - image) / 255)
    hidden = ~np.broadcast_to(visible, wrong.shape)
    return np.where(visible, image, 127).astype(image.dtype), float(wrong[hidden].mean())


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """The image, with each pixel as a square of several pixels if its side is small, so that people can see it."""
    times = max(1, 224 // side)
    return image.repeat(times, axis=0).repeat(times, axis=1)
