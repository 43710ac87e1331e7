"""The two ways in which a run ends early on purpose. Both are printed as one sentence, no traceback."""

import signal


class UserError(ValueError):
    """What was asked for cannot be done: the message names the values and the remedy. Exit code 2."""


class TrainingError(RuntimeError):
    """The run went wrong while training (a NaN, say): the message names what and when. Exit code 1."""


class Interrupted(Exception):
    """A signal ended the run, after its state was saved."""

    def __init__(self, signal_number: int, command: str):
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}, everything is saved; to continue: {command}")
        self.exit_code = 128 + signal_number
