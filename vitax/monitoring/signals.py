"""Signals that end a run: on Ctrl-C or SIGTERM it saves and exits, whatever it is doing; on a second one, at once."""

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
AT_ONCE = 0.2  # seconds within which two signals count as one


class Stopped(Exception):
    """Raised inside `Stop.interrupting`."""


class Stop:
    """Catches the signals of this process until it is closed, which restores the former handlers.

    Before `begin` there is nothing to save: a signal ends the process at once, even in the middle of a compilation.
    After `begin`, the loop reads ``caught`` once per step. Outside the main thread, where Python allows no handlers,
    nothing is caught.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []  # signals handled by the main thread
        self.received = 0  # number of signals read by the other thread, which is never late
        self.last = -math.inf  # time of the last signal
        self.begun = self.interruptible = self.announced = False
        self.former: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        # Python runs its handlers between two bytecode instructions, and a compilation may delay them for minutes; a
        # thread that reads the numbers of the signals from a pipe is not delayed.
        reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.former_writer = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            self.former[number] = signal.signal(number, self._raise)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()

    def close(self) -> None:
        """Restores the former handlers of the signals."""
        if not self.former:
            return
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}
        signal.set_wakeup_fd(self.former_writer)
        os.close(self.writer)  # the thread reads the end of the pipe and ends

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Declares that there is something to save from now on."""
        self.begun = True

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """A context in which a signal raises `Stopped`, for work that may take long and changes nothing."""
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
        if now - self.last < AT_ONCE:  # a terminal and a wrapper may both forward the same signal
            return
        self.received, self.last = self.received + 1, now
        if not self.begun or self.received > 1:
            when = "before the first step" if self.received == 1 else "a second time: exiting at once"
            print(f"\nstopped by {signal.Signals(number).name} {when}", file=sys.stderr, flush=True)
            os._exit(128 + number)
        self._announce(number)

    def _announce(self, number: int) -> None:
        """Announces the end once, in whichever thread comes first."""
        if self.begun and not self.announced:
            self.announced = True
            name = signal.Signals(number).name
            print(f"\n{name}: saving after this step; send it again to quit at once", file=sys.stderr, flush=True)
