"""A run in a folder, opened for reading: the only way from a folder to a model with its weights."""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vitax import reading, rundir
from vitax.pipelines import Reader
from vitax.resolve import resolve
from vitax.runs.restore import Restored, choose, restore
from vitax.schema import Config
from vitax.tasks import Task, Variables
from vitax.training.checkpoint import Checkpoints


class SavedRun(NamedTuple):
    """A run that has saved at least one checkpoint. Its data are not opened.

    Attributes:
        path: folder of the run.
        config: resolved config of the run.
        checkpoints: the checkpoints of the run, opened for reading.
        meta: description in the newest checkpoint: class names, tokenizer, versions.
        family: key of MODELS.
        model: the model, without variables.
        task_name: key of TASKS.
        task: the objective.
        reader: reader of the examples, as in training.
        averaged: whether the run keeps a moving average of the parameters.
    """

    path: Path
    config: Config
    checkpoints: Checkpoints
    meta: dict[str, Any]
    family: str
    model: nn.Module
    task_name: str
    task: Task
    reader: Reader
    averaged: bool

    @property
    def shapes(self) -> Variables:
        """The shapes of all variables of the task."""
        return jax.eval_shape(self.task.init, jax.random.key(0), self.reader.pad([], 1))

    def variables(self, which: str, mesh: Mesh, shapes: Variables | None = None) -> Restored:
        """The variables of a checkpoint.

        Args:
            which: "best", "last", "average", or a step.
            mesh: mesh to put the variables on.
            shapes: shapes of the variables; None = those of ``task``.

        Raises:
            UserError: the checkpoint does not exist, or cannot be read.
        """
        return restore(self.checkpoints, which, shapes or self.shapes, self.averaged, mesh)


def open_saved(path: str | Path) -> SavedRun:
    """Opens the run in a folder.

    Raises:
        UserError: the folder holds no run, or the run has no checkpoint.
    """
    path = Path(path).expanduser()
    config = resolve(rundir.read_config(path))
    evals = reading.best_of(config)
    checkpoints = Checkpoints(path / "checkpoints", best=evals.best, mode=evals.mode, read_only=True)
    meta = checkpoints.meta(choose(checkpoints, "last"))
    built = reading.read(config, meta)
    return SavedRun(
        path=path,
        config=config,
        checkpoints=checkpoints,
        meta=meta,
        family=built.family,
        model=built.model,
        task_name=built.task_name,
        task=built.task,
        reader=built.reader,
        averaged=built.averaged,
    )
