"""The lock on the folder of a run."""

import contextlib
import logging
import os
import socket
from pathlib import Path

from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
LOCK = ".lock"


class Lock:
    """A lock that allows one run at a time in a folder; the kernel releases it, however the process ends."""

    def __init__(self, folder: Path):
        self.path = folder / LOCK
        self.file: int | None = None
        self.made = False  # whether the file is new

    def take(self) -> None:
        """Takes the lock.

        Raises:
            UserError: another run, which the message names, holds the lock, or the folder cannot be written.
        """
        self.made = not self.path.exists()
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"workdir {self.path.parent} cannot be written: {error}") from error
        if not locked(file, self.path):
            owner = os.read(file, 1000).decode(errors="replace").strip()
            os.close(file)
            raise UserError(
                f"workdir {self.path.parent} is in use by {owner or 'another run'}; end it, or choose another folder"
            )
        with contextlib.suppress(OSError):  # the owner's name is for messages only: a full disk must not end the run
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self.file = file

    def release(self) -> None:
        """Releases the lock, if it was taken."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def locked(file: int, path: Path) -> bool:
    """Locks an open file; returns False if another process holds the lock, or has removed the file meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        LOGGER.warning("this system has no file locks: start only one run in %s", path.parent)
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path))
    except BlockingIOError:
        return False
    except OSError as error:
        LOGGER.warning("%s cannot be locked (%s): start only one run in it", path, error)
        return True
