"""What a run writes: metrics.jsonl, TensorBoard events, log.txt, and a progress bar."""

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

LOGGER = logging.getLogger("vitax")


def start_logging(file: Path | None) -> None:
    """Log records of vitax go to stderr and to ``file``; other packages only speak up from WARNING on."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers = []
    formatter = logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S")
    handlers: list[logging.Handler] = [_StderrHandler()]
    if file:
        handlers.append(logging.FileHandler(file))
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    handlers[0].setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


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

    def write(self, step: int, values: dict[str, float]) -> None:
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


class Window:
    """Sums of the training metrics since the last line of the log.

    Its content is part of a checkpoint, so that a resumed run averages over the same steps.
    """

    def __init__(self, sums: dict[str, list[float]] | None = None):
        self.sums = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, metrics: dict[str, tuple[float, float]]) -> None:
        for name, (total, count) in metrics.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += total
            pair[1] += count

    def means(self) -> dict[str, float]:
        """Mean of each metric; forgets them."""
        found = {name: s / n if n else math.nan for name, (s, n) in self.sums.items()}
        self.sums = {}
        return found


class Stopwatch:
    """Rate of the run and share of the time that it waited for data, since the last reading."""

    def __init__(self):
        self.read(0)

    def read(self, examples: int) -> dict[str, float]:
        now = time.perf_counter()
        if examples:
            seconds = now - self.started
            found = {"rate": examples / seconds, "data_wait": self.waited / seconds}
        else:
            found = {}
        self.started, self.waited = now, 0.0
        return found

    def next(self, iterator: Any) -> Any:
        """``next(iterator)``, timed."""
        before = time.perf_counter()
        item = next(iterator)
        self.waited += time.perf_counter() - before
        return item

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not spent training."""
        self.started += seconds


class Progress:
    """A progress bar where somebody watches; otherwise a plain line now and then. Silent but on the first process."""

    def __init__(self, total: int, start: int, unit: str, batch_size: int):
        self.first = jax.process_index() == 0
        self.total, self.start, self.unit, self.batch_size = total, start, unit, batch_size
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
            print(
                f"step {step:,}/{self.total:,}  loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
                f"ETA {duration(left)}",
                flush=True,
            )

    def say(self, text: str) -> None:
        """A line on stdout that the bar does not run into."""
        if self.first:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
