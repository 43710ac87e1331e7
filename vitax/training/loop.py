"""The training loop: next batch, step, log, evaluate, save. It works for any Task and names none."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vitax.errors import TrainingError, UserError
from vitax.tasks.task import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator
from vitax.training.log import MetricsLog, Progress, Recorder, say
from vitax.training.optim import Schedule
from vitax.training.sharding import prefetch
from vitax.training.step import Compiled, Health, StepMetrics, TrainState, parameter_paths


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
    start_from: Variables | None = None  # of a new run, in place of the initial ones


def train(
    compiled: Compiled,
    inputs: Inputs,
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    metrics_log: MetricsLog,
    meta: Mapping[str, Any],
    profile_dir: Path | None = None,
) -> tuple[TrainState, dict[str, float], float]:
    """Trains to ``plan.total``, from the newest checkpoint if there is one.

    Args:
        compiled: see `vitax.training.step.compile_step`.
        meta: what each checkpoint says of itself, besides what the loop adds.
        profile_dir: where the trace of the chosen steps goes.

    Returns:
        The state, the last value of each evaluated metric, and the seconds spent so far, earlier starts included.

    Raises:
        TrainingError: a loss, gradient, update or parameter that is not finite; nothing of that step is saved.
        UserError: the newest checkpoint does not fit the model or the data.
    """
    began = time.monotonic()
    start, state, saved = _begin(compiled, inputs, mesh, checkpoints)
    began -= saved["seconds"]
    inputs.corrupt.update(saved["corrupt"])
    results = dict(saved["metrics"])
    check = functools.partial(_checked, names=parameter_paths(state.params))
    progress = Progress(plan.total, start, inputs.unit)
    recorder = Recorder(metrics_log, progress, check, saved["window"])
    batches = prefetch(inputs.batches(start), mesh)
    tracer = Tracer(profile_dir)

    def due(step: int, every: int) -> bool:
        return step == plan.total or (bool(every) and step % every == 0)

    def save(step: int, metrics: Mapping[str, float]) -> None:
        recorder.read()  # raises where the step is not finite, before anything is saved
        found = {
            "data": inputs.identity,
            "metrics": metrics,
            "window": recorder.sums,
            "corrupt": sorted(inputs.corrupt),
            "seconds": time.monotonic() - began,
        }
        checkpoints.save(step, state, {**meta, **found})

    try:
        metrics_log.start(start)
        for step in range(start + 1, plan.total + 1):
            if step == plan.profile_at:
                tracer.start()
            with jax.set_mesh(mesh):
                state, reported = compiled.step(state, recorder.wait_for(batches))
                recorder.step(step, reported, inputs.batch_size)
            if plan.profile_at and step == plan.profile_at + plan.profile_steps - 1:
                jax.block_until_ready(state)
                tracer.stop()
            if plan.log_every and due(step, plan.log_every):
                rate = float(inputs.schedule(step - 1))
                recorder.line(
                    step, {"train/learning_rate": rate, "data/corrupt": len(inputs.corrupt)}
                )
            with recorder.pause():
                evaluating, stopping = due(step, plan.eval_every), inputs.stop(step)
                if evaluating:
                    recorder.read()
                    try:
                        results = evaluate_all(
                            inputs.evaluators, state.variables, state.ema_variables
                        )
                    except Exception:
                        save(step, {})  # what was learned is not lost to what cannot be tested
                        raise
                    metrics_log.write(step, results)
                    say(f"step {step:,}  {one_line(results)}")
                if due(step, plan.save_every) or stopping:
                    save(step, results if evaluating else {})
            if stopping:
                break
    finally:
        progress.close()
        batches.close()
        metrics_log.close()
        tracer.stop()
        checkpoints.wait()  # what was being saved when a later step failed is still good
    return state, results, time.monotonic() - began


def _begin(
    compiled: Compiled, inputs: Inputs, mesh: Mesh, checkpoints: Checkpoints
) -> tuple[int, TrainState, dict[str, Any]]:
    """The step to start from, the state there, and what `train` had saved beside it."""
    start = checkpoints.latest()
    if start is None:
        with jax.set_mesh(mesh):
            state = compiled.init()
        if inputs.start_from is not None:
            state = state.starting_from(inputs.start_from)
        return 0, state, {"window": {}, "metrics": {}, "corrupt": [], "seconds": 0}
    saved = checkpoints.meta(start)
    if saved["data"] != inputs.identity:
        raise UserError(
            f"the data are not those of checkpoint {start}: {_changes(saved['data'], inputs.identity)}; "
            "restore them, or start another run"
        )
    state = TrainState(**checkpoints.restore(start, compiled.abstract_state._asdict()))
    return start, state, saved


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
    return ", ".join(
        f"{k} was {str(there.get(k))[:60]} and is {str(here.get(k))[:60]}" for k in keys
    )


def one_line(results: Mapping[str, float]) -> str:
    """Results on one line for a person: without counts and clocks."""
    return "  ".join(
        f"{name} {value:.4f}"
        for name, value in results.items()
        if not name.endswith(("/examples", "/seconds"))
        and not (name.endswith("/corrupt") and not value)
    )


def evaluate_all(
    evaluators: Mapping[str, Evaluator], variables: Variables, ema: Variables | None
) -> dict[str, float]:
    """``<split>/<metric>`` of every evaluator and, of the averaged parameters, ``<split>_ema/<metric>``."""
    found = {}
    for split, evaluator in evaluators.items():
        for suffix, chosen in (("", variables), ("_ema", ema)):
            if chosen is not None:
                found |= {f"{split}{suffix}/{name}": v for name, v in evaluator(chosen).items()}
    return found


def _checked(step: int, reported: StepMetrics, names: list[str]) -> dict[str, tuple[float, float]]:
    """The metrics of a step as numbers, once nothing in it is NaN or infinite."""
    health: Health = reported.health
    for kind in Health._fields:  # causes before effects
        values = np.atleast_1d(getattr(health, kind))
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            where = "" if kind == "loss" else f" of {names[bad[0]]}"
            more = f" and {bad.size - 1} more" if bad.size > 1 else ""
            raise TrainingError(
                f"the {kind}{where}{more} is not finite at step {step}; "
                "the last checkpoint is kept. Usual remedies: a lower learning rate, a longer warm-up, "
                "optim.clip_norm=1.0, model.dtype=float32"
            )
    found = {
        name: (float(total), float(count)) for name, (total, count) in reported.metrics.items()
    }
    for kind in ("gradient", "parameter"):
        norm = float(np.sqrt(np.square(getattr(health, kind).astype(np.float64)).sum()))
        found[f"{kind}_norm"] = (norm, 1.0)
    return found
