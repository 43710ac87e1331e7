"""TensorBoard events."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("vitax")


class Events:
    """TensorBoard's file of events, written in the calling thread.

    The writer of tensorboardX that has its own thread waits forever once that thread has met a full disk.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer: Any = None
        self.purge: int | None = None
        self.failing = False

    def forget_after(self, step: int) -> None:
        """Makes TensorBoard discard the values of later steps."""
        self.purge = step + 1

    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = time.time()
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.proto.summary_pb2 import Summary
        try:
            if self.writer is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.writer = EventsWriter(str(self.folder / "events"))
                if self.purge is not None:
                    start = SessionLog(status=SessionLog.START)
                    self.writer.write_event(Event(wall_time=now, step=self.purge, session_log=start))
                    self.purge = None
            for name, value in values.items():
                summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
                self.writer.write_event(Event(wall_time=now, step=step, summary=summary))
            self.writer.flush()
        except OSError as error:
            if not self.failing:
                LOGGER.warning("TensorBoard: %s; it lacks all values until there is space again", error)
            self.failing = True
            self.close()

    def close(self) -> None:
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()
            self.writer = None


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """A context in which torch cannot be imported: tensorboardX would import it if it is there, and never use it here.

    That takes seconds and hundreds of megabytes.
    """
    modules: dict[str, Any] = sys.modules
    absent = "torch" not in modules
    if absent:
        modules["torch"] = None
    try:
        yield
    finally:
        if absent:
            del modules["torch"]
