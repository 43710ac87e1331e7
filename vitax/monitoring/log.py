"""What a run writes: metrics.jsonl, TensorBoard events, log.txt, and a progress bar."""

import contextlib
import errno
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from vitax.metrics import reported
from vitax.monitoring.tensorboard import Events
from vitax.monitoring.watchdog import Watchdog

LOGGER = logging.getLogger("vitax")
# Share of the time spent waiting for data above which a run says so, and the seconds that it must have waited.
STARVED, STARVED_SECONDS = 0.25, 10.0


def start_logging(file: Path | None) -> None:
    """Warnings go to stderr; with a file, all that vitax tells goes there too, what is printed included."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.close()
    handlers: list[logging.Handler] = [_StderrHandler(logging.WARNING)]
    if file:
        handlers.append(logging.FileHandler(file))
        logging.raiseExceptions = False  # a full disk must not fill the screen with tracebacks
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
        )
    root.handlers = handlers
    LOGGER.setLevel(logging.INFO)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def say(text: str) -> None:
    """A line on stdout, for a person, and in the log file. Only the first process talks."""
    if jax.process_index() == 0:
        tqdm.write(text, file=sys.stdout)  # around the progress bar, not through it
        sys.stdout.flush()
        LOGGER.info(text)


class _StderrHandler(logging.Handler):
    """Writes around the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class MetricsLog:
    """metrics.jsonl and TensorBoard. Only the first process writes.

    A line of metrics.jsonl is one JSON object with "step" and flat names; numbers that are not finite are null. While
    the disk is full, lines wait in memory and are written once there is space again.
    """

    def __init__(self, workdir: Path | None):
        self.writing = workdir is not None and jax.process_index() == 0
        if not self.writing:
            return
        self.path = workdir / "metrics.jsonl"
        self.events = Events(workdir / "tensorboard")
        self.waiting: list[str] = []  # lines that are not in the file yet
        self.size = 0  # of the file, up to the last whole line
        self.failing = False

    def start(self, step: int, pending: bool = False, missing: Sequence[str] = ()) -> None:
        """Drops what an interrupted run wrote beyond a step.

        Args:
            pending: the evaluation of that step will be made again: its line goes too.
            missing: lines that could not be written when the checkpoint was.
        """
        if not self.writing:
            return
        kept = []
        if self.path.exists():
            for line in self.path.read_text(errors="replace").splitlines():
                try:
                    one = json.loads(line)
                    again = pending and one["step"] == step and "train/loss" not in one
                    if one["step"] <= step and not again:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    break  # the line that was being written when the run died
        text = "".join(kept + [line for line in missing if line not in kept])
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(self.path)
        self.size = len(text.encode())
        self.events.forget_after(step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self.writing:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self.waiting.append(json.dumps({"step": step, **finite}) + "\n")
        self._flush()
        self.events.write(step, values)

    def _flush(self) -> None:
        data = "".join(self.waiting).encode()
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.truncate(self.size)  # a part of a line, from when the disk was full
                file.seek(self.size)
                written = file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError as error:
            if not self.failing:
                LOGGER.warning("%s; training goes on, the lines are kept until it can be written", error)
            self.failing = True
            return
        self.size, self.waiting, self.failing = self.size + len(data), [], False

    def unwritten(self) -> list[str]:
        """The lines that only this process knows; tries to write them first."""
        if self.writing and self.waiting:
            self._flush()
        return list(self.waiting) if self.writing else []

    def close(self) -> str:
        """Writes what waits; says what is wrong where that is still impossible, "" = nothing."""
        if not self.writing:
            return ""
        self.events.close()
        if self.waiting:
            self._flush()
        return f"{len(self.waiting)} lines of {self.path} are not written" if self.waiting else ""


class Recorder:
    """From what the steps report to lines of the log. The device is never waited for: metrics are read one step late.

    Args:
        log: where the lines go.
        progress: the bar.
        watchdog: told what is waited for.
        check: ``(step, reported) -> {name: (sum, count)}``; raises where something is not finite.
        sums: of the metrics since the last line; they are part of a checkpoint, so that a resumed run averages over
            the same steps.
    """

    def __init__(
        self,
        log: MetricsLog,
        progress: "Progress",
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
        """The next batch, the wait for it counted.

        Args:
            reading: names of the examples that are being read now.
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
        """Takes what a step just dispatched will report, and reads what the one before it did."""
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
        self.unread = None  # not before: what the check has refused, it refuses again

    def line(self, step: int, extra: Mapping[str, float]) -> None:
        """Writes the means since the last line, the rate, and the share of the time that data were waited for."""
        self.read()
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rate = self.examples / seconds
        values = {f"train/{name}": reported(name, s, n) for name, (s, n) in self.sums.items()}
        values[f"train/{self.progress.unit}_per_second"] = rate
        values["train/data_wait"] = waited = self.waited / seconds
        self.log.write(step, values | extra)
        self.progress.update(step, values.get("train/loss", math.nan), rate, waited)
        if self.lines:  # until the first one, the first batches were being made
            self._complain(step, seconds)
        self.lines += 1
        self.sums, self.examples, self.waited, self.since = {}, 0, 0.0, now

    def _complain(self, step: int, seconds: float) -> None:
        """Says once that the devices wait for data, if they do."""
        self.all_waited, self.all_seconds = (self.all_waited + self.waited, self.all_seconds + seconds)
        share = self.all_waited / self.all_seconds
        if share > STARVED and self.all_waited > STARVED_SECONDS and not self.starved:
            self.starved = True
            LOGGER.warning(
                "step %d: the devices have waited for data %.0f %% of the time. `python -m vitax.bench --mode=data` "
                "measures what reading alone gives; smaller pictures, a nearer disk, more cores or data.workers raise it",
                step,
                100 * share,
            )


class Progress:
    """A progress bar where somebody watches; otherwise a plain line now and then. Silent but on the first process."""

    def __init__(self, total: int, start: int, unit: str):
        self.first = jax.process_index() == 0
        self.total, self.start, self.unit = total, start, unit
        self.began = self.printed = time.monotonic()
        watched = self.first and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1) if watched else None

    def update(self, step: int, loss: float | None = None, rate: float = 0.0, waited: float = 0.0) -> None:
        """A step is done; with a loss, what the last line of the log said."""
        starved = f", waits for data {waited:.0%}" if waited > STARVED else ""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} {self.unit}/s{starved}")
        elif self.first and loss is not None and time.monotonic() - self.printed > 10:
            self.printed = time.monotonic()
            left = (self.printed - self.began) / (step - self.start) * (self.total - step)
            say(
                f"step {step:,}/{self.total:,}  loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
                f"ETA {duration(left)}{starved}"
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
