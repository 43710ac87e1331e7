"""Runs the ``:demo`` of every config and compares its result with the value in DEMOS that it must exceed.

    python experiments/demos.py                     all demos, about 40 minutes on two CPU cores
    python experiments/demos.py --short             a few steps each, to check that they run, evaluate
                                                    and, once for each objective, predict
    python experiments/demos.py clip_vit_b32 nat_t  some demos, and those that they start from

Writes DIR/demos.csv (``--out``, runs/demos by default): metric, value, the value to exceed, seconds.
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
    """The result that a demo must reach.

    Attributes:
        metric: name of a metric in summary.json.
        least: value that the metric must exceed, or the name of another metric of the run.
        start: demo whose run it starts from; "" = none.
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
    "swin_v2_t": Demo("test/accuracy", 0.96),
    "upernet_swin_t": Demo("test/miou", 0.7),
    "upernet_nat_t": Demo("test/miou", 0.6),
    "upernet_vit_b16": Demo("test/miou", 0.6),
    "detr_r50": Demo("test/ap50", 0.55),
    "nat_t": Demo("test/accuracy", 0.96),
    "mixer_b16": Demo("test/accuracy", 0.95),
    "fnet_image": Demo("test/accuracy", 0.95),
    "dynamic_vit_s": Demo("test/accuracy", 0.94, start="vit_l16"),
    "mae_b16_pretrain": Demo("test/knn_accuracy", 0.91),
    "mae_b16_finetune": Demo("test/accuracy", 0.92, start="mae_b16_pretrain"),
    "finetune": Demo("test/accuracy", 0.90, start="mae_b16_pretrain"),
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
    """Runs ``python -m vitax.VERB`` and returns its stdout."""
    command = [sys.executable, "-m", f"vitax.{verb}", *arguments]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise SystemExit(f"{' '.join(command)}\n{completed.stdout[-2000:]}\n{completed.stderr[-4000:]}")
    return completed.stdout


def run(name: str, out: Path, short: bool) -> dict[str, object]:
    """Trains one demo, tries its prediction, and returns its row of the table."""
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
    if not short or objective not in PREDICTED:  # short runs try the prediction of each objective once
        PREDICTED.add(objective)
        suggestion = next(line for line in printed.splitlines() if line.startswith("predict "))
        predicted = vitax("predict", *shlex.split(suggestion.split("vitax.predict ")[1]))
        json.loads(predicted.splitlines()[0])
    reached = short or value > least
    comparison = "" if short else f"  {'more than' if reached else 'NOT more than'} {least:.4f}"
    print(f"{name:<20} {demo.metric} {value:.4f}{comparison}  {seconds} s", flush=True)
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
    parser.add_argument("names", nargs="*", help="names of configs; none = all")
    parser.add_argument("--short", action="store_true", help="a few steps each")
    parser.add_argument("--parallel", type=int, default=1, help="number of demos that run at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/demos"))
    options = parser.parse_args()
    if unknown := set(options.names) - DEMOS.keys():
        parser.error(f"no demo is called {', '.join(sorted(unknown))}")
    selected = set(options.names) or set(DEMOS)
    selected |= {DEMOS[name].start for name in selected} - {""}
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for dependent in (False, True):  # demos that others start from come first
        names = [n for n, demo in DEMOS.items() if n in selected and bool(demo.start) == dependent]
        with ThreadPoolExecutor(options.parallel) as pool:
            rows += pool.map(lambda name: run(name, out, options.short), names)
    with (out / "demos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    if failed := [row["demo"] for row in rows if not row["reached"]]:
        raise SystemExit(f"demos that did not reach their value: {', '.join(map(str, failed))}")


if __name__ == "__main__":
    main()
