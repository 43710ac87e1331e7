"""Variables out of the checkpoints of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vitax.errors import UserError
from vitax.tasks import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.damage import Damaged
from vitax.training.step import abstract


def restore_variables(
    checkpoints: Checkpoints, step: int, shapes: Variables, ema: bool, mesh: Mesh
) -> tuple[Variables, Variables | None]:
    """Variables of a checkpoint, and the same with averaged parameters where the run keeps an average.

    Args:
        shapes: of all variables, as `jax.eval_shape` of a task's ``init`` gives them.
        ema: whether there is an average.

    Raises:
        UserError: the checkpoint does not fit the model, or cannot be read.
    """
    collections = {name: tree for name, tree in shapes.items() if name != "params"}
    wanted = {"params": shapes["params"], "collections": collections}
    wanted |= {"ema": shapes["params"]} if ema else {}
    wanted = {name: abstract(tree, mesh) for name, tree in wanted.items() if tree}
    try:
        found = checkpoints.restore(step, wanted)
    except Damaged as error:
        others = [str(other) for other in checkpoints.steps() if other != step]
        more = f"; others are {', '.join(others)}, see --checkpoint" if others else ""
        raise UserError(f"{error}{more}") from error
    rest = found.get("collections", {})
    return {"params": found["params"], **rest}, {"params": found["ema"], **rest} if ema else None


def restore(
    checkpoints: Checkpoints, which: str, shapes: Variables, ema: bool, mesh: Mesh
) -> tuple[int, Variables, Variables | None]:
    """The variables that ``which`` means, see `choose`; "average" is the mean of the
    parameters of all checkpoints that are kept (arXiv:1706.03762, section 6.1), the best one among them; running
    statistics are the last one's.

    Returns:
        The step (of an average, the last one), and what `restore_variables` gives.
    """
    if which != "average":
        step = choose(checkpoints, which)
        return step, *restore_variables(checkpoints, step, shapes, ema, mesh)
    steps = checkpoints.steps()
    choose(checkpoints, "last")  # raises where there is none
    sums: list = [None, None]
    for step in steps:
        found = restore_variables(checkpoints, step, shapes, ema, mesh)
        for i, variables in enumerate(found):
            if variables is not None:
                params = variables["params"]
                sums[i] = params if sums[i] is None else jax.tree.map(jnp.add, sums[i], params)
    plain, averaged = (
        None if total is None else {**found[0], "params": jax.tree.map(lambda x: x / len(steps), total)}
        for total in sums
    )
    return steps[-1], plain, averaged


def choose(checkpoints: Checkpoints, which: str) -> int:
    """The step that "best", "last" or a number means; without any measured one, the best is the last.

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
        f"--checkpoint={which} is not there; choose best, last, average or one of {', '.join(map(str, steps))}"
    )


def open_run(path: Path, evals: Mapping[str, Any]) -> Checkpoints:
    """The checkpoints in the folder of a run, to read.

    Args:
        evals: that section of its config.
    """
    return Checkpoints(path / "checkpoints", best=evals["best"], mode=evals["mode"], read_only=True)
