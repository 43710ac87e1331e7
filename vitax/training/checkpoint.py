"""Checkpoints by Orbax: asynchronous, the last few and the best, each with a description of itself.

A checkpoint holds the full state as arrays and ``meta``, a JSON object: config, versions, preprocessing, class
names, position of the logs. Arrays are restored onto whatever mesh the caller has.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from vitax.errors import UserError
from vitax.training.step import TrainState


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: made if it does not exist (unless read_only).
        keep: how many of the newest stay, at least 1.
        best: name of the metric by which one more stays, "" = none. NaN is never the best.
        mode: "max" or "min": which value of that metric is best.
        read_only: never writes or deletes.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 2,
        best: str = "",
        mode: str = "max",
        read_only: bool = False,
    ):
        self.best_metric, self.mode = best, mode
        preserve = [policies.LatestN(keep)]
        if best:
            preserve.append(
                policies.BestN(
                    get_metric_fn=lambda found: found[best],
                    reverse=mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(preserve),
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
        )
        self.manager = ocp.CheckpointManager(
            Path(directory).absolute(),
            options=options,
            item_names=("state", "meta"),
            item_handlers={
                "state": ocp.PyTreeCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            },
        )

    def save(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save; returns as soon as the arrays are copied.

        Args:
            step: updates done.
            state: all of it.
            meta: JSON; its "metrics" {name: value} decide which checkpoint is the best.
        """
        # Written in the background: the caller may change its own objects meanwhile.
        meta = json.loads(json.dumps(dict(meta)))
        metrics = meta["metrics"]
        ranked = math.isfinite(metrics.get(self.best_metric, math.nan))
        self.manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(state._asdict()), meta=ocp.args.JsonSave(meta)
            ),
            metrics=metrics if ranked else None,
            force=True,
        )

    def steps(self) -> list[int]:
        """The whole checkpoints, oldest first. A run killed while it deletes an old one leaves a part of it."""
        folder = Path(self.manager.directory)
        return [
            step
            for step in sorted(self.manager.all_steps())
            if (folder / str(step) / "state" / "_METADATA").exists()
            and (folder / str(step) / "meta" / "metadata").exists()
        ]

    def latest(self) -> int | None:
        """The newest step, None where nothing was saved."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step with the best metric, the later one of equals; None where none was measured."""
        found = {step: self.meta(step)["metrics"].get(self.best_metric) for step in self.steps()}
        values = {s: v for s, v in found.items() if v is not None and math.isfinite(v)}
        sign = 1 if self.mode == "max" else -1
        return max(values, key=lambda step: (sign * values[step], step), default=None)

    def meta(self, step: int) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        return self.manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta

    def restore(self, step: int, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays of a step, laid out on the caller's mesh.

        Args:
            step: one of those saved.
            wanted: {field of TrainState: tree of `jax.ShapeDtypeStruct` with shardings}; fields left out are not
                read.

        Raises:
            UserError: the checkpoint does not fit the model, or cannot be read.
        """
        wanted = dict(wanted)
        where = f"checkpoint {step} in {self.manager.directory}"
        arguments = ocp.args.PyTreeRestore(
            wanted,
            restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            partial_restore=True,
        )
        try:
            stored = self.manager.item_metadata(step).state.tree
            if found := _mismatches(wanted, stored):
                more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                raise UserError(f"{where} does not fit the model: {'; '.join(found[:3])}{more}")
            return self.manager.restore(step, args=ocp.args.Composite(state=arguments)).state
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{where} cannot be restored: {error}") from error

    def wait(self) -> None:
        """Until all saves are on disk; raises what went wrong with them."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        self.manager.close()


def _mismatches(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """What differs between the parameters asked for and those stored: names, then shapes.

    Orbax itself hands back the request where an array is absent, and says little where a shape differs.
    """
    found = []
    for part in ("params", "collections", "ema"):
        if part not in wanted:
            continue
        here, there = (
            {
                jax.tree_util.keystr(path, simple=True, separator="/"): tuple(x.shape)
                for path, x in jax.tree_util.tree_leaves_with_path(tree.get(part) or {})
            }
            for tree in (wanted, stored)
        )
        found += [f"{name} is not in the checkpoint" for name in sorted(here.keys() - there.keys())]
        found += [f"{name} is not in the model" for name in sorted(there.keys() - here.keys())]
        found += [
            f"{name} is {there[name]} in the checkpoint and {here[name]} in the model"
            for name in sorted(here.keys() & there.keys())
            if here[name] != there[name]
        ]
    return found


def choose(checkpoints: Checkpoints, which: str) -> int:
    """The step that "best", "last" or a number means; without any measured one, the best is the last.

    Raises:
        UserError: there is no such checkpoint.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.manager.directory} holds no checkpoint; train the run first")
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
