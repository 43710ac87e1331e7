"""Variables from the checkpoints of a run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vitax.errors import UserError
from vitax.tasks import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.damage import Damaged
from vitax.training.step import abstract


class Restored(NamedTuple):
    """Variables of a checkpoint.

    Attributes:
        step: the step of the checkpoint; for an average, the last one.
        plain: the variables with the parameters as they were trained.
        averaged: the variables with the moving average of the parameters; None if the run keeps none.
    """

    step: int
    plain: Variables
    averaged: Variables | None

    @property
    def preferred(self) -> Variables:
        """The variables with the moving average if the run keeps one, otherwise those with the trained parameters."""
        return self.plain if self.averaged is None else self.averaged


def restore(checkpoints: Checkpoints, which: str, shapes: Variables, averaged: bool, mesh: Mesh) -> Restored:
    """The variables of the checkpoint that ``which`` names, see `choose`.

    "average" is the mean of the parameters of all kept checkpoints, the best one among them (arXiv:1706.03762,
    section 6.1); the other collections come from the last checkpoint.

    Args:
        checkpoints: the checkpoints of the run.
        which: "best", "last", "average", or a step.
        shapes: shapes of all variables, as returned by `jax.eval_shape` of a task's ``init``.
        averaged: whether the run keeps a moving average.
        mesh: mesh to put the variables on.

    Raises:
        UserError: the checkpoint does not exist, does not fit the model, or cannot be read.
    """
    if which != "average":
        return _restore_step(checkpoints, choose(checkpoints, which), shapes, averaged, mesh)
    choose(checkpoints, "last")  # raises if there is no checkpoint
    steps, total = checkpoints.steps(), None
    for step in steps:
        restored = _restore_step(checkpoints, step, shapes, averaged, mesh)
        params = restored.plain["params"], restored.averaged and restored.averaged["params"]
        total = params if total is None else jax.tree.map(jnp.add, total, params)
    plain, average = jax.tree.map(lambda x: x / len(steps), total)
    return Restored(
        steps[-1], {**restored.plain, "params": plain}, restored.averaged and {**restored.averaged, "params": average}
    )


def _restore_step(checkpoints: Checkpoints, step: int, shapes: Variables, averaged: bool, mesh: Mesh) -> Restored:
    collections = {name: tree for name, tree in shapes.items() if name != "params"}
    requested = {"params": shapes["params"], "collections": collections}
    requested |= {"ema": shapes["params"]} if averaged else {}
    requested = {name: abstract(tree, mesh) for name, tree in requested.items() if tree}
    try:
        arrays = checkpoints.restore(step, requested)
    except Damaged as error:
        steps = [str(s) for s in checkpoints.steps() if s != step]
        more = f"; other checkpoints are {', '.join(steps)}, see --checkpoint" if steps else ""
        raise UserError(f"{error}{more}") from error
    rest = arrays.get("collections", {})
    return Restored(step, {"params": arrays["params"], **rest}, {"params": arrays["ema"], **rest} if averaged else None)


def choose(checkpoints: Checkpoints, which: str) -> int:
    """The step that "best", "last" or a number names; if no metric was measured, the best is the last.

    Raises:
        UserError: the checkpoint does not exist.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.folder} holds no checkpoint; train the run first")
    if which == "best":
        best = checkpoints.best()
        return steps[-1] if best is None else best
    if which == "last":
        return steps[-1]
    if which.isdecimal() and int(which) in steps:
        return int(which)
    raise UserError(
        f"--checkpoint={which} does not exist; choose best, last, average or one of {', '.join(map(str, steps))}"
    )
