"""Trains a config with all combinations of some values, with several seeds each, and compares them.

    vitax sweep vit_b16:demo --over=model.positions=none,learned_1d,sincos_2d --over=optim.learning_rate=1e-3,3e-3 \\
        --seeds=3 --parallel=2 --out=runs/sweep

Further --config.key=value apply to all runs. OUT/VARIANT/seed0 and so on are the runs; the same command, with --out, goes on where
it stopped. OUT has sweep.csv (a row for each run, with its command), sweep.md (means and standard deviations of the last and of the
best value) and sweep.png.
"""

import json
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from vitax import rundir
from vitax.cli import Arguments, Command, Flag, values_of, without_flag
from vitax.config import differences, flatten, from_json, to_json
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.monitoring.log import say
from vitax.reading import outline
from vitax.resolve import resolve
from vitax.sweep.grid import parse, variants

FLAGS = (
    Flag("over", "", "KEY=VALUE,VALUE...; once for each key"),
    Flag("seeds", 3, "number of runs of each variant"),
    Flag("parallel", 1, "number of runs at a time"),
    Flag("out", "", "folder of the sweep; empty: runs/NAME-DATE"),
)


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        variant: name of its variant.
        seed: its seed.
        folder: folder of the run.
        arguments: those of ``vitax.main``.
    """

    variant: str
    seed: int
    folder: Path
    arguments: list[str]

    @property
    def command(self) -> str:
        """What a person would type."""
        return shlex.join(["python", "-m", "vitax.main", *self.arguments, f"--workdir={self.folder}"])


def run(arguments: Arguments) -> int:
    """Trains what is not trained yet, and prints the table; the exit code is that of the first run that failed, or 0.

    Raises:
        UserError: a flag is wrong, or a folder belongs to another sweep.
    """
    flags = arguments.flags
    if not arguments.spec:
        raise UserError("give --config=FILE.py[:VARIANT]")
    if flags["seeds"] < 1 or flags["parallel"] < 1:
        raise UserError("--seeds and --parallel must be at least 1")
    grid = parse(values_of(arguments.argv, "over"), list(flatten(arguments.config)))
    if "seed" in grid:
        raise UserError("--over=seed: --seeds=N chooses the seeds 0 to N-1")
    if "evals.best" in grid:
        raise UserError("--over=evals.best: a sweep compares its runs by one metric, config.evals.best")
    if not outline(arguments.config).best:
        raise UserError("config.evals.best is empty: set it to the metric that the sweep compares, such as test/loss")
    log.start_logging()
    out = rundir.locate(flags["out"], arguments.spec)
    shared = arguments.argv[1:]
    for own in FLAGS:
        shared = without_flag(shared, own.name)
    members = []
    for name, overrides in variants(grid).items():
        for seed in range(flags["seeds"]):
            more = [f"--config.{key}={value}" for key, value in (overrides | {"seed": str(seed)}).items()]
            folder = out / re.sub(r"[^\w=.,()+-]+", "_", name or "all") / f"seed{seed}"
            members.append(Member(name or "all", seed, folder, [*shared, *more]))
    if len({member.folder for member in members}) < len(members):
        raise UserError(
            "two variants would get the same folder, because their names differ only in characters that a folder's name "
            "cannot have: give them in two sweeps"
        )
    for member in members:
        _check(member, arguments.config)
    say(f"{len(members)} runs in {out}")
    with ThreadPoolExecutor(flags["parallel"]) as pool:
        codes = list(pool.map(_train, members))
    write_results(out, [member for member, code in zip(members, codes, strict=True) if not code], arguments.config)
    return next((code for code in codes if code), 0)


def _check(member: Member, config: dict[str, Any]) -> None:
    """Raises an error for a folder that belongs to a run with other arguments, or with another config file."""
    record = member.folder.with_name(f"{member.folder.name}.asked.json")
    asked = {"arguments": tuple(member.arguments), "config": from_json(to_json(config))}
    if record.is_file():
        before = from_json(record.read_text(encoding="utf-8"))
        if before["arguments"] != asked["arguments"]:
            raise UserError(f"{member.folder} belongs to a run with other arguments ({record}): choose another --out")
        if changed := differences(resolve(before.get("config", config)), resolve(config)):
            raise UserError(
                f"{member.folder} belongs to a run with another config ({record}): choose another --out; the differences "
                "(that run -> this one):\n  " + "\n  ".join(changed)
            )
    record.parent.mkdir(parents=True, exist_ok=True)
    rundir.write_json(record, asked)


def _train(member: Member) -> int:
    """Trains one run to its end, unless it is finished, and returns its exit code; what it prints goes to a file."""
    if not (member.folder / "summary.json").is_file():
        line = [sys.executable, "-m", "vitax.main", *member.arguments, f"--workdir={member.folder}"]
        printed = member.folder.with_name(f"{member.folder.name}.txt")
        with printed.open("w", encoding="utf-8") as file:
            code = subprocess.run(line, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            last = printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            say(f"{member.variant}, seed {member.seed} failed: {' '.join(last)}\n  {member.command}")
            return code
    best = _summary(member)["best"]
    reached = (
        "no best checkpoint"
        if best["value"] is None
        else f"best {best['metric']} {best['value']:.4f} at step {best['step']:,}"
    )
    say(f"{member.variant}, seed {member.seed}: {reached}")
    return 0


def _summary(member: Member) -> dict[str, Any]:
    return json.loads((member.folder / "summary.json").read_text(encoding="utf-8"))


def write_results(out: Path, members: list[Member], config: dict[str, Any]) -> None:
    """Writes sweep.csv, sweep.md and sweep.png of the finished runs, and prints the table."""
    from vitax.sweep.table import draw, markdown, write  # matplotlib: a second that a start need not wait for

    rows, asked, name = [], outline(config).best, ""
    for member in members:
        summary = _summary(member)
        name, best = summary["best"]["metric"], summary["best"]["value"]
        values = {"best": best, "last": summary["metrics"].get(name)}
        if name != asked:  # a validation split chooses the best, and the test is measured once, at the end
            values["test"] = summary["metrics"].get(asked)
        values["seconds"] = summary["seconds"]
        row = {"variant": member.variant, "x": None, "seed": member.seed, **values}
        rows.append(row | {"command": member.command})
    if not rows:
        return
    titles = {"best": f"best {name}", "last": f"last {name}"} | ({"test": asked} if name != asked else {})
    write(out / "sweep.csv", rows)
    table = markdown(rows, titles)
    rundir.write_text(out / "sweep.md", table + "\n")
    draw(rows, titles, out / "sweep.png")
    say(f"{table}\n{out / 'sweep.csv'}, sweep.md, sweep.png")


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
