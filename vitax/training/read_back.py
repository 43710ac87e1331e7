"""Reading of single checkpoints, also of those just written, and a name for their folder that Orbax can use."""

import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vitax.training.damage import Damaged, digest, whole
from vitax.training.fingerprint import fingerprints

ARRAYS, DIGEST = "arrays", "digest"  # keys that the description of a checkpoint has in addition to the caller's


def best_of(values: Mapping[int, float | None], mode: str) -> int | None:
    """The step with the best finite value, the latest of equal ones; None if there is none."""
    sign = 1 if mode == "max" else -1
    good = [(sign * v, step) for step, v in values.items() if v is not None and math.isfinite(v)]
    return max(good)[1] if good else None


class Alias:
    """A name of a folder that is no pattern: Orbax looks for the parts of a checkpoint by a pattern that begins with it.

    In a folder such as "w[1]" it would not find them, and would write a checkpoint without arrays.

    Attributes:
        path: the folder itself or, if its name has a character of patterns, a symbolic link to it.
    """

    def __init__(self, folder: Path):
        self.path, self.temporary = folder, None
        if re.search(r"[][*?]", str(folder)):
            self.temporary = tempfile.TemporaryDirectory(prefix="vitax-")
            self.path = Path(self.temporary.name) / "checkpoints"
            self.path.symlink_to(folder, target_is_directory=True)

    def close(self) -> None:
        if self.temporary is not None:
            self.temporary.cleanup()
            self.temporary = None


def measured(metrics: Mapping[str, float], best: str) -> tuple[str, float | None]:
    """Name and value of the metric by which the best checkpoint is chosen: of the validation split, if there is one.

    Args:
        metrics: results of an evaluation.
        best: the metric of the test split, such as "test/accuracy".
    """
    of_validation = f"val{best.removeprefix('test')}" if best.startswith("test") else best
    name = of_validation if of_validation in metrics else best
    return name, metrics.get(name)


def read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The description in a checkpoint.

    Raises:
        ValueError: it differs from what was written. Orbax raises many other errors.
    """
    meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
    if meta.pop(DIGEST) != digest(meta):
        raise ValueError("meta differs from what was written")
    return meta


def read_arrays(manager: ocp.CheckpointManager, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a checkpoint, {field: tree} of `jax.ShapeDtypeStruct` with shardings replaced by arrays.

    Raises:
        ValueError: an array is missing. Orbax raises many other errors.
    """
    arguments = ocp.args.PyTreeRestore(
        wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
    )
    arrays = manager.restore(step, args=ocp.args.Composite(state=arguments)).state
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(arrays)):
        raise ValueError("an array is missing")  # Orbax returns the request in its place
    return arrays


def read_back(checkpoints: Any, step: int, arrays: dict[str, Any], values: bool) -> None:
    """Reads a checkpoint that was just written: its description and the list of its arrays.

    Args:
        checkpoints: the `vitax.training.checkpoint.Checkpoints` that wrote it.
        step: its step.
        arrays: its arrays, as `jax.ShapeDtypeStruct`s.
        values: whether to compare the values of the arrays too.

    Raises:
        Damaged: it differs from what was to be written.
    """
    saved = checkpoints.meta(step)[ARRAYS]
    if not whole(checkpoints.folder / str(step)):
        raise Damaged("its list of arrays was not written")
    if not values:
        stored = checkpoints.manager.item_metadata(step).state.tree
        if len(jax.tree.leaves(stored)) != len(saved):
            raise Damaged(f"of {len(saved)} arrays {len(jax.tree.leaves(stored))} were written")
        return
    # As NumPy arrays, so that no second copy of the state needs room on the devices.
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), arrays)
    request = ocp.args.PyTreeRestore(arrays, restore_args=as_numpy)
    read = checkpoints.manager.restore(step, args=ocp.args.Composite(state=request)).state
    for name, value in fingerprints(read).items():
        if saved[name] != value:
            raise Damaged(f"{name} is {value} on disk, and {saved[name]} was to be written")
