"""The code that all experiments share: variants of a config, several seeds, a CSV, a table, a plot.

An experiment is a file with a hypothesis in its docstring and a `Study`; each variant is one run of ``vitax.main`` for
each seed. Options of every experiment:

    --seeds=3            number of runs of each variant
    --parallel=1         number of seeds that run at a time
    --out=runs/studies   folder of the runs; a finished run is not repeated
    --redraw             only make the table and the plot from the CSV, without running anything
    --data=DIR           data of an experiment that needs some; its docstring says which. Anything that data.path takes
    --config.KEY=VALUE   override for all variants, applied last, for example --config.data.name=folder
                         --config.data.path=DIR, or a longer duration

With overrides, or with fewer seeds, the CSV and the plot go to --out, and results/ and README.md stay as they are.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from vitax.sweep.table import draw, read, write
from vitax.sweep.table import markdown as table_of

HERE = Path(__file__).parent
STOPPED = threading.Event()  # set by SIGTERM, which the run gets too: it saves a checkpoint and ends
RESULTS = HERE / "results"
Row = dict[str, Any]


def _nothing(run: Path) -> list[Row]:
    return [{}]


class Claim(NamedTuple):
    """A claim that one variant has the larger value; variants as in `Study.variants`, metric: "" = the first one."""

    larger: Any
    smaller: Any
    metric: str = ""


class Study(NamedTuple):
    """The variants of an experiment, and the metrics that it compares.

    Attributes:
        variants: {name: overrides}; a name is a word or (series, x), where x is a number. Overrides are
            {"section.key": value}; the key "config" gives another config file, and "program" another script than
            vitax.main. A value ``RunOf(name)`` is the folder of the run of that variant with the same seed; that
            variant must come earlier.
        metrics: {metric of summary.json or of ``measure``: its title}; the first one is drawn.
        config: FILE.py[:VARIANT] for variants that name no config.
        shared: overrides of all variants.
        of_seed: seed -> overrides that follow from it; by default the seed itself.
        measure: folder of a run -> rows of more metrics; several rows, each with its own "x", make a curve.
        seeds: number of runs of each variant.
        x: meaning of the numbers in the names of variants.
        claims: pairs of variants that are compared, see `tested`; if the hypothesis expects no difference, it expects
            "undecided".
        needs_data: the experiment wants --data=DIR, which replaces "{data}" in the values of overrides too.
    """

    variants: Mapping[Any, Mapping[str, Any]]
    metrics: Mapping[str, str]
    config: str
    shared: Mapping[str, Any] = {}
    of_seed: Callable[[int], Mapping[str, Any]] = lambda seed: {"seed": seed}
    measure: Callable[[Path], list[Row]] = _nothing
    seeds: int = 3
    x: str = ""
    claims: Sequence[Claim] = ()
    needs_data: bool = False


class RunOf(NamedTuple):
    variant: Any


def conduct(file: str, question: str, study: Study) -> None:
    """Runs a study with the options of the command line, and writes NAME.csv and NAME.png.

    The table in README.md is written too, unless the command line has overrides or fewer seeds.

    Args:
        file: path of the experiment.
        question: docstring of the experiment.
        study: variants and metrics of the experiment.
    """
    parser = argparse.ArgumentParser(
        description=question, epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=study.seeds)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE.parent / "runs" / "studies")
    parser.add_argument("--redraw", action="store_true")
    if study.needs_data:
        parser.add_argument("--data")
    options, overrides = parser.parse_known_args()
    if unknown := [word for word in overrides if not word.startswith("--config.")]:
        parser.error(f"{' '.join(unknown)} is unknown; overrides begin with --config.")
    if study.needs_data and not options.redraw:
        if not options.data:
            parser.error("this experiment needs --data; its first lines say which data it is")
        study = _with_data(study, options.data)
    name = Path(file).stem
    folder = options.out.absolute() / name
    unchanged = not overrides and options.seeds >= study.seeds
    results = RESULTS if unchanged else folder
    table = results / f"{name}.csv"
    signal.signal(signal.SIGTERM, lambda *_: STOPPED.set())
    if not options.redraw:
        with ThreadPoolExecutor(options.parallel) as pool:
            rows_by_seed = list(pool.map(lambda seed: _one_seed(study, folder, seed, overrides), range(options.seeds)))
        write(table, [row for variant_rows in zip(*rows_by_seed, strict=True) for row in variant_rows if row])
    rows = read(table)
    print(f"{markdown(rows, study)}\n{table}")
    if unchanged:
        tell(name, markdown(rows, study))
    draw(rows, study.metrics, results / f"{name}.png", study.x)


def _with_data(study: Study, data: str) -> Study:
    """The study with its data; runs start in the folder of the project, so that a path becomes absolute."""
    path = Path(data).expanduser()
    data = str(path.absolute()) if path.exists() else data
    put = lambda keys: {k: v.replace("{data}", data) if isinstance(v, str) else v for k, v in keys.items()}
    variants = {name: put(keys) for name, keys in study.variants.items()}
    return study._replace(variants=variants, shared={**put(study.shared), "data.path": data})


def label(variant: Any) -> str:
    """Name of a variant: ``series x``, or the name itself."""
    return " ".join(map(str, variant)) if isinstance(variant, tuple) else str(variant)


def _one_seed(study: Study, folder: Path, seed: int, more: Sequence[str]) -> list[Row]:
    """Rows of all variants for one seed; the row of a variant that has none of the metrics is empty."""
    rows = []
    for variant, overrides in study.variants.items():
        if STOPPED.is_set():
            raise SystemExit("stopped")
        path = _folder(folder, variant, seed)
        keys = {**study.shared, **study.of_seed(seed), **overrides}
        config, program = keys.pop("config", study.config), keys.pop("program", "")
        flags = flags_of(keys, lambda other: _folder(folder, other, seed))
        _run([program] if program else ["-m", "vitax.main"], config, path, [*flags, *more])
        summary = json.loads((path / "summary.json").read_text())
        series, x = variant if isinstance(variant, tuple) else (variant, "")
        for measured in study.measure(path):
            metrics = {**summary["metrics"], **measured}
            values = {key: round(metrics[key], 5) for key in study.metrics if metrics.get(key) is not None}
            row = {"variant": series, "x": measured.get("x", x), "seed": seed, **values}
            rows.append(row | {"seconds": summary["seconds"]} if values else {})
            message = "  ".join(f"{study.metrics[key]} {value:.4f}" for key, value in values.items())
            print(f"{label((series, row['x']) if row['x'] != '' else series)}, seed {seed}: {message}", flush=True)
    return rows


def flags_of(keys: Mapping[str, Any], folder_of: Callable[[Any], Path]) -> list[str]:
    """Overrides as flags of the command line.

    Args:
        keys: {"section.key": value}; a value may be a `RunOf`.
        folder_of: variant -> folder of its run.
    """
    values = {key: folder_of(x.variant) if isinstance(x, RunOf) else x for key, x in keys.items()}
    return [f"--config.{key}={value}" for key, value in values.items()]


def _folder(folder: Path, variant: Any, seed: int) -> Path:
    return folder / f"{label(variant).replace(' ', '_').replace('/', '_')}-{seed}"


def _run(program: Sequence[str], config: str, path: Path, flags: Sequence[str]) -> None:
    """Starts one run and waits for it, unless it is finished already; what it says goes to a file beside its folder.

    Raises:
        SystemExit: the run failed, or the folder belongs to a run with other flags.
    """
    arguments, record = [*program, f"--config={config}", *flags], path / "asked.json"
    if record.is_file():
        if json.loads(record.read_text()) != arguments:
            raise SystemExit(f"{path} belongs to a run with other flags ({record}); choose another --out, or delete it")
        if (path / "summary.json").is_file():
            return
    command = [sys.executable, *arguments, f"--workdir={path}", "--config.log.report=0"]
    said = path.with_name(f"{path.name}.txt")  # not a pipe: a run that is stopped may live longer than this program
    path.parent.mkdir(parents=True, exist_ok=True)
    with said.open("w") as file:
        completed = subprocess.run(command, cwd=HERE.parent, stdout=file, stderr=subprocess.STDOUT, check=False)
    if completed.returncode:
        raise SystemExit("stopped" if STOPPED.is_set() else f"{' '.join(command)}\n{said.read_text()[-6000:]}")
    record.write_text(json.dumps(arguments) + "\n")


def markdown(rows: Sequence[Row], study: Study) -> str:
    """A Markdown table with a line for each variant: mean and deviation of each metric; and the claims, for several seeds."""
    table = table_of(rows, study.metrics, study.x)
    if not study.claims or len({row["seed"] for row in rows}) < 2:
        return table
    head = (
        "| larger, it is claimed | than | difference, and its interval of 95 % | p | verdict |\n|---|---|---|---|---|"
    )
    return "\n".join([table, "", head, *(tested(rows, study, claim) for claim in study.claims)])


def tested(rows: Sequence[Row], study: Study, claim: Claim) -> str:
    """A line of a Markdown table with the test of a claim.

    The t-test is paired by seed if both variants have the same seeds, and Welch's otherwise; it has two sides. The verdict is
    "confirmed" or "refuted" if p is below 0.05, by the sign of the difference, and "undecided" otherwise.
    """
    metric = claim.metric or next(iter(study.metrics))
    first, second = (_by_seed(rows, variant, metric) for variant in (claim.larger, claim.smaller))
    a, b = (np.array([values[seed] for seed in sorted(values)]) for values in (first, second))
    result: Any = stats.ttest_rel(a, b) if first.keys() == second.keys() else stats.ttest_ind(a, b, equal_var=False)
    difference, interval = a.mean() - b.mean(), result.confidence_interval()
    verdict = "undecided" if not result.pvalue < 0.05 else "confirmed" if difference > 0 else "refuted"
    title = f" ({study.metrics[metric]})" if metric != next(iter(study.metrics)) else ""
    return (
        f"| {label(claim.larger)}{title} | {label(claim.smaller)} | {difference:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}] | "
        f"{result.pvalue:.2g} | {verdict} |"
    )


def _by_seed(rows: Sequence[Row], variant: Any, metric: str) -> dict[float, float]:
    """{seed: value} of a variant.

    Raises:
        ValueError: it has fewer than two values.
    """
    name, x = variant if isinstance(variant, tuple) else (variant, None)
    found = {
        row["seed"]: row[metric]
        for row in rows
        if row["variant"] == str(name) and row["x"] == x and row.get(metric) is not None
    }
    if len(found) < 2:
        raise ValueError(f"{label(variant)} has {len(found)} values of {metric}, too few for a test")
    return found


def tell(name: str, table: str) -> None:
    """Puts a table between the marks of its experiment in README.md; without such marks nothing is written."""
    readme = HERE / "README.md"
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, mark, rest = readme.read_text().partition(begin)
    if mark:
        _, _, after = rest.partition(end)
        readme.write_text(f"{before}{begin}\n{table}\n{end}{after}")
