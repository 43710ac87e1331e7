"""Lines of the log, from the metrics of the steps."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from vitax.metrics import reported
from vitax.monitoring.log import STARVED, MetricsLog
from vitax.monitoring.progress import Progress
from vitax.monitoring.watchdog import Watchdog

LOGGER = logging.getLogger("vitax")
STARVED_SECONDS = 10.0  # that a run must have waited for data before it warns


class Recorder:
    """Turns the metrics of steps into lines of the log. They are read one step late, so that the device never waits.

    Args:
        log: log that the lines are written to.
        progress: progress bar to update.
        watchdog: watchdog to inform of each wait.
        check: ``(step, reported) -> {name: (sum, count)}``; raises if a number is not finite.
        sums: sums of the metrics since the last line; they are part of a checkpoint, so that a resumed run averages
            over the same steps.
    """

    def __init__(
        self,
        log: MetricsLog,
        progress: Progress,
        watchdog: Watchdog,
        check: Callable[[int, Any], dict[str, tuple[float, float]]],
        sums: Mapping[str, Sequence[float]],
    ):
        self.log, self.progress, self.watchdog, self.check = log, progress, watchdog, check
        self.sums = {name: list(pair) for name, pair in sums.items()}
        self.unread: tuple[int, Any] | None = None
        self.examples, self.waited, self.since = 0, 0.0, time.perf_counter()
        self.lines, self.all_waited, self.all_seconds, self.starved = 0, 0.0, 0.0, False

    def wait_for(self, batches: Iterator[Any], reading: Callable[[], Sequence[str]]) -> Any:
        """The next batch; the time waited for it is counted.

        Args:
            batches: batches on the devices.
            reading: function that returns the names of the examples that are being read now.
        """
        before = time.perf_counter()
        with self.watchdog.waiting_for(lambda: f"the next batch ({', '.join(reading()) or 'data'})"):
            batch = next(batches)
        self.waited += time.perf_counter() - before
        return batch

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time spent inside does not count as training."""
        before = time.perf_counter()
        yield
        self.since += time.perf_counter() - before

    def step(self, step: int, reported: Any, examples: int) -> None:
        """Takes the future metrics of a step that was just dispatched, and reads those of the step before it."""
        self.read()
        self.unread = (step, reported)
        self.examples += examples
        self.progress.update(step)

    def read(self) -> None:
        """Waits for the newest step and adds its metrics."""
        if self.unread is None:
            return
        step, reported = self.unread
        with self.watchdog.waiting_for(lambda: f"the devices, in step {step:,}"):
            reported = jax.device_get(reported)
        for name, (total, count) in self.check(step, reported).items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += total
            pair[1] += count
        self.unread = None  # not earlier: metrics that the check rejects stay, and are rejected again

    def line(self, step: int, extra: Mapping[str, float]) -> None:
        """Writes the means since the last line, the rate, and the share of the time spent waiting for data."""
        self.read()
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rate = self.examples / seconds
        values = {f"train/{name}": reported(name, s, n) for name, (s, n) in self.sums.items()}
        values[f"train/{self.progress.unit}_per_second"] = rate
        values["train/data_wait"] = waited = self.waited / seconds
        self.log.write(step, {**values, **extra})
        self.progress.update(step, values.get("train/loss", math.nan), rate, waited)
        if self.lines:  # the time before the first line includes the start of the data pipeline
            self._complain(step, seconds)
        self.lines += 1
        self.sums, self.examples, self.waited, self.since = {}, 0, 0.0, now

    def _complain(self, step: int, seconds: float) -> None:
        """Warns once if the devices wait for data."""
        self.all_waited, self.all_seconds = (self.all_waited + self.waited, self.all_seconds + seconds)
        share = self.all_waited / self.all_seconds
        if share > STARVED and self.all_waited > STARVED_SECONDS and not self.starved:
            self.starved = True
            LOGGER.warning(
                "step %d: the devices have waited for data %.0f %% of the time. `python -m vitax.bench --mode=data` "
                "measures reading alone; smaller images, a faster disk, more cores or data.workers speed it up",
                step,
                100 * share,
            )
