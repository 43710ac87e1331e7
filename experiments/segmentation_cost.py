"""Does the cost of a segmenter grow linearly with the pixels?

Liu et al. 2021 (arXiv:2103.14030), section 1: Swin's attention, within windows, costs as many operations as there are patches, and
Hassani et al. 2022 (arXiv:2204.07143) say the same of NAT; a ViT's attention costs their square. Hypothesis: the seconds and the
temporary memory of UPerNet on Swin and NAT grow with the pixels to a power of at most 1.1.

    python experiments/segmentation_cost.py

Square images of 224 to 896 pixels a side, one at a time, in inference; depths of 2, 2, 2, 2 and a head of 128 channels, so that the
largest takes seconds. The rounds of all sizes alternate. Measures seconds, and the GiB of temporary memory that the compiler plans.
Nothing else should run meanwhile.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import RESULTS, Study, markdown, read, tell, write

from vitax.models.segmenter import NATSegmenter, SwinSegmenter

SIDES = (224, 320, 448, 640, 896)
SMALL = dict(num_classes=150, depths=(2, 2, 2, 2), head_width=128, auxiliary_width=0)
MODELS = {
    "Swin": SwinSegmenter(width=96, num_heads=(3, 6, 12, 24), **SMALL),
    "NAT": NATSegmenter(width=64, num_heads=(2, 4, 8, 16), **SMALL),
}
STUDY = Study({}, {"seconds": "seconds", "gib": "GiB of temporary memory"}, "", x="pixels a side")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows, programs = [], {}
    for name, model in MODELS.items():
        variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
        for side in SIDES:
            image = jnp.asarray(np.random.default_rng(0).normal(size=(1, side, side, 3)), jnp.float32)
            program = jax.jit(model.apply).lower(variables, image).compile()
            programs[name, side] = (program, variables, image)
    for number in range(options.rounds + 1):
        for (name, side), (program, *arguments) in programs.items():
            before = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            seconds = round(time.perf_counter() - before, 4)
            gib = round(program.memory_analysis().temp_size_in_bytes / 2**30, 4)
            if number:  # the first round warms up
                rows.append({"variant": name, "x": side, "seed": number - 1, "seconds": seconds, "gib": gib})
    print(f"batch 1, float32, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    published = options.rounds >= 3
    path = RESULTS / "segmentation_cost.csv" if published else Path(tempfile.mkdtemp()) / "segmentation_cost.csv"
    write(path, rows)
    table = markdown(read(path), STUDY)
    print(f"{table}\n{path}")
    for name in MODELS:
        for measure in ("seconds", "gib"):
            means = [np.mean([row[measure] for row in rows if (row["variant"], row["x"]) == (name, s)]) for s in SIDES]
            power = np.polyfit(np.log(np.square(SIDES)), np.log(means), 1)[0]
            print(f"{name}: {STUDY.metrics[measure]} grow with the pixels to the power {power:.2f}")
    if published:
        tell("segmentation_cost", table)


if __name__ == "__main__":
    main()
