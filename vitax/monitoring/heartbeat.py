"""Heartbeat that watch each other: who stops answering is named, and all others leave instead of waiting for ever.

Each host counts up in a small file of its own in the folder of the run, which all of them see. Host 0 reads every
count, the others that of host 0 and its verdict: a pod of hundreds costs hundreds of small reads a second, not their
square. Counts are compared, never clocks.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vitax.mesh import all_hosts

BEAT = 1.0  # seconds between two counts
RECORD = 2000  # bytes of each file
LOGGER = logging.getLogger("vitax")


class Heartbeat:
    """The watch of one process.

    Args:
        folder: shared by all hosts; made if it does not exist.
        host, hosts: this process, and how many there are.
        patience: seconds without a new count after which a host is given up.
    """

    def __init__(self, folder: Path, host: int, hosts: int, patience: float = 60.0):
        self.folder, self.host, self.hosts, self.patience = folder, host, hosts, patience
        self.verdict = ""
        self.seen: dict[int, tuple[Any, float]] = {}  # host -> its last count, when it was new
        self.names: dict[int, str] = {}
        self.closed = threading.Event()
        self.path, self.start = folder / f"{host}.json", f"{os.getpid()} {time.time()}"
        self.can_write = True
        folder.mkdir(parents=True, exist_ok=True)
        self._write(0)
        all_hosts(True)  # nobody reads what an earlier start has left
        threading.Thread(target=self._watch, daemon=True).start()

    def who_is_gone(self, seconds: float = 5.0) -> str:
        """The hosts that do not count any more, as words; waits so long to be sure. "" = all go on."""
        self._read(range(self.hosts))
        began = time.monotonic()
        time.sleep(seconds)
        self._read(range(self.hosts))
        silent = [h for h, (_, when) in self.seen.items() if when < began + 1 and h != self.host]
        return self.verdict or self._told(silent, seconds)

    def close(self) -> None:
        self.closed.set()

    def _watch(self) -> None:
        count = 0
        others = range(1, self.hosts) if self.host == 0 else range(1)
        while not self.closed.wait(BEAT):
            count += 1
            self._write(count)
            self._read(others)
            now = time.monotonic()
            late = [h for h in others if h in self.seen and now - self.seen[h][1] > self.patience]
            if late and self.can_write and not self.verdict:  # else the shared disk is the trouble
                self.verdict = self._told(late, self.patience)
                self._write(count)
            if self.verdict:
                told = f"error: {self.verdict}; what was saved is kept: start all hosts again"
                print(f"\n{told}", file=sys.stderr, flush=True)
                LOGGER.info(told)
                time.sleep(5 * BEAT if self.host == 0 else 0)  # the others read the verdict here
                os._exit(1)  # at exit, JAX would wait minutes for hosts that never come

    def _told(self, hosts: list[int], seconds: float) -> str:
        names = " and ".join(f"host {self.names.get(h, '?')} (process {h})" for h in hosts)
        return f"{names} has not answered for {seconds:.0f} s" if hosts else ""

    def _write(self, count: int) -> None:
        found = {"name": socket.gethostname(), "count": count, "start": self.start}
        text = json.dumps({**found, "verdict": self.verdict}).ljust(RECORD)
        try:  # in place and of one length: that works on a full disk too
            with self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file:
                file.write(text.encode())
            self.can_write = True
        except OSError as error:
            self.can_write = False
            LOGGER.debug("%s", error)

    def _read(self, hosts: range) -> None:
        for host in hosts:
            try:
                found = json.loads((self.folder / f"{host}.json").read_text())
            except (OSError, ValueError):
                continue
            mark = (found["start"], found["count"])
            if host not in self.seen or self.seen[host][0] != mark:
                self.seen[host] = (mark, time.monotonic())
            self.names[host] = found["name"]
            self.verdict = self.verdict or (found["verdict"] if host == 0 != self.host else "")
