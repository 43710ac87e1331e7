"""What a run writes: metrics.jsonl, TensorBoard events, log.txt, and a progress bar."""

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from vitax.metrics import reported

LOGGER = logging.getLogger("vitax")


def start_logging(file: Path | None) -> None:
    """Warnings go to stderr; with a file, all that vitax tells goes there too, what is printed included."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.close()
    handlers: list[logging.Handler] = [_StderrHandler(logging.WARNING)]
    if file:
        handlers.append(logging.FileHandler(file))
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter(
                "%(asctime)s %(levelname).1s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"
            )
        )
    root.handlers = handlers
    LOGGER.setLevel(logging.INFO)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


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

    A line of metrics.jsonl is one JSON object with "step" and flat names; numbers that are not finite are null.
    """

    def __init__(self, workdir: Path | None):
        self.writing = workdir is not None and jax.process_index() == 0
        if not self.writing:
            return
        self.path = workdir / "metrics.jsonl"
        self.events_dir = workdir / "tensorboard"
        self.file: Any = None
        self.events: Any = None

    def start(self, step: int) -> None:
        """Opens the files for what follows ``step``, and drops what an interrupted run wrote beyond it."""
        if not self.writing:
            return
        kept = []
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    break  # the line that was being written when the run died
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(self.path)
        self.file = self.path.open("a")
        self.events = SummaryWriter(str(self.events_dir), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self.writing:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self.file.write(json.dumps({"step": step, **finite}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.events.add_scalar(name, value, step)

    def close(self) -> None:
        if self.writing and self.file:
            self.file.close()
            self.events.close()


class Recorder:
    """From what the steps report to lines of the log. The device is never waited for: metrics are read one step late.

    Args:
        log: where the lines go.
        progress: the bar.
        check: ``(step, reported) -> {name: (sum, count)}``; raises where something is not finite.
        sums: of the metrics since the last line; they are part of a checkpoint, so that a resumed run averages over
            the same steps.
    """

    def __init__(
        self,
        log: MetricsLog,
        progress: "Progress",
        check: Callable[[int, Any], dict[str, tuple[float, float]]],
        sums: Mapping[str, Sequence[float]],
    ):
        self.log, self.progress, self.check = log, progress, check
        self.sums = {name: list(pair) for name, pair in sums.items()}
        self.unread: tuple[int, Any] | None = None
        self.examples, self.waited, self.since = 0, 0.0, time.perf_counter()

    def wait_for(self, batches: Iterator[Any]) -> Any:
        """The next batch, the wait for it counted."""
        before = time.perf_counter()
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
        self.unread = None
        for name, (total, count) in self.check(step, jax.device_get(reported)).items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += total
            pair[1] += count

    def line(self, step: int, extra: Mapping[str, float]) -> None:
        """Writes the means since the last line, the rate, and the share of the time that data were waited for."""
        self.read()
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rate = self.examples / seconds
        values = {f"train/{name}": reported(name, s, n) for name, (s, n) in self.sums.items()}
        values[f"train/{self.progress.unit}_per_second"] = rate
        values["train/data_wait"] = self.waited / seconds
        self.log.write(step, values | extra)
        self.progress.update(step, values["train/loss"], rate)
        self.sums, self.examples, self.waited, self.since = {}, 0, 0.0, now


class Progress:
    """A progress bar where somebody watches; otherwise a plain line now and then. Silent but on the first process."""

    def __init__(self, total: int, start: int, unit: str):
        self.first = jax.process_index() == 0
        self.total, self.start, self.unit = total, start, unit
        self.began = self.printed = time.monotonic()
        watched = self.first and sys.stderr.isatty()
        self.bar = (
            tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)
            if watched
            else None
        )

    def update(self, step: int, loss: float | None = None, rate: float | None = None) -> None:
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} {self.unit}/s")
        elif self.first and loss is not None and time.monotonic() - self.printed > 10:
            self.printed = time.monotonic()
            left = (self.printed - self.began) / (step - self.start) * (self.total - step)
            say(
                f"step {step:,}/{self.total:,}  loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
                f"ETA {duration(left)}"
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
