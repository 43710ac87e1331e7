"""Worker processes that read examples."""

import multiprocessing
import os
import signal
import threading
from typing import Any


def die_with_parent(worker: int, workers: int) -> None:
    """Ends a worker whose trainer was killed; otherwise it would run forever.

    The worker ignores signals that a terminal sends to all of its processes; the trainer handles them.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def wait() -> None:
        parent: Any = multiprocessing.parent_process()
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
