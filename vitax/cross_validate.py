"""Cross-validates: trains once for each fold and prints the mean and the deviation of every metric.

    python -m vitax.cross_validate --config=configs/vit_b16.py:demo --config.data.num_folds=5 --workdir=RUN

Each fold is a run of its own, RUN/fold0 and so on, trained on the others and tested on it; the test split of the data
stays untouched. What is done already is not done again: the same command continues. Writes RUN/folds.json.
"""

import json
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

from absl import flags

from vitax import cli, rundir
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.monitoring.log import say


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("workdir", "", "folder of the runs; empty: runs/NAME-DATE", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    """Does what the command line says; gives the exit code."""
    values, _ = cli.parse(argv, define_flags, __doc__)
    count = values.config.data.get("num_folds", 0)
    if count < 2:
        raise UserError("give --config.data.num_folds=N, 2 at least, and labelled data")
    spec = cli.value_of(argv, "config")
    if not spec:
        raise UserError("give --config=configs/NAME.py")
    log.start_logging(None)
    folder = rundir.locate(values.workdir, spec)
    given = [
        argument
        for i, argument in enumerate(argv[1:])
        if not re.match(r"--?workdir(=|$)", argument) and not re.fullmatch(r"--?workdir", argv[i])
    ]
    found = []
    for fold in range(count):
        path = folder / f"fold{fold}"
        line = [sys.executable, "-m", "vitax.main", *given]
        line += [f"--config.data.fold={fold}", f"--workdir={path}"]
        code = subprocess.run(line, check=False).returncode
        if code:
            return code
        found.append(json.loads((path / "summary.json").read_text())["metrics"])
    return tell(found, folder)


def tell(found: list[dict[str, float]], folder: Path) -> int:
    """Prints and writes mean and sample standard deviation of each metric."""
    table = {}
    say(f"\n{len(found)} folds in {folder}")
    for name in found[0]:
        values = [metrics[name] for metrics in found if math.isfinite(metrics[name])]
        if name.endswith(("/examples", "/seconds", "/corrupt")) or len(values) < 2:
            continue
        table[name] = {"mean": statistics.mean(values), "deviation": statistics.stdev(values), "folds": values}
        say(f"{name}  {table[name]['mean']:.4f} +- {table[name]['deviation']:.4f}")
    rundir.write_json(folder / "folds.json", table)
    return 0


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
