"""Being told to end: Ctrl-C and SIGTERM save and leave, in whatever the run is doing; the second one leaves at once."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 0.2  # seconds within which two signals are one


class Stopped(Exception):
    """Raised inside `Stop.interrupting`."""


class Stop:
    """Catches the signals of this process.

    Before `begin` there is nothing to save: the process ends at once, also in the middle of a compilation. After it,
    the loop asks for ``caught`` once a step.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []  # by the main thread
        self.received = 0  # by the other one, which is never late
        self.last = -math.inf  # when
        self.begun = self.interruptible = self.told = False
        # Python runs its handlers between two of its own instructions, which a compilation keeps waiting for minutes;
        # a thread that reads the signals' numbers from a pipe does not wait.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._raise)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()

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
        self._tell(number)
        if self.interruptible:
            raise Stopped

    def _watch(self, reader: int) -> None:
        while True:
            (number,) = os.read(reader, 1)
            if number not in SIGNALS:
                continue
            name = signal.Signals(number).name
            now = time.monotonic()
            if now - self.last < AT_ONCE:  # a terminal and a wrapper may both pass one on
                continue
            self.received, self.last = self.received + 1, now
            if not self.begun or self.received > 1:
                told = "before the first step" if self.received == 1 else "again: left at once"
                print(f"\nstopped by {name} {told}", file=sys.stderr, flush=True)
                os._exit(128 + number)
            self._tell(number)

    def _tell(self, number: int) -> None:
        """Once, by whichever thread comes first."""
        if self.begun and not self.told:
            self.told = True
            name = signal.Signals(number).name
            told = "saving after this step; once more to quit at once"
            print(f"\n{name}: {told}", file=sys.stderr, flush=True)
