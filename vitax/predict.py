"""Predicts with a trained run, and prints one JSON object per line on stdout.

    python -m vitax.predict --workdir=RUN IMAGES...       files, or folders of files

    {"file": "cat.jpg", "label": "cat", "probability": 0.93, "top": [{"label": "cat", "probability": 0.93}, ...]}

The output depends on the objective that the run was trained for. For an unreadable file, the line is
{"file": ..., "error": ...}; the other files are predicted, and the exit code is 2.
"""

import json

from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.prediction import load_run, predict

FLAGS = (
    Flag("workdir", "", "folder of the run"),
    Flag("checkpoint", "best", "best, last, average, or a step"),
    Flag("labels", "", "zero-shot: names of the classes, separated by commas"),
    Flag("top", 5, "number of classes to list"),
    Flag("tile", 0, "restoration: side of a tile in pixels of the damaged image; 0: eight windows"),
    Flag("out", "", "folder for images; empty: RUN/predictions"),
)


def run(arguments: Arguments) -> int:
    """Predicts, and prints a line for each input.

    Raises:
        UserError: --workdir is missing.
    """
    flags = arguments.flags
    if not flags["workdir"]:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    start_jax()
    log.start_logging()
    trained = load_run(flags["workdir"], flags["checkpoint"])
    options = {flag.name: flags[flag.name] for flag in FLAGS[2:] if flags[flag.name] != flag.default}
    return print_rows(predict(trained, arguments.positional, **options))


def print_rows(rows) -> int:
    """Prints JSON objects, one per line, and returns the exit code: 2 if one of them is an error, otherwise 0."""
    broken = 0
    for row in rows:
        broken += "error" in row
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return 2 if broken else 0


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
