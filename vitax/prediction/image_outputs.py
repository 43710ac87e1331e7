"""Predictions that are pictures: written to a folder, one JSON object each on stdout."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitax import rundir
from vitax.config import call
from vitax.data.decode import decode_image, write_png
from vitax.data.degrade import degrade
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.evals.restoration import modulo_crop, restore
from vitax.pipelines.restoration import damage
from vitax.prediction.images import image_files, read_images
from vitax.runs.saved import TrainedRun, predictions
from vitax.schema import resolve


def output_folder(options: Any, name: str = "predictions") -> Path:
    """The folder that --out names, or RUN/NAME; made if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    folder = Path(options.out) if options.out else Path(options.workdir) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={folder} cannot be made a folder: {error}") from error
    return folder


def output_path(folder: Path, file: str) -> Path:
    """folder/NAME.png for the picture of a file; numbered where there is one of that name, which is left alone."""
    stem, path, number = Path(file).stem, folder / f"{Path(file).stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path


def reconstruct(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "output", "hidden": share, "squared_error": mean over the hidden pixels, on the scale 0..1}; the picture has the
    input, what was visible of it, and the reconstruction, side by side."""
    files, folder = image_files(given), output_folder(options)
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


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """Small pictures with each pixel as a square of several, or nobody could see them."""
    times = max(1, 224 // side)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def restore_images(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "output", "height", "width"}: the files are taken for the damaged pictures; any size, tile by tile."""
    files, folder = image_files(given), output_folder(options)
    evals, apply = run.config["evals"], jax.jit(run.model.apply)
    tile = evals["tile"] or 8 * run.model.window
    for file in files:
        try:
            image = decode_image(Path(file).read_bytes(), run.model.channels)
            restored = restore(
                lambda x: apply(run.variables, x), image, run.model, tile=tile, overlap=min(evals["overlap"], tile - 1)
            )
        except (ValueError, OSError) as error:
            yield {"file": file, "error": str(error)}
            continue
        output = output_path(folder, file)
        write_png(output, restored)
        height, width, _ = restored.shape
        yield {"file": file, "output": str(output), "height": height, "width": width}


def example_damaged(source: Source, path: Path) -> str:
    """The first picture of the test, made smaller or worse as in the training, written down."""
    name = str(path / "example.png")
    config = resolve(rundir.read_config(path))
    knobs = call(damage, "data", config["data"])
    image = modulo_crop(source[0]["image"], knobs["scale"])
    damaged = degrade(
        image, np.random.default_rng(0), kind=knobs["kind"], scale=knobs["scale"], strength=knobs["strength"][0]
    )
    write_png(name, damaged.round().clip(0, 255).astype(np.uint8))
    return shlex.quote(name)
