"""Cross-validates: trains once for each fold and prints the mean and the deviation of every metric.

    python -m vitax.cross_validate --config=configs/vit_b16.py:demo --config.data.num_folds=5 --workdir=RUN

Each fold is a run of its own, RUN/fold0 and so on, trained on the others and tested on it; the test split of the data
stays untouched. What is done already is not done again: the same command continues. Writes RUN/folds.json.
"""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from vitax import rundir
from vitax.cli import Arguments, Command, Flag, without_flag
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.monitoring.log import say

FLAGS = (Flag("workdir", "", "folder of the runs; empty: runs/NAME-DATE"),)


def run(arguments: Arguments) -> int:
    """Trains once for each fold, and returns the exit code of the first run that fails, else 0.

    Raises:
        UserError: no config, or fewer than two folds.
    """
    count = arguments.config["data"].get("num_folds", 0)
    if count < 2:
        raise UserError("give --config.data.num_folds=N, 2 at least, and labelled data")
    if not arguments.spec:
        raise UserError("give --config=configs/NAME.py")
    log.start_logging()
    folder = rundir.locate(arguments.flags["workdir"], arguments.spec)
    others = without_flag(arguments.argv[1:], "workdir")
    results = []
    for fold in range(count):
        path = folder / f"fold{fold}"
        line = [sys.executable, "-m", "vitax.main", *others]
        line += [f"--config.data.fold={fold}", f"--workdir={path}"]
        code = subprocess.run(line, check=False).returncode
        if code:
            return code
        results.append(json.loads((path / "summary.json").read_text(encoding="utf-8"))["metrics"])
    summarise(results, folder)
    return 0


def summarise(results: list[dict[str, float]], folder: Path) -> None:
    """Prints and writes mean and sample standard deviation of each metric over the folds."""
    table = {}
    say(f"\n{len(results)} folds in {folder}")
    for name in results[0]:
        values = [metrics[name] for metrics in results if math.isfinite(metrics[name])]
        if name.endswith(("/examples", "/seconds", "/corrupt")) or len(values) < 2:
            continue
        table[name] = {"mean": statistics.mean(values), "deviation": statistics.stdev(values), "folds": values}
        say(f"{name}  {table[name]['mean']:.4f} +- {table[name]['deviation']:.4f}")
    rundir.write_json(folder / "folds.json", table)


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
