"""One start of a run: the state, and everything beside the steps: logs, prefetching, watchdog, trace, checkpoints."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vitax.errors import TrainingError, UserError
from vitax.monitoring.log import MetricsLog, one_line, say
from vitax.monitoring.progress import Progress
from vitax.monitoring.recorder import Recorder
from vitax.monitoring.signals import Stopped
from vitax.monitoring.tracer import Tracer
from vitax.monitoring.watchdog import Watchdog
from vitax.tasks.task import Batch, Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator, evaluate_all
from vitax.training.fingerprint import changes
from vitax.training.health import Check
from vitax.training.schedule import Schedule
from vitax.training.sharding import prefetch
from vitax.training.step import Compiled, TrainState, parameter_paths


class Plan(NamedTuple):
    """The schedule of a run, in steps.

    Attributes:
        total: length of the run.
        log_every: interval of log lines; 0 = never.
        eval_every, save_every: intervals of evaluations and of checkpoints; 0 = only at the end.
        profile_at, profile_steps: step at which the profiler trace begins, 0 = never, and its length.
    """

    total: int
    log_every: int
    eval_every: int
    save_every: int
    profile_at: int = 0
    profile_steps: int = 0

    def due(self, step: int, every: int) -> bool:
        """True if an event that happens every ``every`` steps, and at the end, happens after this step."""
        return step == self.total or (bool(every) and step % every == 0)


class Feed(Protocol):
    """Training batches on the host, see `vitax.data.loader.Loader`.

    Attributes:
        corrupt: indices of the unreadable examples met so far.
    """

    corrupt: set[int]

    def train(self, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Endless batches, from number ``start`` on."""

    def reading(self) -> Sequence[str]:
        """Names of the examples that are being read now."""


class Inputs(NamedTuple):
    """Inputs of the loop besides the compiled programs.

    Attributes:
        feed: training batches.
        evaluators, final: {split: evaluator}; the final ones run once, at the end.
        schedule: step -> learning rate, for the log.
        unit: name of the examples in the log, such as "images".
        identity: description of the data; a checkpoint made with other data is rejected.
        stop: function called after each step; True = save and return.
        interrupting: function that returns a context in which a signal may raise `Stopped`.
        start_from: variables that a new run starts from, in place of the initial ones.
        skip: whether the step leaves the state unchanged if its numbers are not finite.
    """

    feed: Feed
    evaluators: Mapping[str, Evaluator]
    schedule: Schedule
    unit: str
    identity: Mapping[str, Any]
    stop: Callable[[int], bool] = lambda step: False
    interrupting: Callable[[], AbstractContextManager] = contextlib.nullcontext
    start_from: Variables | None = None
    skip: bool = False
    final: Mapping[str, Evaluator] = MappingProxyType({})


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
        state, results: the last state, and the last value of each evaluated metric.
        seconds: time spent so far, earlier starts included.
        done: whether all steps and the last evaluation are done; otherwise the run was stopped, and is saved.
    """

    state: TrainState
    results: dict[str, float]
    seconds: float
    done: bool


class Session:
    """One start of a run. Entering it makes up for an interrupted evaluation; leaving it writes and closes everything.

    Attributes:
        stopping: whether the run is to stop.
        pending: whether an evaluation was due and is not done.
        measured: the results of the evaluation after this step.
        improved: whether they are better than those of any checkpoint.
        results: the last results of all evaluations.
    """

    def __init__(
        self,
        compiled: Compiled,
        inputs: Inputs,
        plan: Plan,
        mesh: Mesh,
        checkpoints: Checkpoints,
        metrics_log: MetricsLog,
        meta: Mapping[str, Any],
        profile_dir: Path | None,
    ):
        self.compiled, self.inputs, self.plan, self.mesh, self.meta = compiled, inputs, plan, mesh, meta
        self.checkpoints, self.metrics_log = checkpoints, metrics_log
        self.began = time.monotonic()
        self.start, self.state, self.saved = _begin(compiled, inputs, mesh, checkpoints)
        self.began -= self.saved["seconds"]
        inputs.feed.corrupt.update(self.saved["corrupt"])
        self.results: dict[str, float] = dict(self.saved["metrics"])
        self.measured: dict[str, float] = {}
        self.stopping = self.pending = self.improved = False
        self.problems: list[str] = []
        self.watchdog = Watchdog()
        self.check = Check(parameter_paths(self.state.params), inputs.skip, *self.saved["skipped"])
        self.progress = Progress(plan.total, self.start, inputs.unit)
        self.recorder = Recorder(metrics_log, self.progress, self.watchdog, self.check, self.saved["window"])
        self.batches = prefetch(inputs.feed.train(self.start), mesh)
        self.tracer = Tracer(profile_dir, plan.profile_at, plan.profile_steps)

    def __enter__(self) -> "Session":
        try:
            self.metrics_log.start(self.start, self.saved["pending"], self.saved["unwritten"])
            if self.saved["pending"] or self._lacks_the_last():
                self.evaluate(self.start)
                if not self.stopping:
                    self.save(self.start, again=True)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _lacks_the_last(self) -> bool:
        """Whether no step remains although a split was never measured, as after a run was shortened to its saved step."""
        splits = {**self.inputs.evaluators, **self.inputs.final}
        measured = {name.partition("/")[0] for name in self.results}
        return self.start == self.plan.total and not splits.keys() <= measured

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            # After an error, a save that had begun before is still good; but other hosts may not be waiting for it.
            if kind is None or jax.process_count() == 1:
                self.problems = [problem for problem in (self.checkpoints.wait(values=True),) if problem]
        finally:
            self.problems += [problem for problem in (self.metrics_log.close(),) if problem]
            self.progress.close()
            self.watchdog.close()
            self.batches.close()
            self.tracer.stop()

    def steps(self) -> Iterator[int]:
        """The remaining steps, until the run is to stop."""
        for step in range(self.start + 1, self.plan.total + 1):
            if self.stopping:
                return
            self.measured, self.pending, self.improved = {}, False, False
            yield step

    def next_batch(self) -> Batch:
        """The next batch on the devices; the time waited for it is recorded."""
        with jax.set_mesh(self.mesh):
            return self.recorder.wait_for(self.batches, self.inputs.feed.reading)

    def step(self, step: int, batch: Batch) -> None:
        """Starts a step on the devices, and records the metrics of the step before it."""
        self.tracer.before(step)
        with jax.set_mesh(self.mesh):
            self.state, reported = self.compiled.step(self.state, batch)
            self.recorder.step(step, reported, len(batch["valid"]))
        self.tracer.after(step, self.state)

    def log(self, step: int) -> None:
        """Writes the means since the last line of the log.

        Raises:
            TrainingError: a number is not finite.
        """
        self.recorder.read()  # first, so that a step that it skips is counted in this line
        corrupt = len(self.inputs.feed.corrupt)
        extra = {"train/learning_rate": float(self.inputs.schedule(jnp.asarray(step - 1))), "data/corrupt": corrupt}
        self.recorder.line(step, extra | self.check.counts())

    def pause(self) -> AbstractContextManager:
        return self.recorder.pause()  # time spent inside does not count as training

    def ask_to_stop(self, step: int) -> None:
        """Asks whether the run is to stop after this step."""
        self.stopping = self.inputs.stop(step)

    def evaluate(self, step: int) -> None:
        """Runs all evaluators; if the run is to stop, or a signal arrives first, the evaluation stays pending.

        Raises:
            TrainingError: a number of the step is not finite.
        """
        self.pending = True
        if self.stopping:
            return
        self.recorder.read()
        variables, averages = self.state.variables, self.state.ema_variables
        try:
            with self.inputs.interrupting():
                final = self.inputs.final if step == self.plan.total else {}
                measured = evaluate_all({**self.inputs.evaluators, **final}, variables, averages)
        except Stopped:
            self.stopping = True
            return
        except Exception:
            if jax.process_count() == 1:  # a failed evaluation must not lose the training
                self.save(step)
            raise
        self.pending, self.improved = False, self.checkpoints.improves(measured)
        self.measured = self.results = measured
        self.metrics_log.write(step, measured)
        say(f"step {step:,}  {one_line(measured)}")

    def save(self, step: int, again: bool = False) -> None:
        """Starts to save a checkpoint.

        Args:
            again: whether a checkpoint of that step exists, from before its evaluation.

        Raises:
            TrainingError: a number of the step is not finite; nothing of it is saved.
        """
        self.recorder.read()
        position = {
            "data": self.inputs.identity,
            "metrics": self.measured,
            "pending": self.pending,
            "window": self.recorder.sums,
            "corrupt": sorted(self.inputs.feed.corrupt),
            "skipped": [self.check.skipped, self.check.in_a_row],
            "seconds": time.monotonic() - self.began,
            "unwritten": self.metrics_log.unwritten(),
        }
        (self.checkpoints.replace if again else self.checkpoints.save)(step, self.state, {**self.meta, **position})

    def outcome(self) -> Outcome:
        """The outcome of the run.

        Raises:
            TrainingError: the last checkpoint or the log could not be written.
        """
        if self.problems:
            raise TrainingError(f"{'; '.join(self.problems)}; fix this, and the same command continues the run")
        return Outcome(self.state, self.results, time.monotonic() - self.began, done=not self.stopping)


def _begin(
    compiled: Compiled, inputs: Inputs, mesh: Mesh, checkpoints: Checkpoints
) -> tuple[int, TrainState, dict[str, Any]]:
    """The step to start from, the state at that step, and the description that was saved with it."""
    requested = compiled.abstract_state._asdict()
    newest = checkpoints.newest(lambda step: checkpoints.restore(step, requested))
    if newest is None:
        with jax.set_mesh(mesh):
            state = compiled.init()
        if inputs.start_from is not None:
            state = state.starting_from(inputs.start_from)
        nothing = {"window": {}, "metrics": {}, "corrupt": [], "skipped": [0, 0], "unwritten": []}
        return 0, state, {**nothing, "seconds": 0, "pending": False}
    start, saved, arrays = newest
    if found := changes(saved["data"], inputs.identity):
        raise UserError(
            f"the data are not those of checkpoint {start}: {', '.join(found)}; "
            "restore the former data, or start another run"
        )
    return start, TrainState(**arrays), saved
