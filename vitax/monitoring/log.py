"""Output of a run: metrics.jsonl, TensorBoard events, log.txt, and lines around the progress bar."""

import contextlib
import errno
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
from tqdm import tqdm

from vitax.monitoring.tensorboard import Events
from vitax.monitoring.trackers import Tracker

LOGGER = logging.getLogger("vitax")
STARVED = 0.25  # share of the time spent waiting for data above which a run reports it


FORMAT = logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


def start_logging() -> None:
    """Sends warnings to stderr. Only for commands, which own their process."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.close()
    handler = _StderrHandler(logging.WARNING)
    handler.setFormatter(FORMAT)
    root.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    silence_libraries()


def silence_libraries() -> None:
    """Keeps messages of JAX, Orbax and absl off the screen; vitax itself reports those that matter."""
    for noisy in ("absl", "orbax", "jax"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """A context in which all logged or printed lines also go to a file, and so does the error that ends it.

    Only the first process writes.
    """
    if jax.process_index() > 0:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(FORMAT)
    former_level, former_raise = LOGGER.level, logging.raiseExceptions
    LOGGER.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a full disk must not fill the screen with tracebacks
    logging.getLogger().addHandler(handler)
    try:
        yield
    except BaseException as error:
        foreseen = type(error).__module__.startswith("vitax.") or isinstance(error, KeyboardInterrupt)
        LOGGER.info("%s", f"{type(error).__name__}: {error}" if foreseen else traceback.format_exc())
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        LOGGER.setLevel(former_level)
        logging.raiseExceptions = former_raise


def say(text: str) -> None:
    """Prints a line for people on stdout and logs it. Only the first process does so."""
    if jax.process_index() == 0:
        tqdm.write(text, file=sys.stdout)  # around the progress bar, not through it
        sys.stdout.flush()
        LOGGER.info(text)


class _StderrHandler(logging.Handler):
    """Writes around the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class MetricsLog:
    """The writer of metrics.jsonl and of TensorBoard events. Only the first process writes.

    A line of metrics.jsonl is one JSON object with "step" and flat names; numbers that are not finite are null. While
    the disk is full, lines wait in memory and are written once there is space again.

    Args:
        workdir: folder of the run; None = nothing is written.
        trackers: see `vitax.monitoring.trackers`; they take the same metrics.
    """

    def __init__(self, workdir: Path | None, trackers: Sequence[Tracker] = ()):
        self.writing = workdir is not None and jax.process_index() == 0
        self.trackers = trackers
        if workdir is None or not self.writing:
            return
        self.path = workdir / "metrics.jsonl"
        self.events = Events(workdir / "tensorboard")
        self.waiting: list[str] = []  # lines that are not in the file yet
        self.size = 0  # bytes of the file, up to the last whole line
        self.failing = False

    def start(self, step: int, pending: bool = False, missing: Sequence[str] = ()) -> None:
        """Drops the lines that an interrupted run wrote after a step.

        Args:
            step: step of the checkpoint that the run continues from.
            pending: whether the evaluation of that step will be repeated, so that its line is dropped too.
            missing: lines that could not be written before the checkpoint was.
        """
        if not self.writing:
            return
        lines = []
        if self.path.exists():
            for line in self.path.read_text(errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    repeated = pending and entry["step"] == step and "train/loss" not in entry
                    if entry["step"] <= step and not repeated:
                        lines.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    break  # the line that was being written when the run died
        text = "".join(lines + [line for line in missing if line not in lines])
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
        for tracker in self.trackers:
            tracker.write(step, values)

    def _flush(self) -> None:
        data = "".join(self.waiting).encode()
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.truncate(self.size)  # drops a partial line, from when the disk was full
                file.seek(self.size)
                written = file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError as error:
            if not self.failing:
                LOGGER.warning("%s; training goes on, and the lines are kept until they can be written", error)
            self.failing = True
            return
        self.size, self.waiting, self.failing = self.size + len(data), [], False

    def unwritten(self) -> list[str]:
        """The lines that are not in the file yet; tries to write them first."""
        if self.writing and self.waiting:
            self._flush()
        return list(self.waiting) if self.writing else []

    def close(self) -> str:
        """Writes the waiting lines; returns a message if that is still impossible, "" = all is written."""
        if not self.writing:
            return ""
        self.events.close()
        if self.waiting:
            self._flush()
        return f"{len(self.waiting)} lines of {self.path} could not be written" if self.waiting else ""


def one_line(results: Mapping[str, float]) -> str:
    """Results on one line for people, without counts and times."""
    return "  ".join(
        f"{name} {value:.4f}"
        for name, value in results.items()
        if not name.endswith(("/examples", "/seconds")) and not (name.endswith("/corrupt") and not value)
    )
