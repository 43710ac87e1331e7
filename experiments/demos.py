"""Runs every config's ``:demo`` and holds it against the number that its docstring states.

    python experiments/demos.py                     all of them, about 40 minutes on two CPU cores
    python experiments/demos.py --short             a few steps each: do they run, evaluate and, once for each objective, predict?
    python experiments/demos.py clip_vit_b32 nat_t  some of them, and those they start from

Writes DIR/demos.csv (``--out``, runs/demos by default): metric, value, seconds.
"""

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Demo(NamedTuple):
    """What a demo has to reach.

    metric: of summary.json.
    least: what it has to exceed; or the name of another metric of the run.
    start: the demo whose run it starts from.
    """

    metric: str
    least: float | str
    start: str = ""


DEMOS = {
    "vit_b16": Demo("test/accuracy", 0.96),
    "vit_l16": Demo("test/accuracy", 0.94),
    "vit_b16_384": Demo("test/accuracy", 0.96, start="vit_b16"),
    "swin_t": Demo("test/accuracy", 0.96),
    "swin_b": Demo("test/accuracy", 0.96),
    "nat_t": Demo("test/accuracy", 0.96),
    "mixer_b16": Demo("test/accuracy", 0.95),
    "fnet_image": Demo("test/accuracy", 0.95),
    "dynamic_vit_s": Demo("test/accuracy", 0.94, start="vit_l16"),
    "mae_b16_pretrain": Demo("test/knn_accuracy", 0.91),
    "mae_b16_finetune": Demo("test/accuracy", 0.92, start="mae_b16_pretrain"),
    "mae_b16_linprobe": Demo("test/accuracy", 0.85, start="mae_b16_pretrain"),
    "clip_vit_b32": Demo("test/zero_shot_accuracy", 0.90),
    "clip_rn50": Demo("test/zero_shot_accuracy", 0.94),
    "clip_b16_lit": Demo("test/zero_shot_accuracy", 0.94, start="vit_b16"),
    "bert_base": Demo("test/accuracy", 0.10),
    "fnet_base": Demo("test/accuracy", 0.10),
    "fnet_hybrid": Demo("test/accuracy", 0.10),
    "bert_finetune": Demo("test/accuracy", 0.40, start="bert_base"),
    "transformer_base": Demo("test/exact", 0.97),
    "rnn_attention": Demo("test/exact", 0.97),
    "lm_small": Demo("test/accuracy", 0.74),
    "swinir_classical_x4": Demo("test_ema/psnr_y", "test_ema/psnr_y_input"),
    "swinir_light_x2": Demo("test_ema/psnr_y", "test_ema/psnr_y_input"),
    "swinir_denoise": Demo("test_ema/psnr_y", "test_ema/psnr_y_input"),
    "swinir_jpeg": Demo("test_ema/psnr_y", "test_ema/psnr_y_input"),
}
PREDICTED: set[str] = set()  # objectives whose prediction was tried
SHORT = (
    "--config.duration=3 steps",
    "--config.optim.warmup=1 steps",
    "--config.evals.every=",
    "--config.checkpoint.every=",
    "--config.log.report=0",
)


def vitax(verb: str, *arguments: str) -> str:
    """Runs ``python -m vitax.VERB`` and gives back its stdout."""
    line = [sys.executable, "-m", f"vitax.{verb}", *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def run(name: str, out: Path, short: bool) -> dict[str, object]:
    """Trains one demo and tries its prediction; one row of the table."""
    demo, folder = DEMOS[name], out / name
    arguments = [f"--config=configs/{name}.py:demo", f"--workdir={folder}", "--overwrite"]
    if demo.start:
        arguments.append(f"--config.init_from={out / demo.start}")
    began = time.monotonic()
    printed = vitax("main", *arguments, *(SHORT if short else ()))
    seconds = round(time.monotonic() - began)
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    value = metrics[demo.metric]
    least = metrics[demo.least] if isinstance(demo.least, str) else demo.least
    objective = json.loads((folder / "config.json").read_text())["task"]["name"]
    if not short or objective not in PREDICTED:  # a few steps are enough to try each objective once
        PREDICTED.add(objective)
        tried = next(line for line in printed.splitlines() if line.startswith("predict "))
        predicted = vitax("predict", *shlex.split(tried.split("vitax.predict ")[1]))
        json.loads(predicted.splitlines()[0])
    reached = short or value > least
    told = "" if short else f"  {'more than' if reached else 'NOT more than'} {least:.4f}"
    print(f"{name:<20} {demo.metric} {value:.4f}{told}  {seconds} s", flush=True)
    return dict(
        demo=name,
        metric=demo.metric,
        value=round(value, 4),
        more_than=round(least, 4),
        seconds=seconds,
        reached=reached,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="of configs; none = all")
    parser.add_argument("--short", action="store_true", help="a few steps each")
    parser.add_argument("--parallel", type=int, default=1, help="so many at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/demos"))
    given = parser.parse_args()
    if unknown := set(given.names) - DEMOS.keys():
        parser.error(f"no demo is called {', '.join(sorted(unknown))}")
    wanted = set(given.names) or set(DEMOS)
    wanted |= {DEMOS[name].start for name in wanted} - {""}
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for later in (False, True):  # what others start from comes first
        names = [n for n, demo in DEMOS.items() if n in wanted and bool(demo.start) == later]
        with ThreadPoolExecutor(given.parallel) as pool:
            rows += pool.map(lambda name: run(name, out, given.short), names)
    with (out / "demos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    if failed := [row["demo"] for row in rows if not row["reached"]]:
        raise SystemExit(f"not reached: {', '.join(map(str, failed))}")


if __name__ == "__main__":
    main()
