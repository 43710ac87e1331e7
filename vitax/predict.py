"""Predicts from the files given, with a trained run: one JSON object a line on stdout.

    python -m vitax.predict --workdir=RUN IMAGES...       files, or folders of files

    {"file": "cat.jpg", "label": "cat", "probability": 0.93, "top": [{"label": "cat", "probability": 0.93}, ...]}

A file that cannot be read gives {"file": ..., "error": ...}; the others are predicted, and the exit code is 2.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from vitax import cli, workdir
from vitax.build import build_eval_transform, build_model, build_task, restore_variables
from vitax.config import call
from vitax.data.decode import EXTENSIONS, decode_image, find_images
from vitax.errors import UserError
from vitax.mesh import make_mesh
from vitax.schema import image_format, resolve
from vitax.training import log
from vitax.training.checkpoint import Checkpoints, choose
from vitax.training.sharding import to_device

BATCH = 64  # images at a time, rounded up to a multiple of the devices


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
    flags.DEFINE_string("checkpoint", "best", "best, last, or a step", flag_values=values)
    flags.DEFINE_integer("top", 5, "how many classes to list", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    values, given = cli.parse(argv, define_flags, __doc__, with_config=False)
    if not values.workdir:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    files = find_files(given)
    cli.start_jax()
    log.start_logging(None)
    predictor = Predictor(Path(values.workdir), values.checkpoint)
    broken = 0
    for first in range(0, len(files), predictor.batch_size):
        for found in predictor(files[first : first + predictor.batch_size], values.top):
            broken += "error" in found
            print(json.dumps(found), flush=True)
    return 2 if broken else 0


def find_files(given: Sequence[str]) -> list[str]:
    """The files named, and those below the folders named.

    Raises:
        UserError: nothing was named, or it does not exist.
    """
    if not given:
        raise UserError(
            "name the images to predict: python -m vitax.predict --workdir=RUN IMAGES..."
        )
    files = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            files += find_images(path)
        elif path.exists():
            files.append(name)
        else:
            raise UserError(f"{name} does not exist")
    if not files:
        raise UserError(f"no images in {', '.join(given)} ({' '.join(EXTENSIONS)})")
    return files


class Predictor:
    """Class probabilities of image files by a trained run: averaged parameters where it kept an average."""

    def __init__(self, path: Path, which: str = "best"):
        config = resolve(workdir.read_config(path))
        evals = config["evals"]
        checkpoints = Checkpoints(
            path / "checkpoints", best=evals["best"], mode=evals["mode"], read_only=True
        )
        step = choose(checkpoints, which)
        self.class_names = checkpoints.meta(step)["class_names"]
        self.images = call(image_format, "data", config["data"])
        self.transform = build_eval_transform(config, self.images)
        self.mesh = make_mesh()  # all devices there are, whatever the run was trained on
        self.batch_size = -(-BATCH // self.mesh.size) * self.mesh.size
        model = build_model(config, len(self.class_names), self.images.image_size)
        task = build_task(config, model, self.images)
        shapes = jax.eval_shape(task.init, jax.random.key(0), self._pad([]))
        ema = config["optim"]["ema_decay"] > 0
        plain, averaged = restore_variables(checkpoints, step, shapes, ema, self.mesh)
        self.variables = plain if averaged is None else averaged
        self.predict = jax.jit(task.predict)

    def _pad(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
        shape = (self.batch_size, *self.images.image_size, self.images.channels)
        batch = np.zeros(shape, np.uint8)
        batch[: len(images)] = np.stack(images) if images else 0
        return {"image": batch}

    def __call__(self, files: Sequence[str], top: int = 5) -> list[dict[str, Any]]:
        """One dict a file, in order; at most ``batch_size`` files at a time."""
        images, errors = [], {}
        for file in files:
            try:
                image = decode_image(Path(file).read_bytes(), self.images.channels)
                images.append(self.transform({"image": image}, np.random.default_rng(0))["image"])
            except (ValueError, OSError) as error:
                errors[file] = str(error)
        with jax.set_mesh(self.mesh):
            out = self.predict(self.variables, to_device(self._pad(images), self.mesh))
        rows = iter(np.asarray(out["probabilities"], np.float64)[: len(images)])
        return [
            {"file": file, "error": errors[file]}
            if file in errors
            else self._told(file, next(rows), top)
            for file in files
        ]

    def _told(self, file: str, row: np.ndarray, top: int) -> dict[str, Any]:
        ranked = [
            {"label": self.class_names[k], "probability": round(float(row[k]), 6)}
            for k in np.argsort(-row, kind="stable")[: max(1, top)]
        ]
        return {"file": file, **ranked[0], "top": ranked}


def main() -> None:
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
