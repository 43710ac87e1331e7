"""Checkpoints by Orbax: asynchronous, the last few and the best, each with a description of itself.

A checkpoint holds the full state as arrays and ``meta``, a JSON object: config, versions, preprocessing, class
names, position of the logs. Arrays are restored onto whatever mesh the caller has.
"""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vitax.errors import UserError
from vitax.mesh import all_hosts
from vitax.training.damage import Damaged, digest, fault, reason, whole
from vitax.training.fingerprint import fingerprints, mismatches
from vitax.training.step import TrainState

LOGGER = logging.getLogger("vitax")
ARRAYS, DIGEST = "arrays", "digest"  # keys of meta that are added here
REPLACED = ".replaced"
ELSEWHERE = "another host cannot read it"


class Checkpoints:
    """The checkpoints of one run.

    Each says which arrays it holds and what their checksums are, so that what was cut off, mixed up or flipped on disk
    is never taken for a state.

    Args:
        directory: made if it does not exist (unless read_only).
        keep: how many of the newest stay, at least 1.
        best: name of the metric by which one more stays, "" = none. NaN is never the best.
        mode: "max" or "min": which value of that metric is best.
        read_only: never writes or deletes.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 2, best: str = "", mode: str = "max", read_only: bool = False
    ):
        self.folder = Path(directory).absolute()
        self.best_metric, self.mode, self.keep, self.read_only = best, mode, keep, read_only
        self.saving: int | None = None  # the step that is being written
        self.problem = ""  # with the newest save
        if not read_only:
            self._finish_replacing()
        self.manager = self._open()
        self.values = self._values() if best and not read_only else {}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Orbax's question which checkpoints stay: the newest and the best. Its own policy forgets the metrics of all
        checkpoints as soon as a run is continued."""
        steps = [info.step for info in checkpoints]
        newest = sorted(steps)[-self.keep :]
        best = self._best({step: v for step, v in self.values.items() if step in steps})
        return [step in newest or step == best for step in steps]

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self, read_only=self.read_only, cleanup_tmp_directories=not self.read_only
        )
        return ocp.CheckpointManager(
            self.folder,
            options=options,
            item_names=("state", "meta"),
            item_handlers={"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        )

    def save(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save; returns as soon as the arrays are copied. What goes wrong, here or in the background, is a
        warning: training goes on, and `wait` tells it.

        Args:
            step: updates done.
            state: all of it.
            meta: JSON; its "metrics" {name: value} decide which checkpoint is the best.
        """
        self.wait()  # Orbax would raise the failure of the last save in this one
        self.saving, self.problem = step, ""
        arrays = state._asdict()
        # Written in the background: the caller may change its own objects meanwhile.
        record: dict[str, Any] = json.loads(json.dumps({**meta, ARRAYS: fingerprints(arrays)}))
        record[DIGEST] = digest(record)
        self.values[step] = record["metrics"].get(self.best_metric)
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(arrays), meta=ocp.args.JsonSave(record))
        self._all_try(lambda: self.manager.save(step, args=items, force=True))

    def replace(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Saves a step again; whenever the process may be killed, one of the two is there."""
        self.wait()
        if jax.process_index() == 0:
            (self.folder / str(step)).rename(self.folder / f"{step}{REPLACED}")
        all_hosts(True)
        self.manager.reload()
        self.save(step, state, meta)
        self.wait()
        self._finish_replacing()
        self.manager.reload()

    def _finish_replacing(self) -> None:
        """Deletes what was replaced, where the new one is whole; otherwise puts it back."""
        first = jax.process_index() == 0
        for old in self.folder.glob(f"*{REPLACED}") if first else ():
            new = old.with_suffix("")
            if whole(new):
                shutil.rmtree(old)
            else:
                shutil.rmtree(new, ignore_errors=True)
                old.rename(new)
        all_hosts(True)

    def wait(self) -> str:
        """Until all saves are on disk; says what went wrong with the newest, "" = nothing."""
        self._all_try(lambda: self.manager.wait_until_finished())
        return self.problem

    def _all_try(self, write: Callable[[], Any]) -> None:
        """Where it fails on one host, it has failed on all: their managers count their meetings."""
        error: Exception = OSError("another host could not write its part")
        good = True
        try:
            write()
        except Exception as own:
            good, error = False, own
        if not all_hosts(good):
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Says that a save failed, and begins anew: Orbax would raise the same in the next one. What was written of it
        is deleted."""
        full = "No space left" in str(error)
        told = f"no space left on the disk of {self.folder}" if full else reason(error)
        self.problem = f"checkpoint {self.saving} could not be saved: {told}"
        LOGGER.warning(self.problem)
        for _ in range(3):  # each of its threads raises once
            with contextlib.suppress(Exception):
                self.manager.close()
                break
        self.manager = self._open()

    def steps(self) -> list[int]:
        """The whole checkpoints, oldest first. A run killed while it deletes an old one leaves a part of it."""
        return [s for s in sorted(self.manager.all_steps()) if whole(self.folder / str(s))]

    def latest(self) -> int | None:
        """The newest step, None where nothing was saved."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step with the best metric, the later one of equals; None where none was measured."""
        return self._best(self._values())

    def _values(self) -> dict[int, float | None]:
        """The metric of each checkpoint, None where it was not measured."""
        values = {}
        for step in self.steps():
            try:
                values[step] = self.meta(step)["metrics"].get(self.best_metric)
            except Damaged as error:
                LOGGER.warning("%s; the best one is chosen among the others", error)
        return values

    def _best(self, values: Mapping[int, float | None]) -> int | None:
        sign = 1 if self.mode == "max" else -1
        good = [(sign * v, step) for step, v in values.items() if v is not None and math.isfinite(v)]
        return max(good)[1] if good else None

    def meta(self, step: int) -> dict[str, Any]:
        """What a checkpoint says of itself.

        Raises:
            Damaged: it is not what was written.
        """
        try:
            arguments = ocp.args.Composite(meta=ocp.args.JsonRestore())
            meta = self.manager.restore(step, args=arguments).meta
            if meta.pop(DIGEST) != digest(meta):
                raise ValueError("meta is not what was written")
        except Exception as error:
            raise fault(self._name(step), error) from error
        return meta

    def restore(self, step: int, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays of a step, laid out on the caller's mesh.

        Args:
            step: one of those saved.
            wanted: {field of TrainState: tree of `jax.ShapeDtypeStruct` with shardings}; fields left out are not
                read.

        Raises:
            UserError: the checkpoint does not fit the model.
            Damaged: it cannot be read, or is not what was written.
        """
        requested = dict(wanted)
        saved = self.meta(step)[ARRAYS]
        if different := mismatches(requested, saved):
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise UserError(f"{self._name(step)} does not fit the model: {'; '.join(different[:3])}{more}")
        arguments = ocp.args.PyTreeRestore(
            requested, restore_args=ocp.checkpoint_utils.construct_restore_args(requested), partial_restore=True
        )
        wrong: Exception | None = None
        try:
            arrays = self.manager.restore(step, args=ocp.args.Composite(state=arguments)).state
            if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(arrays)):
                raise ValueError("an array is missing")  # Orbax hands back the request
        except Exception as error:
            wrong = error
        if not all_hosts(wrong is None):
            raise fault(self._name(step), wrong or ValueError(ELSEWHERE)) from wrong
        for name, value in fingerprints(arrays).items():
            if saved[name] != value:
                raise Damaged(f"{self._name(step)} is damaged: {name} is {value}, {saved[name]} was written")
        return arrays

    def newest(self, read: Callable[[int], dict[str, Any]]) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """The newest checkpoint that is what was saved; None where there is none at all.

        Damaged ones that are newer are told, and renamed to ``STEP.damaged``, so that their steps can be saved again.

        Args:
            read: step -> its arrays; raises `Damaged`.

        Returns:
            Step, meta and arrays.

        Raises:
            UserError: all of them are damaged.
        """
        there = sorted(self.manager.all_steps(), reverse=True)
        damaged: list[tuple[int, str]] = []
        for step in there:
            try:
                meta = self._meta_everywhere(step)
                arrays = read(step)
            except Damaged as error:
                damaged.append((step, str(error)))
                continue
            for bad, told in damaged:
                LOGGER.warning("%s; it is now %d.damaged, and checkpoint %d used", told, bad, step)
                if jax.process_index() == 0:
                    shutil.rmtree(self.folder / f"{bad}.damaged", ignore_errors=True)
                    (self.folder / str(bad)).rename(self.folder / f"{bad}.damaged")
            all_hosts(True)
            self.manager.reload()
            return step, meta, arrays
        if there:
            raise UserError(f"{damaged[0][1]}; no other is whole. All is left as it is: choose another workdir")
        return None

    def _meta_everywhere(self, step: int) -> dict[str, Any]:
        """`meta`; damaged for all hosts where it is for one."""
        wrong, meta = None, {}
        try:
            meta = self.meta(step)
        except Damaged as error:
            wrong = error
        if not all_hosts(wrong is None):
            raise wrong or fault(self._name(step), ValueError(ELSEWHERE))
        return meta

    def _name(self, step: int) -> str:
        return f"checkpoint {step} in {self.folder}"

    def close(self) -> None:
        self.manager.close()
