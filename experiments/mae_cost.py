"""Does hiding 75 % of the patches make a step of MAE as cheap as the paper says?

He et al. 2021 (arXiv:2111.06377), section 4.1 and table 2: an encoder that sees only the visible patches trains 2.8 to
4.1 times faster than one that also sees mask tokens. Compares one training step (forward, backward, AdamW) with 75 % of
the 196 patches hidden and with 1 patch hidden, which is the same encoder on practically all patches with the same
decoder.

    python experiments/mae_cost.py --size=L --batch=8

Measures the seconds of steps that take turns, and the GiB of temporary memory that the compiler plans. Nothing else
should run meanwhile. With other options than these, the table is printed, and results/ and README.md stay as they are.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from study import RESULTS, Study, markdown, read, tell, write

from vitax.models.mae import MAE, SIZES
from vitax.specs import ImageSpec
from vitax.tasks import TASKS
from vitax.training.step import make_init, make_step

RATIOS = {"75 % hidden": 0.75, "1 patch hidden": 0.005}
STUDY = Study({}, {"seconds": "seconds of a step", "gib": "GiB of temporary memory"}, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="L", choices=list(SIZES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    spec = ImageSpec((224, 224), 3, (0.5,) * 3, (0.5,) * 3)
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (options.batch, 224, 224, 3), dtype=np.uint8)),
        "valid": jnp.ones(options.batch, bool),
    }
    optimizer = optax.adamw(1e-4)
    steps, states, rows = {}, {}, []
    for name, ratio in RATIOS.items():
        task = TASKS["masked_image"].factory(MAE(**SIZES[options.size]), spec, mask_ratio=ratio)
        states[name] = jax.jit(make_init(task, optimizer, 0, ema=False))(batch)
        jitted = jax.jit(make_step(task, optimizer, 0), donate_argnums=0)
        steps[name] = jitted.lower(states[name], batch).compile()
    for number in range(options.rounds + 1):
        for name, step in steps.items():
            before = time.perf_counter()
            states[name], reported = step(states[name], batch)
            jax.block_until_ready(reported)
            seconds = round(time.perf_counter() - before, 3)
            gib = round(step.memory_analysis().temp_size_in_bytes / 2**30, 3)
            if number:  # the first round warms up
                rows.append({"variant": name, "x": "", "seed": number - 1, "seconds": seconds, "gib": gib})
    print(f"ViT-{options.size}, batch {options.batch}, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    published = vars(options) == vars(parser.parse_args([]))
    path = RESULTS / "mae_cost.csv" if published else Path(tempfile.mkdtemp()) / "mae_cost.csv"
    write(path, rows)
    table = markdown(read(path), STUDY)
    print(f"{table}\n{path}")
    if published:
        tell("mae_cost", table)


if __name__ == "__main__":
    main()
