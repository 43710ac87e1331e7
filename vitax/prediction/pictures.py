"""Predictions that are pictures: written to a folder, one JSON object each on stdout."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import write_png
from vitax.prediction.images import image_files, read_images
from vitax.prediction.run import TrainedRun, predictions


def output_folder(options: Any) -> Path:
    """The folder that --out names, or RUN/predictions; made if it is not there."""
    folder = Path(options.out) if options.out else Path(options.workdir) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def output_path(folder: Path, file: str, taken: set[Path]) -> Path:
    """folder/NAME.png for the picture of a file; numbered where two files have one name."""
    stem, path, number = Path(file).stem, folder / f"{Path(file).stem}.png", 2
    while path in taken:
        path, number = folder / f"{stem}-{number}.png", number + 1
    taken.add(path)
    return path


def reconstruct(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "output", "hidden": share, "squared_error": mean over the hidden pixels, on the scale 0..1}; the picture has the
    input, what was visible of it, and the reconstruction, side by side."""
    folder, taken = output_folder(options), set()
    format, patch = run.reader.format, run.model.patch_size
    examples = read_images(image_files(given), run.reader.blank, format.channels)
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        rows, columns = (side // patch for side in format.image_size)
        visible = row["visible"].reshape(rows, columns).repeat(patch, 0).repeat(patch, 1)[..., None]
        masked = np.where(visible, example["image"], 127).astype(np.uint8)
        output = output_path(folder, file, taken)
        write_png(output, np.concatenate([example["image"], masked, row["reconstruction"]], axis=1))
        wrong = np.square((row["reconstruction"].astype(float) - example["image"]) / 255)
        hidden = ~np.broadcast_to(visible, wrong.shape)
        yield {
            "file": file,
            "output": str(output),
            "hidden": round(float(1 - row["visible"].mean()), 4),
            "squared_error": round(float(wrong[hidden].mean()), 6),
        }
