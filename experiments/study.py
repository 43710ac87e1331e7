"""What all experiments share: variants of a config, several seeds, a CSV, a table, a plot.

An experiment is a file with a hypothesis in its docstring and a `Study`; each variant is one run of ``vitax.main`` for each seed.
Options of every experiment:

    --seeds=3            runs of each variant
    --parallel=1         seeds at a time
    --out=runs/studies   where the runs go; one that is done is not done again
    --redraw             the table and the plot from the CSV, without running anything
    --config.KEY=VALUE   for all variants, last: --config.data.name=folder --config.data.path=DIR, a longer duration

With overrides, or with fewer seeds, the table and the plot go to --out: those in results/ stay what the file alone gives.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Row = dict[str, Any]


def _nothing(run: Path) -> list[Row]:
    return [{}]


class Study(NamedTuple):
    """variants: {name: overrides}; a name is a word or (series, x), x a number. An override is {"section.key": value};
        "config" there is another config file, "program" another script than vitax.main, and a value ``RunOf(name)`` the
        folder of the same seed's run of that variant, which has to come before.
    metrics: {metric of summary.json, or of ``measure``: what to call it}; the first one is drawn.
    config: FILE.py[:VARIANT] of variants that name none.
    shared: overrides of all variants.
    of_seed: overrides that follow from the seed; the seed itself, if nothing is said.
    measure: folder of a run -> more metrics; several rows of them, each with an "x" of its own, make a curve.
    seeds: runs of each variant.
    x: what the numbers in names are.
    """

    variants: Mapping[Any, Mapping[str, Any]]
    metrics: Mapping[str, str]
    config: str
    shared: Mapping[str, Any] = {}
    of_seed: Callable[[int], Mapping[str, Any]] = lambda seed: {"seed": seed}
    measure: Callable[[Path], list[Row]] = _nothing
    seeds: int = 3
    x: str = ""


class RunOf(NamedTuple):
    variant: Any


def conduct(file: str, question: str, study: Study) -> None:
    """Runs a study as its command line says, and writes NAME.csv, NAME.png and, of the study as it is, the table in README.md.

    Args:
        file: of the experiment.
        question: its docstring.
    """
    parser = argparse.ArgumentParser(
        description=question, epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=study.seeds)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE.parent / "runs" / "studies")
    parser.add_argument("--redraw", action="store_true")
    given, more = parser.parse_known_args()
    if wrong := [word for word in more if not word.startswith("--config.")]:
        parser.error(f"{' '.join(wrong)} is not understood; overrides begin with --config.")
    name = Path(file).stem
    folder = given.out.absolute() / name
    as_it_is = not more and given.seeds >= study.seeds
    results = RESULTS if as_it_is else folder
    table = results / f"{name}.csv"
    if not given.redraw:
        with ThreadPoolExecutor(given.parallel) as pool:
            found = list(pool.map(lambda seed: _one_seed(study, folder, seed, more), range(given.seeds)))
        write(table, [row for of_seed in zip(*found, strict=True) for row in of_seed if row])
    rows = read(table)
    print(f"{markdown(rows, study)}\n{table}")
    if as_it_is:
        tell(name, markdown(rows, study))
    draw(rows, study, results / f"{name}.png")


def label(variant: Any) -> str:
    """``series x`` or the name itself."""
    return " ".join(map(str, variant)) if isinstance(variant, tuple) else str(variant)


def _one_seed(study: Study, folder: Path, seed: int, more: Sequence[str]) -> list[Row]:
    """A row for each variant; an empty one where it measures nothing that is asked for."""
    rows = []
    for variant, overrides in study.variants.items():
        path = _folder(folder, variant, seed)
        keys = {**study.shared, **study.of_seed(seed), **overrides}
        config, program = keys.pop("config", study.config), keys.pop("program", "")
        flags = flags_of(keys, lambda other: _folder(folder, other, seed))
        _run([program] if program else ["-m", "vitax.main"], config, path, [*flags, *more])
        summary = json.loads((path / "summary.json").read_text())
        series, x = variant if isinstance(variant, tuple) else (variant, "")
        for measured in study.measure(path):
            found = {**summary["metrics"], **measured}
            values = {key: round(found[key], 5) for key in study.metrics if key in found}
            row = {"variant": series, "x": measured.get("x", x), "seed": seed, **values}
            rows.append(row | {"seconds": summary["seconds"]} if values else {})
            told = "  ".join(f"{study.metrics[key]} {value:.4f}" for key, value in values.items())
            print(f"{label((series, row['x']) if row['x'] != '' else series)}, seed {seed}: {told}", flush=True)
    return rows


def flags_of(keys: Mapping[str, Any], folder_of: Callable[[Any], Path]) -> list[str]:
    """Overrides as the command line has them.

    Args:
        folder_of: a variant -> the folder of its run.
    """
    values = {key: folder_of(x.variant) if isinstance(x, RunOf) else x for key, x in keys.items()}
    return [f"--config.{key}={value}" for key, value in values.items()]


def _folder(folder: Path, variant: Any, seed: int) -> Path:
    return folder / f"{label(variant).replace(' ', '_').replace('/', '_')}-{seed}"


def _run(program: Sequence[str], config: str, path: Path, flags: Sequence[str]) -> None:
    """One run, unless it is there.

    Raises:
        SystemExit: it failed, or the folder has a run with other flags.
    """
    asked, noted = [*program, f"--config={config}", *flags], path / "asked.json"
    if noted.is_file():
        if json.loads(noted.read_text()) != asked:
            raise SystemExit(f"{path} was asked for otherwise ({noted}); give another --out, or delete it")
        if (path / "summary.json").is_file():
            return
    line = [sys.executable, *asked, f"--workdir={path}", "--config.log.report=0"]
    done = subprocess.run(line, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    noted.write_text(json.dumps(asked) + "\n")


def write(path: Path, rows: Sequence[Row]) -> None:
    """A CSV of rows, whose columns are all that any of them has."""
    path.parent.mkdir(exist_ok=True)
    names = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(names), restval="")
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[Row]:
    """The rows of a CSV that `conduct` has written; numbers as numbers."""
    with path.open(newline="") as file:
        return [
            {k: v if k == "variant" else float(v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def grouped(rows: Sequence[Row], metric: str) -> dict[tuple[str, float | None], list[float]]:
    """{(variant, x): the values of all seeds}, of those that have any."""
    found: dict[tuple[str, float | None], list[float]] = {}
    for row in rows:
        if row.get(metric) is not None:
            found.setdefault((row["variant"], row["x"]), []).append(row[metric])
    return found


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def markdown(rows: Sequence[Row], study: Study) -> str:
    """A table: a line for each variant, mean and, of several seeds, deviation of each metric."""
    columns = {metric: grouped(rows, metric) for metric in study.metrics}
    keys = dict.fromkeys(key for found in columns.values() for key in found)
    with_x = any(x is not None for _, x in keys)
    head = ["variant", *([study.x] if with_x else []), *study.metrics.values(), "seeds"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for key in keys:
        cells = [key[0], *([f"{key[1]:g}" if key[1] is not None else ""] if with_x else [])]
        for found in columns.values():
            values = found.get(key)
            mean = f"{statistics.mean(values):.3f}" if values else ""
            cells.append(f"{mean} ± {spread(values):.3f}" if values and len(values) > 1 else mean)
        count = max(len(found.get(key, ())) for found in columns.values())
        lines.append(f"| {' | '.join([*cells, str(count)])} |")
    return "\n".join(lines)


def tell(name: str, table: str) -> None:
    """Puts a table into README.md, between the marks of its experiment, if it has any there."""
    readme = HERE / "README.md"
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = readme.read_text().partition(begin)
    if found:
        _, _, after = rest.partition(end)
        readme.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def draw(rows: Sequence[Row], study: Study, path: Path) -> None:
    """The first metric: over x a line for each series, dashed for those without x; otherwise a column of dots for each
    variant. Bars are deviations over seeds."""
    metric = next(iter(study.metrics))
    found = grouped(rows, metric)
    figure = Figure(figsize=(6, 3.6), dpi=120, layout="constrained")
    panel = figure.subplots()
    if any(x is not None for _, x in found):
        for number, name in enumerate(dict.fromkeys(series for series, _ in found)):
            line = {x: values for (series, x), values in found.items() if series == name}
            means = [statistics.mean(values) for values in line.values()]
            if None in line:  # nothing was varied: a level to compare with
                panel.axhline(means[0], ls="--", color=f"C{number}", label=name)
                continue
            panel.errorbar(
                list(line),
                means,
                [spread(v) for v in line.values()],
                marker="o",
                capsize=3,
                color=f"C{number}",
                label=name,
            )
        numbers = [x for _, x in found if x is not None]
        panel.set_xlabel(study.x)
        panel.legend()
        if min(numbers) > 0 and max(numbers) / min(numbers) > 8:
            panel.set_xscale("log")
        panel.set_xticks(sorted(set(numbers)), [f"{x:g}" for x in sorted(set(numbers))])
        panel.minorticks_off()
    else:
        for at, values in enumerate(found.values()):
            panel.plot([at] * len(values), values, ".", color="0.6")
            panel.errorbar(at, statistics.mean(values), spread(values), marker="o", capsize=4, color="C0")
        names = [name for name, _ in found]
        slanted = {"rotation": 30, "ha": "right"} if len(names) > 4 else {}
        panel.set_xticks(range(len(names)), names, **slanted)
    panel.set_ylabel(study.metrics[metric])
    panel.grid(alpha=0.3)
    figure.savefig(path)
