"""Heartbeats of hosts that watch each other: a silent host is named, and the others exit instead of waiting forever.

Each host increments a count in its own small file in the folder of the run, which all hosts can read. Host 0 reads
every count; the other hosts read the count of host 0 and its verdict. A pod of hundreds of hosts thus costs hundreds
of small reads a second, not the square of that. Counts are compared, never clocks.
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
    """The heartbeat of one process, and its watch over the others.

    Args:
        folder: folder shared by all hosts; created if it does not exist.
        host: number of this process.
        hosts: number of processes.
        patience: seconds without a new count after which a host is considered gone.
    """

    def __init__(self, folder: Path, host: int, hosts: int, patience: float = 60.0):
        self.folder, self.host, self.hosts, self.patience = folder, host, hosts, patience
        self.verdict = ""
        self.seen: dict[int, tuple[Any, float]] = {}  # host -> its last count, and the time when it was new
        self.names: dict[int, str] = {}
        self.closed = threading.Event()
        self.path, self.start = folder / f"{host}.json", f"{os.getpid()} {time.time()}"
        self.can_write = True
        folder.mkdir(parents=True, exist_ok=True)
        self._write(0)
        all_hosts(True)  # so that no host reads the files of an earlier start
        threading.Thread(target=self._watch, daemon=True).start()

    def who_is_gone(self, seconds: float = 5.0) -> str:
        """A message that names the hosts that have stopped counting, "" = none; waits ``seconds`` to be sure."""
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
        watched = range(1, self.hosts) if self.host == 0 else range(1)
        while not self.closed.wait(BEAT):
            count += 1
            self._write(count)
            self._read(watched)
            now = time.monotonic()
            late = [h for h in watched if h in self.seen and now - self.seen[h][1] > self.patience]
            if late and self.can_write and not self.verdict:  # otherwise the shared disk is the problem
                self.verdict = self._told(late, self.patience)
                self._write(count)
            if self.verdict:
                message = f"error: {self.verdict}; saved checkpoints are kept: start all hosts again"
                print(f"\n{message}", file=sys.stderr, flush=True)
                LOGGER.info(message)
                time.sleep(5 * BEAT if self.host == 0 else 0)  # time for the others to read the verdict
                os._exit(1)  # a normal exit would let JAX wait minutes for hosts that are gone

    def _told(self, hosts: list[int], seconds: float) -> str:
        names = " and ".join(f"host {self.names.get(h, '?')} (process {h})" for h in hosts)
        have = "has" if len(hosts) == 1 else "have"
        return f"{names} {have} not answered for {seconds:.0f} s" if hosts else ""

    def _write(self, count: int) -> None:
        record = {"name": socket.gethostname(), "count": count, "start": self.start}
        text = json.dumps({**record, "verdict": self.verdict}).ljust(RECORD)
        try:  # in place and with a fixed length, which also works on a full disk
            with self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file:
                file.write(text.encode())
            self.can_write = True
        except OSError as error:
            self.can_write = False
            LOGGER.debug("%s", error)

    def _read(self, hosts: range) -> None:
        for host in hosts:
            try:
                record = json.loads((self.folder / f"{host}.json").read_text())
            except (OSError, ValueError):
                continue
            mark = (record["start"], record["count"])
            if host not in self.seen or self.seen[host][0] != mark:
                self.seen[host] = (mark, time.monotonic())
            self.names[host] = record["name"]
            self.verdict = self.verdict or (record["verdict"] if host == 0 != self.host else "")
