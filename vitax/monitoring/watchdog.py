"""Warnings about long waits of a run."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

LOGGER = logging.getLogger("vitax")


class Watchdog:
    """Warns after ``patience`` seconds in one `waiting_for`, again after twice as long, and so on."""

    def __init__(self, patience: float = 60.0):
        self.patience = patience
        self.waiting: tuple[Callable[[], str], float] | None = None  # what is waited for, and since when
        self.closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def waiting_for(self, what: Callable[[], str]) -> Iterator[None]:
        """A context during which the run waits.

        Args:
            what: function that returns what is waited for; called only when the wait has become long.
        """
        self.waiting = (what, time.monotonic())
        try:
            yield
        finally:
            self.waiting = None

    def _watch(self) -> None:
        warned: tuple[float, float] = (0.0, 0.0)  # start of the wait, and its length at the last warning
        while not self.closed.wait(min(1.0, self.patience / 4)):
            if (now := self.waiting) is None:
                continue
            what, since = now
            seconds = time.monotonic() - since
            last = warned[1] if warned[0] == since else self.patience / 2
            if seconds >= 2 * last:
                warned = (since, seconds)
                LOGGER.warning("waiting for %s for %.0f s", what(), seconds)

    def close(self) -> None:
        self.closed.set()
