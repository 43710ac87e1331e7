"""Cross-validates a config: trains once for each fold, and prints mean and standard deviation of every metric.

    python -m vitax.cross_validate --config=configs/vit_b16.py:demo --config.data.num_folds=5 --workdir=RUN

Each fold has its own run (RUN/fold0 and so on), which is trained on the other folds and tested on this one; the test
split of the data is not used. The same command continues an interrupted cross-validation without repeating finished
work. The results are written to RUN/folds.json.
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
from vitax.reading import num_folds

FLAGS = (Flag("workdir", "", "folder of the runs; empty: runs/NAME-DATE"),)


def run(arguments: Arguments) -> int:
    """Trains once for each fold, and returns the exit code of the first run that fails, or 0.

    Raises:
        UserError: there is no --config, or there are fewer than two folds.
    """
    count = num_folds(arguments.config) if arguments.config else 0
    if count < 2:
        raise UserError("give --config.data.num_folds=N with N of at least 2, and labelled data")
    if not arguments.spec:
        raise UserError("give --config=configs/NAME.py")
    log.start_logging()
    folder = rundir.locate(arguments.flags["workdir"], arguments.spec)
    shared_arguments = without_flag(arguments.argv[1:], "workdir")
    results = []
    for fold in range(count):
        path = folder / f"fold{fold}"
        line = [sys.executable, "-m", "vitax.main", *shared_arguments]
        line += [f"--config.data.fold={fold}", f"--workdir={path}"]
        code = subprocess.run(line, check=False).returncode
        if code:
            return code
        results.append(json.loads((path / "summary.json").read_text(encoding="utf-8"))["metrics"])
    summarise(results, folder)
    return 0


def summarise(results: list[dict[str, float]], folder: Path) -> None:
    """Prints and writes the mean and the sample standard deviation of each metric over the folds."""
    table = {}
    say(f"\n{len(results)} folds in {folder}")
    for name in results[0]:
        if name.endswith(("/examples", "/seconds", "/corrupt")):
            continue
        values = [metrics[name] for metrics in results if metrics[name] is not None and math.isfinite(metrics[name])]
        if len(values) < len(results):
            say(
                f"{name}  is not a number in {len(results) - len(values)} of {len(results)} folds: no mean of the others is given"
            )
            continue
        table[name] = {"mean": statistics.mean(values), "standard_deviation": statistics.stdev(values), "folds": values}
        say(f"{name}  {table[name]['mean']:.4f} ± {table[name]['standard_deviation']:.4f}")
    rundir.write_json(folder / "folds.json", table)


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
