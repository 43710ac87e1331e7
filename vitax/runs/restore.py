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
        plain: the parameters as they were trained.
        averaged: their moving average; None where the run keeps none.
    """

    step: int
    plain: Variables
    averaged: Variables | None

    @property
    def preferred(self) -> Variables:
        """The moving average if the run keeps one, else the parameters themselves."""
        return self.plain if self.averaged is None else self.averaged


def restore(checkpoints: Checkpoints, which: str, shapes: Variables, averaged: bool, mesh: Mesh) -> Restored:
    """The variables that ``which`` means, see `choose`.

    "average" is the mean of the parameters of all checkpoints that were kept, the best one among them
    (arXiv:1706.03762, section 6.1); other collections are those of the last one.

    Args:
        shapes: of all variables, as `jax.eval_shape` of a task's ``init`` gives them.
        averaged: whether the run keeps a moving average.
        mesh: where they are put.

    Raises:
        UserError: there is no such checkpoint, it does not fit the model, or it cannot be read.
    """
    if which != "average":
        return _restore_step(checkpoints, choose(checkpoints, which), shapes, averaged, mesh)
    choose(checkpoints, "last")  # raises where there is none
    steps, total = checkpoints.steps(), None
    for step in steps:
        one = _restore_step(checkpoints, step, shapes, averaged, mesh)
        params = one.plain["params"], one.averaged and one.averaged["params"]
        total = params if total is None else jax.tree.map(jnp.add, total, params)
    plain, average = jax.tree.map(lambda x: x / len(steps), total)
    return Restored(steps[-1], {**one.plain, "params": plain}, one.averaged and {**one.averaged, "params": average})


def _restore_step(checkpoints: Checkpoints, step: int, shapes: Variables, averaged: bool, mesh: Mesh) -> Restored:
    collections = {name: tree for name, tree in shapes.items() if name != "params"}
    requested = {"params": shapes["params"], "collections": collections}
    requested |= {"ema": shapes["params"]} if averaged else {}
    requested = {name: abstract(tree, mesh) for name, tree in requested.items() if tree}
    try:
        arrays = checkpoints.restore(step, requested)
    except Damaged as error:
        others = [str(other) for other in checkpoints.steps() if other != step]
        more = f"; others are {', '.join(others)}, see --checkpoint" if others else ""
        raise UserError(f"{error}{more}") from error
    rest = arrays.get("collections", {})
    return Restored(step, {"params": arrays["params"], **rest}, {"params": arrays["ema"], **rest} if averaged else None)


def choose(checkpoints: Checkpoints, which: str) -> int:
    """The step that "best", "last" or a number means; where no metric was measured, the best is the last.

    Raises:
        UserError: there is no such checkpoint.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.folder} holds no checkpoint; train the run first")
    if which == "best":
        best = checkpoints.best()
        return steps[-1] if best is None else best
    if which == "last":
        return steps[-1]
    if which.isdigit() and int(which) in steps:
        return int(which)
    raise UserError(
        f"--checkpoint={which} does not exist; choose best, last, average or one of {', '.join(map(str, steps))}"
    )
