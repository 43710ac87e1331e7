"""Images restored by a restoration model."""

import logging
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from vitax.data.degrade import degrade
from vitax.data.drawing import write_png
from vitax.evals.restoration import modulo_crop, restore
from vitax.pipelines import Pipeline
from vitax.prediction.images import read_images
from vitax.prediction.trained import TrainedRun

LOGGER = logging.getLogger("vitax")
OVERLAP = 16  # pixels that neighbouring tiles share


def restore_images(run: TrainedRun, images: Iterable[Any], *, tile: int = 0) -> Iterator[dict[str, Any]]:
    """Restored images: {"file", "image": uint8 [H, W, C], "height", "width"} for each damaged image.

    The damaged images may have any size, and are restored tile by tile.

    Args:
        run: the trained run.
        images: the damaged images, see `read_images`.
        tile: side of a tile in pixels of the damaged image, a multiple of the model's window; 0 = eight windows.
    """
    apply, tile = jax.jit(run.model.apply), tile or 8 * run.model.window
    overlap = min(OVERLAP, tile - 1)
    for file, example in read_images(images, run, {}):
        if isinstance(example, Exception):
            yield {"file": file, "error": str(example)}
            continue
        if lost := _lost(file):
            LOGGER.warning("%s: %s", file, lost)
        try:
            restored = restore(
                lambda x: apply(run.variables, x), example["image"], run.model, tile=tile, overlap=overlap
            )
        except ValueError as error:
            height, width, _ = example["image"].shape
            yield {"file": file, "error": f"a tile of this image of {height}x{width}: {error}"}
            continue
        height, width, _ = restored.shape
        yield {"file": file, "image": restored, "height": height, "width": width}


def _lost(file: str) -> str:
    """What of an image file is not restored; "" = nothing, or the image is no file."""
    try:
        with Image.open(file) as image:
            mode, clear = image.mode, "transparency" in image.info
    except Exception:
        return ""
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or clear:
        return "its transparency is left out"
    return "its 16 bits become 8" if mode.startswith("I") else ""


def example_damaged(pipeline: Pipeline, path: Path) -> str:
    """The file of the first test image, damaged as in training and written to the folder of the run."""
    name, settings = str(path / "example.png"), pipeline.reader.transform.settings
    image = modulo_crop(pipeline.splits.test[0]["image"], settings["scale"])
    rng = np.random.default_rng(0)
    damaged = degrade(image, rng, kind=settings["kind"], scale=settings["scale"], strength=settings["strength"][0])
    write_png(name, damaged.round().clip(0, 255).astype(np.uint8))
    return shlex.quote(name)
