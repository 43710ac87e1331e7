"""Images as a masked autoencoder reconstructs them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitax.data.decode import write_png
from vitax.prediction.images import read_images
from vitax.prediction.output import output_folder, output_path
from vitax.prediction.trained import TrainedRun, predictions


def reconstruct(run: TrainedRun, files: Sequence[str], *, out: str = "") -> Iterator[dict[str, Any]]:
    """{"file", "output", "hidden": share, "squared_error": mean over the hidden pixels, on the scale 0..1} for each file.

    The output has the input, its visible patches, and the reconstruction, side by side.

    Args:
        out: folder of the outputs; "" = RUN/predictions.
    """
    folder = output_folder(run.path, "predictions", out)
    spec, patch = run.reader.spec, run.model.patch_size
    examples = read_images(files, run.reader.blank, spec.channels)
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        masked, error = masked_and_error(example["image"], row, patch)
        output = output_path(folder, file)
        triple = np.concatenate([example["image"], masked, row["reconstruction"]], axis=1)
        write_png(output, enlarged(triple, spec.image_size[0]))
        yield {
            "file": file,
            "output": str(output),
            "hidden": round(float(1 - row["visible"].mean()), 4),
            "squared_error": round(error, 6),
        }


def masked_and_error(image: np.ndarray, row: dict[str, np.ndarray], patch: int) -> tuple[np.ndarray, float]:
    """What an MAE saw of an image, the rest grey, and the mean squared error of the hidden pixels on the scale 0..1.

    Args:
        image: [H, W, C] uint8.
        row: its predictions, "visible" and "reconstruction".
    """
    rows, columns = (side // patch for side in image.shape[:2])
    visible = row["visible"].reshape(rows, columns).repeat(patch, 0).repeat(patch, 1)[..., None]
    wrong = np.square((row["reconstruction"].astype(float) - image) / 255)
    hidden = ~np.broadcast_to(visible, wrong.shape)
    return np.where(visible, image, 127).astype(np.uint8), float(wrong[hidden].mean())


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Small images with each pixel as a square of several pixels, or nobody could see them."""
    times = max(1, 224 // side)
    return image.repeat(times, axis=0).repeat(times, axis=1)
