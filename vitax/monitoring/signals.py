"""Signals to end: Ctrl-C and SIGTERM save and leave, in whatever the run is doing; the second one leaves at once."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 0.2  # seconds within which two signals are one


class Stopped(Exception):
    """Raised inside `Stop.interrupting`."""


class Stop:
    """Catches the signals of this process until it is closed; then the former handlers are back.

    Before `begin` there is nothing to save: the process ends at once, also in the middle of a compilation. After it,
    the loop reads ``caught`` once a step. Outside the main thread, where Python allows no handlers, nothing is caught.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []  # by the main thread
        self.received = 0  # by the other one, which is never late
        self.last = -math.inf  # time of the last signal
        self.begun = self.interruptible = self.announced = False
        self.former: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        # Python runs its handlers between two of its own instructions, which a compilation keeps waiting for minutes;
        # a thread that reads the signals' numbers from a pipe does not wait.
        reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.former_writer = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            self.former[number] = signal.signal(number, self._raise)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()

    def close(self) -> None:
        """Gives the signals back to whoever had them."""
        if not self.former:
            return
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}
        signal.set_wakeup_fd(self.former_writer)
        os.close(self.writer)  # the thread reads the end, and ends

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """From here on there is something to save."""
        self.begun = True

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Inside, a signal raises `Stopped`: for what may take long and changes nothing."""
        self.interruptible = True
        try:
            if self.caught:
                raise Stopped
            yield
        finally:
            self.interruptible = False

    def _raise(self, number: int, _: object) -> None:
        self.caught.append(number)
        self._announce(number)
        if self.interruptible:
            raise Stopped

    def _watch(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while received := pipe.read(1):
                self._receive(received[0])

    def _receive(self, number: int) -> None:
        if number not in SIGNALS:
            return
        now = time.monotonic()
        if now - self.last < AT_ONCE:  # a terminal and a wrapper may both pass one on
            return
        self.received, self.last = self.received + 1, now
        if not self.begun or self.received > 1:
            when = "before the first step" if self.received == 1 else "again: left at once"
            print(f"\nstopped by {signal.Signals(number).name} {when}", file=sys.stderr, flush=True)
            os._exit(128 + number)
        self._announce(number)

    def _announce(self, number: int) -> None:
        """Once, by whichever thread comes first."""
        if self.begun and not self.announced:
            self.announced = True
            name = signal.Signals(number).name
            print(f"\n{name}: saving after this step; once more to quit at once", file=sys.stderr, flush=True)
