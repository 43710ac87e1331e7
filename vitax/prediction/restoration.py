"""Images as a restoration model restores them."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitax.data.decode import decode_image, write_png
from vitax.data.degrade import degrade
from vitax.evals.restoration import modulo_crop, restore
from vitax.pipelines import Pipeline
from vitax.prediction.output import output_folder, output_path
from vitax.prediction.trained import TrainedRun

OVERLAP = 16  # pixels that neighbouring tiles share


def restore_images(run: TrainedRun, files: Sequence[str], *, tile: int = 0, out: str = "") -> Iterator[dict[str, Any]]:
    """{"file", "output", "height", "width"} for each file: a damaged image of any size, restored tile by tile.

    Args:
        tile: side of a tile in pixels of the damaged image, a multiple of the model's window; 0 = eight windows.
        out: folder of the restored images; "" = RUN/predictions.
    """
    folder, apply = output_folder(run.path, "predictions", out), jax.jit(run.model.apply)
    tile = tile or 8 * run.model.window
    for file in files:
        try:
            image = decode_image(Path(file).read_bytes(), run.model.channels)
            restored = restore(
                lambda x: apply(run.variables, x), image, run.model, tile=tile, overlap=min(OVERLAP, tile - 1)
            )
        except (ValueError, OSError) as error:
            yield {"file": file, "error": str(error)}
            continue
        output = output_path(folder, file)
        write_png(output, restored)
        height, width, _ = restored.shape
        yield {"file": file, "output": str(output), "height": height, "width": width}


def example_damaged(pipeline: Pipeline, path: Path) -> str:
    """The first test image, damaged as in training, written into the folder of the run."""
    name, knobs = str(path / "example.png"), pipeline.reader.transform.knobs
    image = modulo_crop(pipeline.splits.test[0]["image"], knobs["scale"])
    rng = np.random.default_rng(0)
    damaged = degrade(image, rng, kind=knobs["kind"], scale=knobs["scale"], strength=knobs["strength"][0])
    write_png(name, damaged.round().clip(0, 255).astype(np.uint8))
    return shlex.quote(name)
