"""Predicts with a trained run: one JSON object a line on stdout.

    python -m vitax.predict --workdir=RUN IMAGES...       files, or folders of files

    {"file": "cat.jpg", "label": "cat", "probability": 0.93, "top": [{"label": "cat", "probability": 0.93}, ...]}

What it does is what the run was trained for. A file that cannot be read gives {"file": ..., "error": ...}; the others
are predicted, and the exit code is 2.
"""

import json
import sys
from pathlib import Path

from absl import flags

from vitax import cli
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.prediction import PREDICTORS, load_run


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
    flags.DEFINE_string("checkpoint", "best", "best, last, average, or a step", flag_values=values)
    flags.DEFINE_string("labels", "", "zero-shot: names of the classes, with commas between them", flag_values=values)
    flags.DEFINE_integer("top", 5, "how many classes to list", flag_values=values)
    flags.DEFINE_string("out", "", "folder for pictures; empty: RUN/predictions", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    """Does what the command line says; gives the exit code."""
    values, given = cli.parse(argv, define_flags, __doc__, with_config=False, positional=True)
    if not values.workdir:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    cli.start_jax()
    log.start_logging(None)
    run = load_run(Path(values.workdir), values.checkpoint)
    broken = 0
    for found in PREDICTORS[run.config["task"]["name"]].predict(run, given, values):
        broken += "error" in found
        print(json.dumps(found, ensure_ascii=False), flush=True)
    return 2 if broken else 0


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
