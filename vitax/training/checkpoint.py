"""Asynchronous checkpoints by Orbax. The last few and the best are kept, each with a description of itself.

A checkpoint holds the full state as arrays, and ``meta``, a JSON object with config, versions, preprocessing, class
names and the position of the logs. Arrays are restored onto whatever mesh the caller has.
"""

import contextlib
import json
import logging
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
from vitax.training.read_back import ARRAYS, DIGEST, Alias, best_of, measured, read_arrays, read_back, read_meta
from vitax.training.step import TrainState

LOGGER = logging.getLogger("vitax")
REPLACED = ".replaced"
ELSEWHERE = "another host cannot read it"


class Checkpoints:
    """The checkpoints of one run.

    Each checkpoint records its arrays and their checksums, so that arrays that were truncated, mixed up or corrupted
    on disk are never taken for a state. Each is read back after it has been written: its description and its list of
    arrays always, the values of the arrays for the first checkpoint and the last one. Only then are older ones deleted.

    Args:
        directory: folder of the checkpoints; created if it does not exist (unless read_only).
        keep: number of newest checkpoints to keep, at least 1.
        best: name of the metric by which one more checkpoint is kept, "" = none. NaN is never the best.
        mode: "max" or "min": whether the largest or the smallest value of that metric is the best.
        read_only: whether nothing may be written or deleted.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 2, best: str = "", mode: str = "max", read_only: bool = False
    ):
        self.folder = Path(directory).absolute()
        self.best_metric, self.mode, self.keep, self.read_only = best, mode, keep, read_only
        self.saving: int | None = None  # the step that is being written
        self.problem = ""  # of the newest save, "" = none
        self.unread: tuple[int, dict[str, Any]] | None = None  # step and abstract arrays of a save to read back
        self.values_read = False  # whether the values of a checkpoint have been read back
        self.alias = Alias(self.folder)
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._finish_replacing()
        self.manager = self._open()
        self.values = self._values() if best and not read_only else {}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Answers Orbax which checkpoints to keep: the newest, the best, and the one that is not read back yet.

        Orbax's own policy forgets the metrics of all checkpoints as soon as a run is continued.
        """
        steps = [info.step for info in checkpoints]
        kept = self._kept([step for step in steps if step != self.saving])
        return [step in kept or step == self.saving for step in steps]

    def _kept(self, steps: Sequence[int]) -> set[int]:
        """The newest ones of some steps, and the best one."""
        best = best_of({step: v for step, v in self.values.items() if step in steps}, self.mode)
        return {*sorted(steps)[-self.keep :], *([] if best is None else [best])}

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """True if these metrics are better than those of all checkpoints."""
        _, value = measured(metrics, self.best_metric)
        return best_of({**self.values, -1: value}, self.mode) == -1 and value not in self.values.values()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self, read_only=self.read_only, cleanup_tmp_directories=not self.read_only
        )
        return ocp.CheckpointManager(
            self.alias.path,
            options=options,
            item_names=("state", "meta"),
            item_handlers={"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        )

    def save(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save a checkpoint, and returns as soon as the arrays are copied.

        A failure, here or in the background, is logged as a warning; training goes on, and `wait` returns the message.

        Args:
            step: number of updates done.
            state: the full state.
            meta: JSON object; its "metrics" {name: value} decide which checkpoint is the best.
        """
        self.wait()  # otherwise Orbax would raise a failure of the last save in this one
        self.saving, self.problem, self.unread = step, "", None
        arrays = state._asdict()
        # A copy, because it is written in the background and the caller may change its own objects meanwhile.
        record: dict[str, Any] = json.loads(json.dumps({**meta, ARRAYS: fingerprints(arrays)}))
        record[DIGEST] = digest(record)
        _, self.values[step] = measured(record["metrics"], self.best_metric)
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(arrays), meta=ocp.args.JsonSave(record))
        if self._all_try(lambda: self.manager.save(step, args=items, force=True)):
            self.unread = step, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)

    def replace(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Saves a step again. The old or the new checkpoint is intact at any moment, even if the process is killed."""
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
        """Deletes each replaced checkpoint if the new one is complete; otherwise puts the old one back."""
        first = jax.process_index() == 0
        for old in self.folder.glob(f"*{REPLACED}") if first else ():
            new = old.with_suffix("")
            if whole(new):
                shutil.rmtree(old)
            else:
                shutil.rmtree(new, ignore_errors=True)
                old.rename(new)
        all_hosts(True)

    def wait(self, values: bool = False) -> str:
        """Waits until all saves are on disk and read back; returns what went wrong with the newest one, "" = nothing.

        Args:
            values: whether to compare the values of all arrays too, as for the first checkpoint.
        """
        if self._all_try(lambda: self.manager.wait_until_finished()) and self.unread:
            (step, arrays), self.unread = self.unread, None
            if self._all_try(lambda: read_back(self, step, arrays, values or not self.values_read)):
                self.values_read, self.saving = True, None
                for old in set(self.manager.all_steps()) - self._kept(self.manager.all_steps()):
                    self.manager.delete(old)
            else:
                self._set_aside([step])
        return self.problem

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Renames damaged checkpoints to ``STEP.damaged``, so that their steps can be saved again."""
        for step in steps if jax.process_index() == 0 else ():
            shutil.rmtree(self.folder / f"{step}.damaged", ignore_errors=True)
            with contextlib.suppress(OSError):  # other hosts wait for this one
                (self.folder / str(step)).rename(self.folder / f"{step}.damaged")
        all_hosts(True)
        self.manager.reload()

    def _all_try(self, write: Callable[[], Any]) -> bool:
        """Whether a call succeeded; a failure on one host is one on all, because the managers count their barriers."""
        wrong: Exception | None = None
        try:
            write()
        except Exception as error:
            wrong = error
        if good := all_hosts(wrong is None):
            return good
        self._failed(wrong or OSError("another host could not write its part"))
        return False

    def _failed(self, error: Exception) -> None:
        """Logs that a save failed and opens a new manager; with the old one, Orbax would raise the error again.

        The new manager deletes the unfinished checkpoint.
        """
        full = "No space left" in str(error)
        cause = f"no space left on the disk of {self.folder}" if full else reason(error)
        self.problem, self.unread = f"checkpoint {self.saving} could not be saved: {cause}", None
        self.values.pop(-1 if self.saving is None else self.saving, None)
        LOGGER.warning(self.problem)
        for _ in range(3):  # each thread of the manager raises once
            with contextlib.suppress(Exception):
                self.manager.close()
                break
        self.manager = self._open()

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, oldest first; a run killed while it deletes one leaves a part of it."""
        return [s for s in sorted(self.manager.all_steps()) if whole(self.folder / str(s))]

    def latest(self) -> int | None:
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step with the best metric; None if the metric was never measured."""
        return best_of(self._values(), self.mode)

    def _values(self) -> dict[int, float | None]:
        """The metric of each checkpoint; None if it was not measured."""
        values = {}
        for step in self.steps():
            try:
                _, values[step] = measured(self.meta(step)["metrics"], self.best_metric)
            except Damaged as error:
                LOGGER.warning("%s; the best checkpoint is chosen among the others", error)
        return values

    def meta(self, step: int) -> dict[str, Any]:
        """The description in a checkpoint: the JSON object given to `save`, with the fingerprints of the arrays.

        Raises:
            Damaged: it differs from what was written.
            UserError: it cannot be read, and its files are not to blame, see `fault`.
        """
        try:
            return read_meta(self.manager, step)
        except Exception as error:
            raise fault(self._name(step), error) from error

    def restore(self, step: int, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays of a step, laid out on the caller's mesh.

        Args:
            step: step of a saved checkpoint.
            wanted: {field of TrainState: tree of `jax.ShapeDtypeStruct` with shardings}; fields left out are not
                read.

        Raises:
            UserError: the checkpoint does not fit the model, or it cannot be read and its files are not to blame.
            Damaged: its files cannot be read, or its arrays differ from what was written.
        """
        requested = dict(wanted)
        saved = self.meta(step)[ARRAYS]
        if different := mismatches(requested, saved):
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise UserError(f"{self._name(step)} does not fit the model: {'; '.join(different[:3])}{more}")
        wrong, arrays = None, {}
        try:
            arrays = read_arrays(self.manager, step, requested)
        except Exception as error:
            wrong = error
        if not all_hosts(wrong is None):
            raise fault(self._name(step), wrong or ValueError(ELSEWHERE)) from wrong
        for name, value in fingerprints(arrays).items():
            if saved[name] != value:
                raise Damaged(f"{self._name(step)} is damaged: {name} is {value}, but {saved[name]} was written")
        return arrays

    def newest(self, read: Callable[[int], dict[str, Any]]) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """The newest intact checkpoint; None if there is no checkpoint at all.

        Newer damaged checkpoints are logged and renamed.

        Args:
            read: function from a step to its arrays; raises `Damaged`.

        Returns:
            Step, meta and arrays.

        Raises:
            UserError: all of them are damaged.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        damaged: list[tuple[int, str]] = []
        for step in steps:
            try:
                meta = self._meta_everywhere(step)
                arrays = read(step)
            except Damaged as error:
                damaged.append((step, str(error)))
                continue
            for bad, message in damaged:
                LOGGER.warning("%s; it is renamed to %d.damaged, and checkpoint %d is used", message, bad, step)
            self._set_aside([bad for bad, _ in damaged])
            return step, meta, arrays
        if steps:
            raise UserError(f"{damaged[0][1]}; no other checkpoint is intact; nothing was changed: use another workdir")
        return None

    def _meta_everywhere(self, step: int) -> dict[str, Any]:
        """The same as `meta`, but if it is damaged on one host, all hosts raise."""
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
        self.alias.close()
