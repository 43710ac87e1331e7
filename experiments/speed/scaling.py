"""Does the time per image grow linearly with the number of pixels?

Liu et al. 2021 (arXiv:2103.14030), equations 1 and 2: attention over all tokens costs Omega(MSA) = 4 N D^2 + 2 N^2 D,
in windows of M x M Omega(W-MSA) = 4 N D^2 + 2 M^2 N D: linear in the number of tokens N. So in a log-log plot the time
per image over the number of pixels should be a line of slope 1 for Swin, NAT and SwinIR, and a steeper one for ViT.

    python experiments/speed/scaling.py --sides=224,448,672,896
    python experiments/speed/scaling.py --models=swin_segmenter,nat_segmenter --out=scaling_dense     with UPerNet

Forward passes, batch 1. Writes scaling.csv and scaling.png beside this file, and prints the slopes of the time and of the temporary
memory of the compiled program.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from vitax.models import MODELS
from vitax.nn.dot_product import dot_product_attention

HERE = Path(__file__).parent


def make(name: str, side: int) -> Any:
    size = (side, side)
    fields = {
        "vit": MODELS["vit"].sizes["B"] | dict(image_size=size),
        # Windows of 7 on maps of side/4, side/8, ...: all sides are multiples of 224, so nothing is padded.
        "swin": MODELS["swin"].sizes["T"] | dict(image_size=size),
        "nat": MODELS["nat"].sizes["Tiny"],
        "swinir": MODELS["swinir"].sizes["light_x2"],
        "swin_segmenter": MODELS["swin_segmenter"].sizes["T"],
        "nat_segmenter": MODELS["nat_segmenter"].sizes["Mini"],
    }[name]
    return MODELS[name].module(**fields)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default="vit,swin,nat,swinir")
    parser.add_argument("--sides", default="224,448,672,896")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default="", help="name of the .csv and .png; needed for other models or sides")
    options = parser.parse_args()
    usual = all(getattr(options, name) == parser.get_default(name) for name in ("models", "sides"))
    if not (options.out or usual):
        parser.error("give --out=NAME for other models or sides: scaling.csv is published")
    sides = [int(side) for side in options.sides.split(",")]
    rows = []
    for name in options.models.split(","):
        for side in sides:
            seconds, temporary = forward(name, side, options.rounds)
            rows.append({"model": name, "side": side, "seconds": seconds, "temporary_bytes": temporary})
            if name == "vit":
                rows[-1]["attention_seconds"] = attention(side, options.rounds)
            print(rows[-1], flush=True)
    write(rows, options.out or "scaling")
    for name in dict.fromkeys(row["model"] for row in rows):
        time_slope, memory_slope = slope(rows, name), slope(rows, name, "temporary_bytes")
        print(f"{name:<8} slopes over log(pixels): log(time) {time_slope:.2f}, log(memory) {memory_slope:.2f}")


def seconds_of(call: Any, rounds: int) -> float:
    """Median seconds of a call, including the wait for its result; the first call is left out."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def forward(name: str, side: int, rounds: int) -> tuple[float, int]:
    """Seconds of a forward pass, and bytes of temporary memory of its program."""
    model = make(name, side)
    image = jax.random.normal(jax.random.key(0), (1, side, side, 3))
    # Only tables of positions depend on the side, so the parameters are initialised at this side.
    variables = jax.jit(model.init)(jax.random.key(1), image)
    program = jax.jit(lambda v, x: model.apply(v, x)).lower(variables, image).compile()
    return seconds_of(lambda: program(variables, image), rounds), program.memory_analysis().temp_size_in_bytes


def attention(side: int, rounds: int) -> float:
    """Seconds of the twelve attentions of ViT-B, without their projections."""
    n = (side // 16) ** 2 + 1
    q, k, v = jax.random.normal(jax.random.key(0), (3, 1, n, 12, 64))
    program = jax.jit(lambda q, k, v: dot_product_attention(q, k, v)[0]).lower(q, k, v).compile()
    return 12 * seconds_of(lambda: program(q, k, v), rounds)


def slope(rows: list[dict], name: str, what: str = "seconds") -> float:
    """Slope of a line through the points of a model, log(what) over log(pixels)."""
    points = [(row["side"] ** 2, row[what]) for row in rows if row["model"] == name]
    return float(np.polyfit(*np.log(np.asarray(points)).T, 1)[0])


def omega(side: int, patch: int, width: int, window: int | None) -> float:
    """Multiply-accumulates of one layer by equation 1 or, with a window, equation 2."""
    n = (side / patch) ** 2
    return 4 * n * width**2 + 2 * (n if window is None else window**2) * n * width


def write(rows: list[dict], out: str) -> None:
    with (HERE / f"{out}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["model", "side", "seconds", "attention_seconds", "temporary_bytes"])
        writer.writeheader()
        writer.writerows(rows)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["model"] for row in rows):
        model_rows = [row for row in rows if row["model"] == name]
        axes.plot(
            [r["side"] for r in model_rows],
            [r["seconds"] / model_rows[0]["seconds"] for r in model_rows],
            "o-",
            label=f"{name}: slope {slope(rows, name):.2f}",
        )
    sides = np.linspace(min(r["side"] for r in rows), max(r["side"] for r in rows), 50)
    for label, window, style in (
        ("Omega(MSA), width 96, patch 4", None, "k--"),
        ("Omega(W-MSA), the same, M = 7", 7, "k:"),
    ):
        values = np.array([omega(side, 4, 96, window) for side in sides])
        axes.plot(sides, values / values[0], style, label=label)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="side of the image in pixels",
        ylabel="time over that of the smallest",
        title="Time per image, forward pass, batch 1",
    )
    axes.set_xticks([r["side"] for r in rows[: len({r["side"] for r in rows})]])
    axes.get_xaxis().set_major_formatter("{x:.0f}")
    axes.minorticks_off()
    axes.legend()
    figure.savefig(HERE / f"{out}.png")


if __name__ == "__main__":
    main()
