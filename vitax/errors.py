"""The two ways in which a run ends early on purpose. Both are printed as one sentence, no traceback."""


class UserError(ValueError):
    """What was asked for cannot be done: the message names the values and the remedy. Exit code 2."""


class TrainingError(RuntimeError):
    """The run went wrong while training (a NaN, say): the message names what and when. Exit code 1."""
