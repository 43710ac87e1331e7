"""Predicts with a trained run, and prints one JSON object per line on stdout.

    python -m vitax.predict --workdir=RUN IMAGES...       files, or folders of files

    {"file": "cat.jpg", "label": "cat", "probability": 0.93, "top": [{"label": "cat", "probability": 0.93}, ...]}

    python -m vitax.predict --workdir=RUN DIR --out=predictions.csv      a table: .csv, .jsonl or .parquet

The output depends on the objective that the run was trained for. For an unreadable file, the line is
{"file": ..., "error": ...}; the other files are predicted, and the exit code is 2. A table appears when it is whole; until
then FILE.partial keeps the rows, and the same command goes on after the last of them.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.prediction import TrainedRun, load_run, predict
from vitax.prediction.tables import Journal, is_table
from vitax.prediction.trained import batch_size_for, checkpoint_name

FLAGS = (
    Flag("workdir", "", "folder of the run"),
    Flag("checkpoint", "best", "best, last, average, or a step"),
    Flag("labels", "", "zero-shot: names of the classes, separated by commas"),
    Flag("top", 5, "number of classes to list"),
    Flag(
        "threshold",
        "0.5",
        "several labels: probability from which there is a label; val: the best on the validation; detection: score of an object",
    ),
    Flag("tile", 0, "restoration: side of a tile in pixels of the damaged image; 0: eight windows"),
    Flag("out", "", "folder for images; empty: RUN/predictions; or FILE.csv, .jsonl, .parquet for a table"),
)
BATCH = Flag("batch_size", 0, "examples at a time; 0: 64")


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
    if flags["batch_size"] < 0:
        raise UserError(f"--batch_size={flags['batch_size']} must not be negative")
    trained = load_run(flags["workdir"], flags["checkpoint"])
    if flags["batch_size"]:
        trained = trained._replace(batch_size=batch_size_for(trained.mesh, flags["batch_size"]))
    options = {flag.name: flags[flag.name] for flag in FLAGS[2:] if flags[flag.name] != flag.default}
    if is_table(flags["out"]):
        checkpoint = checkpoint_name(trained, flags["checkpoint"])
        return write_rows(trained, checkpoint, arguments.positional, Path(options.pop("out")), options)
    return print_rows(predict(trained, arguments.positional, **options))


def write_rows(trained: TrainedRun, checkpoint: str, inputs: list[str], table: Path, options: dict[str, Any]) -> int:
    """Writes a table of predictions, and returns the exit code: 2 if one of them is an error, otherwise 0.

    Args:
        trained: the run.
        checkpoint: its step, or "average".
        inputs: names on the command line.
        table: path of the table.
        options: options of the predictor.

    Raises:
        UserError: the table exists or cannot be written, or a table that was begun is another's.
    """
    about = {"run": str(trained.path.resolve()), "checkpoint": checkpoint, "options": options}
    with Journal(table, about) as journal:
        if journal.rows:
            print(f"goes on after {len(journal.rows):,} rows of {journal.path}", file=sys.stderr)
        rows = predict(trained, inputs, done=tuple(journal.rows), **options)
        for row in tqdm(rows, initial=len(journal.rows), unit="", disable=not sys.stderr.isatty()):
            journal.add(row)
        journal.finish()
    broken = sum("error" in row for row in journal.rows)
    print(f"{table}: {len(journal.rows):,} rows" + (f", {broken:,} of them with an error" if broken else ""))
    return 2 if broken else 0


def print_rows(rows: Iterable[dict[str, Any]]) -> int:
    """Prints JSON objects, one per line, and returns the exit code: 2 if one of them is an error, otherwise 0."""
    broken = 0
    for row in rows:
        broken += "error" in row
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return 2 if broken else 0


COMMAND = Command(__doc__, (*FLAGS, BATCH), run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
