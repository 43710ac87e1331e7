"""A trained run, ready to predict: the model with its weights on all devices, and batches of predictions."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from vitax.mesh import make_mesh
from vitax.pipelines import Reader
from vitax.prediction.ahead import ahead
from vitax.runs.saved import open_saved
from vitax.schema import Config
from vitax.specs import TextSpec, inputs_of
from vitax.tasks import Task, Variables
from vitax.training.sharding import to_device

BATCH = 64  # examples at a time, rounded up to a multiple of the devices
WINDOW = 16  # batches out of which examples of like length are predicted together
UNREADABLE = (ValueError, TypeError, OSError)  # what reading an example may raise


class TrainedRun(NamedTuple):
    """A run and the weights of one of its checkpoints.

    Attributes:
        path: folder of the run.
        config: resolved config of the run.
        mesh: mesh of all devices of this machine.
        reader: reader of the examples, as in training.
        family: key of MODELS.
        model: the model, without variables.
        task_name: key of TASKS.
        task: the objective.
        variables: variables of the checkpoint, with the moving average of the parameters if the run kept it.
        batch_size: number of examples at a time.
        step: step of the checkpoint.
        metrics: what was measured when it was saved; {} = unknown, as for an average.
    """

    path: Path
    config: Config
    mesh: Mesh
    reader: Reader
    family: str
    model: nn.Module
    task_name: str
    task: Task
    variables: Variables
    batch_size: int
    step: int = 0
    metrics: Mapping[str, float] = MappingProxyType({})


def load_run(path: str | Path, which: str = "best") -> TrainedRun:
    """The run in a folder, on all devices of this machine, whatever it was trained on.

    Args:
        which: checkpoint: "best", "last", "average", or a step.

    Raises:
        UserError: the run or the checkpoint does not exist.
    """
    saved, mesh = open_saved(path), make_mesh()
    restored = saved.variables(which, mesh)
    return TrainedRun(
        path=saved.path,
        config=saved.config,
        mesh=mesh,
        reader=saved.reader,
        family=saved.family,
        model=saved.model,
        task_name=saved.task_name,
        task=saved.task,
        variables=restored.preferred,
        batch_size=batch_size_for(mesh),
        step=restored.step,
        metrics={} if which == "average" else saved.checkpoints.meta(restored.step)["metrics"],
    )


def checkpoint_name(run: TrainedRun, asked: str) -> str:
    """The checkpoint of a run by a name that stays true while it trains on: its step, or "average"."""
    return asked if asked == "average" else str(run.step)


def batch_size_for(mesh: Mesh, wanted: int = BATCH) -> int:
    """Examples to predict at a time, rounded up to a multiple of the devices."""
    return -(-wanted // mesh.size) * mesh.size


def predictions(
    run: TrainedRun,
    examples: Iterator[tuple[str, Any]],
    predict=None,
    length: Callable[[dict[str, np.ndarray]], int] | None = None,
) -> Iterator[tuple[str, Any, dict[str, np.ndarray] | None]]:
    """Predictions of the task, example by example, in the order of the examples.

    Args:
        run: the trained run.
        examples: (name, example that is not yet transformed, or the error from reading it, or a function that reads it:
            threads call that function and transform the example while the devices compute).
        predict: jitted function (variables, batch) -> predictions; None = that of the task.
        length: length of an example for which the time depends on the longest of a batch: examples of like length are
            predicted together, out of WINDOW batches at a time. None = they are predicted in their order.

    Yields:
        (name, transformed example, its row of every prediction), or (name, error, None).
    """
    predict = jax.jit(run.task.predict) if predict is None else predict
    rng = np.random.default_rng(0)  # test transforms draw no random numbers
    group: list[tuple[str, Any]] = []
    most = run.batch_size * (WINDOW if length else 1)

    def flush():
        good = [i for i, (_, example) in enumerate(group) if not isinstance(example, Exception)]
        if length:
            good.sort(key=lambda i: length(group[i][1]))
        rows = {}
        for start in range(0, len(good), run.batch_size):
            part = good[start : start + run.batch_size]
            with jax.set_mesh(run.mesh):
                batch = to_device(run.reader.pad([group[i][1] for i in part], run.batch_size), run.mesh)
                out = jax.device_get(predict(run.variables, batch))
            rows |= {i: {name: x[k] for name, x in out.items()} for k, i in enumerate(part)}
        for i, (name, example) in enumerate(group):
            yield name, example, rows.get(i)
        group.clear()

    def prepared(item: tuple[str, Any]) -> tuple[str, Any]:
        name, example = item
        try:
            example = example() if callable(example) else example
        except UNREADABLE as error:
            return name, error
        return name, example if isinstance(example, Exception) else run.reader.transform(example, rng)

    # A line of text takes less time than a thread, and may come from somebody who types.
    texts = isinstance(inputs_of(run.reader.spec), TextSpec)
    for name, example in map(prepared, examples) if texts else ahead(prepared, examples, 2 * run.batch_size):
        group.append((name, example))
        if len(group) == most:
            yield from flush()
    yield from flush()
