"""A trained run, ready to predict."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from vitax import rundir
from vitax.build import build_model, build_task, read_pipeline
from vitax.mesh import make_mesh
from vitax.pipelines import Reader
from vitax.runs.restore import choose, open_run, restore
from vitax.schema import Config, resolve
from vitax.tasks import Task, Variables
from vitax.training.sharding import to_device

BATCH = 64  # examples at a time, rounded up to a multiple of the devices


class TrainedRun(NamedTuple):
    """variables: averaged ones, where the run kept an average; batch_size: examples at a time."""

    config: Config
    mesh: Mesh
    reader: Reader
    model: nn.Module
    task: Task
    variables: Variables
    batch_size: int


def load_run(path: Path, which: str = "best") -> TrainedRun:
    """The run in a folder, on all devices there are, whatever it was trained on.

    Args:
        which: checkpoint: "best", "last", "average", or a step.

    Raises:
        UserError: there is no run, or no such checkpoint.
    """
    config = resolve(rundir.read_config(path))
    checkpoints = open_run(path, config["evals"])
    mesh = make_mesh()
    batch_size = -(-BATCH // mesh.size) * mesh.size
    reader = read_pipeline(config, checkpoints.meta(choose(checkpoints, "last")))
    model = build_model(config, reader)
    task = build_task(config, model, reader)
    shapes = jax.eval_shape(task.init, jax.random.key(0), pad([], reader, batch_size))
    ema = config["optim"]["ema_decay"] > 0
    _, plain, averaged = restore(checkpoints, which, shapes, ema, mesh)
    variables = plain if averaged is None else averaged
    return TrainedRun(config, mesh, reader, model, task, variables, batch_size)


def pad(examples: Sequence[dict[str, np.ndarray]], reader: Reader, batch_size: int) -> dict[str, np.ndarray]:
    """A full batch of transformed examples, filled up with blank ones that are not valid."""
    rows = [*examples, *[reader.blank] * (batch_size - len(examples))]
    batch = {name: np.stack([row[name] for row in rows]) for name in reader.blank}
    return {**batch, "valid": np.arange(batch_size) < len(examples)}


def predictions(
    run: TrainedRun, examples: Iterator[tuple[str, Any]], predict=None
) -> Iterator[tuple[str, Any, dict[str, np.ndarray] | None]]:
    """What the task predicts, example by example, in their order.

    Args:
        examples: (name, example, not yet transformed); in place of an example, the error that came up reading it.
        predict: jitted, in place of the task's own.

    Yields:
        (name, transformed example, its row of every prediction), or (name, error, None).
    """
    predict = jax.jit(run.task.predict) if predict is None else predict
    rng = np.random.default_rng(0)  # test transforms draw nothing
    group: list[tuple[str, Any]] = []

    def flush():
        good = [example for _, example in group if not isinstance(example, Exception)]
        rows = iter(())
        if good:
            with jax.set_mesh(run.mesh):
                batch = to_device(pad(good, run.reader, run.batch_size), run.mesh)
                out = jax.device_get(predict(run.variables, batch))
            rows = iter([{name: x[i] for name, x in out.items()} for i in range(len(good))])
        for name, example in group:
            row = None if isinstance(example, Exception) else next(rows)
            yield name, example, row
        group.clear()

    for name, example in examples:
        if not isinstance(example, Exception):
            example = run.reader.transform(example, rng)
        group.append((name, example))
        if len(group) == run.batch_size:
            yield from flush()
    yield from flush()
