"""Exceptions that end a run early on purpose. Each is printed as one sentence without a traceback."""

import errno
import signal

# OSErrors of a full or a read-only disk, without permission, or of too long a path: no fault of vitax.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


class UserError(ValueError):
    """A request that cannot be fulfilled: the message names the values and the remedy. The exit code is 2."""


class TrainingError(RuntimeError):
    """A failure during training, such as a NaN: the message names the failure and the step. The exit code is 1."""


class Interrupted(Exception):
    """The end of a run by a signal, after its state was saved. The exit code is 128 plus the number of the signal."""

    def __init__(self, signal_number: int, command: str):
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}, everything is saved; to continue: {command}")
        self.exit_code = 128 + signal_number


def in_one_line(error: Exception) -> str:
    """The text of an error of another library on one line, at most 300 characters of it."""
    return " ".join(str(error).split())[:300]
