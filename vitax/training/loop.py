"""The training loop: next batch, step, log, evaluate, save. It works for any Task and names none."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vitax.errors import TrainingError, UserError
from vitax.monitoring.log import MetricsLog, Progress, Recorder, say
from vitax.monitoring.signals import Stopped
from vitax.monitoring.watchdog import Watchdog
from vitax.tasks.task import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator
from vitax.training.health import Check
from vitax.training.optim import Schedule
from vitax.training.sharding import prefetch
from vitax.training.step import Compiled, TrainState, parameter_paths


class Plan(NamedTuple):
    """When what happens, all in steps; 0 = only at the end (a log line, a trace: never)."""

    total: int
    log_every: int
    eval_every: int
    save_every: int
    profile_at: int = 0
    profile_steps: int = 0


class Inputs(NamedTuple):
    """What the loop is given besides the programs."""

    batches: Callable[[int], Iterator[dict[str, np.ndarray]]]  # start step -> host batches
    corrupt: set[int]  # filled by ``batches``: indices of unreadable examples met so far
    evaluators: Mapping[str, Evaluator]  # split -> evaluator
    schedule: Schedule
    batch_size: int
    unit: str  # what an example is called in the log: "images"
    identity: Mapping[str, Any]  # of the data; a checkpoint made with other data is refused
    stop: Callable[[int], bool] = lambda step: False  # asked after each step; True = save, return
    interrupting: Callable[[], AbstractContextManager] = contextlib.nullcontext  # may raise Stopped
    start_from: Variables | None = None  # of a new run, in place of the initial ones
    reading: Callable[[], Sequence[str]] = tuple  # names of the examples that are being read
    skip: bool = False  # steps that are not finite, which the step itself then undoes


class Outcome(NamedTuple):
    """How a run ended.

    results: the last value of each evaluated metric.
    seconds: spent so far, earlier starts included.
    done: all steps, and the last evaluation; otherwise it was told to stop, and is saved.
    """

    state: TrainState
    results: dict[str, float]
    seconds: float
    done: bool


def train(
    compiled: Compiled,
    inputs: Inputs,
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    metrics_log: MetricsLog,
    meta: Mapping[str, Any],
    profile_dir: Path | None = None,
) -> Outcome:
    """Trains to ``plan.total``, from the newest checkpoint if there is one.

    Args:
        compiled: see `vitax.training.step.compile_step`.
        meta: what each checkpoint says of itself, besides what the loop adds.
        profile_dir: where the trace of the chosen steps goes.

    Raises:
        TrainingError: a loss, gradient, update or parameter that is not finite; nothing of that step is saved. Or the
            last checkpoint could not be written.
        UserError: the newest checkpoint does not fit the model or the data, or all of them are damaged.
    """
    began = time.monotonic()
    start, state, saved = _begin(compiled, inputs, mesh, checkpoints)
    watchdog = Watchdog()
    began -= saved["seconds"]
    inputs.corrupt.update(saved["corrupt"])
    results = dict(saved["metrics"])
    check = Check(parameter_paths(state.params), inputs.skip, *saved["skipped"])
    progress = Progress(plan.total, start, inputs.unit)
    recorder = Recorder(metrics_log, progress, watchdog, check, saved["window"])
    batches = prefetch(inputs.batches(start), mesh)
    tracer = Tracer(profile_dir)

    def due(step: int, every: int) -> bool:
        return step == plan.total or (bool(every) and step % every == 0)

    def save(step: int, metrics: Mapping[str, float], pending: bool, again: bool = False) -> None:
        recorder.read()  # raises where the step is not finite, before anything is saved
        found = {
            "data": inputs.identity,
            "metrics": metrics,
            "pending": pending,  # its evaluation was due and is not done
            "window": recorder.sums,
            "corrupt": sorted(inputs.corrupt),
            "skipped": [check.skipped, check.in_a_row],
            "seconds": time.monotonic() - began,
            "unwritten": metrics_log.unwritten(),
        }
        (checkpoints.replace if again else checkpoints.save)(step, state, {**meta, **found})

    def evaluate(step: int) -> dict[str, float] | None:
        """None where a signal came first."""
        try:
            with inputs.interrupting():
                found = evaluate_all(inputs.evaluators, state.variables, state.ema_variables)
        except Stopped:
            return None
        metrics_log.write(step, found)
        say(f"step {step:,}  {one_line(found)}")
        return found

    def rest(step: int) -> tuple[dict[str, float] | None, bool]:
        """What is due after a step: evaluation and checkpoint. Returns the results, and whether to stop."""
        stopping, evaluating, found = inputs.stop(step), due(step, plan.eval_every), None
        if evaluating and not stopping:
            recorder.read()  # raises where the step is not finite
            try:
                found = evaluate(step)
            except Exception:
                if jax.process_count() == 1:  # the others may be anywhere
                    # What was learned is not lost to what cannot be tested.
                    save(step, {}, pending=True)
                raise
            stopping = found is None
        if due(step, plan.save_every) or stopping:
            save(step, found or {}, pending=evaluating and found is None)
        return found, stopping

    try:
        metrics_log.start(start, saved["pending"], saved["unwritten"])
        stopping = False
        if saved["pending"]:
            found = evaluate(start)
            stopping, results = found is None, found or results
            if found is not None:
                save(start, found, pending=False, again=True)
        for step in range(start + 1, plan.total + 1):
            if stopping:
                break
            if step == plan.profile_at:
                tracer.start()
            with jax.set_mesh(mesh):
                batch = recorder.wait_for(batches, inputs.reading)
                state, reported = compiled.step(state, batch)
                recorder.step(step, reported, inputs.batch_size)
            if plan.profile_at and step == plan.profile_at + plan.profile_steps - 1:
                jax.block_until_ready(state)
                tracer.stop()
            if plan.log_every and due(step, plan.log_every):
                extra = {"train/learning_rate": float(inputs.schedule(step - 1)), "data/corrupt": len(inputs.corrupt)}
                recorder.read()  # first: what it finds is counted in this line
                recorder.line(step, extra | check.counts())
            with recorder.pause():
                found, stopping = rest(step)
                results = results if found is None else found
        problems = [told for told in (checkpoints.wait(), metrics_log.close()) if told]
    except BaseException:
        if jax.process_count() == 1:  # what was being saved when a later step failed is still good
            checkpoints.wait()
        raise
    finally:
        metrics_log.close()
        progress.close()
        watchdog.close()
        batches.close()
        tracer.stop()
    if problems:
        raise TrainingError(
            f"{'; '.join(problems)}; once that is mended, the same command continues from the newest checkpoint"
        )
    return Outcome(state, results, time.monotonic() - began, done=not stopping)


def _begin(
    compiled: Compiled, inputs: Inputs, mesh: Mesh, checkpoints: Checkpoints
) -> tuple[int, TrainState, dict[str, Any]]:
    """The step to start from, the state there, and what `train` had saved beside it."""
    wanted = compiled.abstract_state._asdict()
    there = checkpoints.newest(lambda step: checkpoints.restore(step, wanted))
    if there is None:
        with jax.set_mesh(mesh):
            state = compiled.init()
        if inputs.start_from is not None:
            state = state.starting_from(inputs.start_from)
        nothing = {"window": {}, "metrics": {}, "corrupt": [], "skipped": [0, 0], "unwritten": []}
        return 0, state, {**nothing, "seconds": 0, "pending": False}
    start, saved, arrays = there
    if saved["data"] != inputs.identity:
        raise UserError(
            f"the data are not those of checkpoint {start}: {_changes(saved['data'], inputs.identity)}; "
            "restore them, or start another run"
        )
    return start, TrainState(**arrays), saved


class Tracer:
    """A profiler trace that is stopped at most once, however the run ends."""

    def __init__(self, folder: Path | None):
        self.folder, self.running = folder, False

    def start(self) -> None:
        jax.profiler.start_trace(str(self.folder))
        self.running = True

    def stop(self) -> None:
        if self.running:
            self.running = False
            jax.profiler.stop_trace()


def _changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    keys = sorted(k for k in there.keys() | here.keys() if there.get(k) != here.get(k))
    return ", ".join(f"{k} was {str(there.get(k))[:60]} and is {str(here.get(k))[:60]}" for k in keys)


def one_line(results: Mapping[str, float]) -> str:
    """Results on one line for a person: without counts and clocks."""
    return "  ".join(
        f"{name} {value:.4f}"
        for name, value in results.items()
        if not name.endswith(("/examples", "/seconds")) and not (name.endswith("/corrupt") and not value)
    )


def evaluate_all(evaluators: Mapping[str, Evaluator], variables: Variables, ema: Variables | None) -> dict[str, float]:
    """``<split>/<metric>`` of every evaluator and, of the averaged parameters, ``<split>_ema/<metric>``."""
    found = {}
    for split, evaluator in evaluators.items():
        for suffix, chosen in (("", variables), ("_ema", ema)):
            if chosen is not None:
                found |= {f"{split}{suffix}/{name}": v for name, v in evaluator(chosen).items()}
    return found
