"""The training loop: next batch, step, log, evaluate, save. It works for any Task and names none."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vitax.errors import TrainingError
from vitax.tasks.task import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator
from vitax.training.log import MetricsLog, Progress, Stopwatch, Window
from vitax.training.optim import Schedule
from vitax.training.sharding import prefetch
from vitax.training.step import Compiled, Health, StepMetrics, TrainState, parameter_paths


class Plan(NamedTuple):
    """When what happens, all in steps; 0 = never."""

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
    stop: Callable[[], bool] = lambda: False  # asked after every step; True = save and return


def train(
    compiled: Compiled,
    inputs: Inputs,
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    log: MetricsLog,
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
    """
    began = time.monotonic()
    start = checkpoints.latest() or 0
    if start:
        state = TrainState(**checkpoints.restore(start, compiled.abstract_state._asdict()))
        saved = checkpoints.meta(start)
        window, results = Window(saved["window"]), dict(saved["metrics"])
        inputs.corrupt.update(saved["corrupt"])
        began -= saved["seconds"]
    else:
        with jax.set_mesh(mesh):
            state = compiled.init()
        window, results = Window(), {}
    log.start(start)
    if start >= plan.total:
        log.close()
        return state, results, time.monotonic() - began

    names = parameter_paths(state.params)
    batches = prefetch(inputs.batches(start), mesh)
    progress = Progress(plan.total, start, inputs.unit, inputs.batch_size)
    watch = Stopwatch()
    unread: tuple[int, StepMetrics] | None = None
    since_log = 0

    def read() -> None:
        """Fetches the metrics of the step before: by then the device has long begun the next one."""
        nonlocal unread
        if unread is not None:
            step, reported = unread
            window.add(_checked(step, jax.device_get(reported), names))
            unread = None

    def due(step: int, every: int) -> bool:
        return bool(every) and (step % every == 0 or step == plan.total)

    try:
        for step in range(start + 1, plan.total + 1):
            if step == plan.profile_at:
                jax.profiler.start_trace(str(profile_dir))
            batch = watch.next(batches)
            with jax.set_mesh(mesh):
                state, reported = compiled.step(state, batch)
            read()
            unread = (step, reported)
            since_log += 1
            progress.update(step)
            if plan.profile_at and step == plan.profile_at + plan.profile_steps - 1:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()

            if due(step, plan.log_every):
                read()
                speed = watch.read(since_log * inputs.batch_size)
                means = window.means()
                since_log = 0
                line = {f"train/{name}": value for name, value in means.items()}
                line["train/learning_rate"] = float(inputs.schedule(step - 1))
                line[f"train/{inputs.unit}_per_second"] = speed["rate"]
                line["train/data_wait"] = speed["data_wait"]
                line["data/corrupt"] = len(inputs.corrupt)
                log.write(step, line)
                progress.update(step, line["train/loss"], speed["rate"])

            paused = time.perf_counter()
            if due(step, plan.eval_every):
                read()
                found = evaluate_all(inputs.evaluators, state.variables, state.ema_variables)
                log.write(step, found)
                results = found
                shown = {
                    k: v for k, v in found.items() if not k.endswith(("/seconds", "/examples"))
                }
                progress.say(
                    f"step {step:,}  " + "  ".join(f"{k} {v:.4f}" for k, v in shown.items())
                )
            stopping = inputs.stop()
            if due(step, plan.save_every) or step == plan.total or stopping:
                read()  # a step that is not finite raises here, before anything is saved
                checkpoints.save(
                    step,
                    state,
                    {
                        **meta,
                        "metrics": results if due(step, plan.eval_every) else {},
                        "window": window.sums,
                        "corrupt": sorted(inputs.corrupt),
                        "seconds": time.monotonic() - began,
                    },
                )
            watch.pause(time.perf_counter() - paused)
            if stopping:
                break
    finally:
        progress.close()
        batches.close()
        log.close()
        checkpoints.wait()  # what was being saved when a later step failed is still good
    return state, results, time.monotonic() - began


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
