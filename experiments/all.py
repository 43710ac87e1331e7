"""Runs the experiments one after another, the shortest first, until a budget of minutes is used up.

    python experiments/all.py --budget=60
    python experiments/all.py --budget=60 --data NAME=DIR     # data for the experiment of this name

Runs that are finished are not repeated. A run that was stopped when the time was up continues from its checkpoint if you give
the same command again. An experiment whose last run has ended writes its results and its table in README.md. Experiments
for which data must be given are left out without them. The length of an experiment is that of its published runs.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from vitax.sweep.table import read

HERE = Path(__file__).parent
PATIENCE = 60  # seconds that a run has to save where it is


def experiments() -> list[str]:
    """The names of all experiments, the shortest first; those without published runs are the last."""
    call = re.compile(r"^ +conduct\(__file__", re.MULTILINE)
    names = [path.stem for path in HERE.glob("*.py") if call.search(path.read_text())]
    return sorted(names, key=lambda name: (published_seconds(name), name))


def published_seconds(name: str) -> float:
    """The seconds that all published runs of an experiment took together; infinity = there are none."""
    table = HERE / "results" / f"{name}.csv"
    if not table.is_file():
        return float("inf")
    return sum(seconds for *_, seconds in {(row["variant"], row["seed"], row["seconds"]) for row in read(table)})


def conducted(name: str, options: list[str], seconds: float) -> bool:
    """Runs an experiment for at most so many seconds; True if it ended by then.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, str(HERE / f"{name}.py"), *options]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait(max(0, seconds))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # its run saves a checkpoint, and the experiment waits for it
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            return False
    if code:
        raise SystemExit(f"{name} failed")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--budget", type=float, default=60, help="minutes")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=DIR")
    options, rest = parser.parse_known_args()
    if any("=" not in each for each in options.data):
        parser.error("--data is for one experiment: --data NAME=DIR")
    data = dict(each.split("=", 1) for each in options.data)
    names = experiments()
    if unknown := sorted(data.keys() - set(names)):
        parser.error(f"--data: there is no experiment {unknown[0]!r}; choose one of {', '.join(names)}")
    end, states = time.monotonic() + options.budget * 60, {}
    for name in names:
        given = [f"--data={data[name]}"] if name in data else []
        if not given and "needs_data=True" in (HERE / f"{name}.py").read_text():
            states[name] = f"left out: it needs data, --data {name}=DIR"
        elif time.monotonic() >= end:
            states[name] = "not begun"
        else:
            print(f"== {name}", flush=True)
            ended = conducted(name, [*given, *rest], end - time.monotonic())
            states[name] = "done" if ended else "stopped; give the same command again to continue"
            end = end if ended else 0.0
    width = max(map(len, names))
    print("\n" + "\n".join(f"{name:{width}}  {state}" for name, state in states.items()))


if __name__ == "__main__":
    main()
