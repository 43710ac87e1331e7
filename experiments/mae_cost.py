"""Does hiding 75 % of the patches make a step of MAE as cheap as the paper says?

He et al. 2021 (arXiv:2111.06377), section 4.1 and table 2: an encoder that sees the visible patches only trains 2.8 to 4.1 times
faster than one that sees mask tokens too. Compares one training step (forward, backward, AdamW) with 75 % and with 1 of
196 patches hidden: the same encoder on all patches, the same decoder.

    python experiments/mae_cost.py --size=L --batch=8

Seconds of steps that take turns, and bytes of temporary memory, as the compiler plans it. Nothing else should run meanwhile.
"""

import argparse
import time

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
    given = parser.parse_args()
    spec = ImageSpec((224, 224), 3, (0.5,) * 3, (0.5,) * 3)
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (given.batch, 224, 224, 3), dtype=np.uint8)),
        "valid": jnp.ones(given.batch, bool),
    }
    optimizer = optax.adamw(1e-4)
    steps, states, rows = {}, {}, []
    for name, ratio in RATIOS.items():
        task = TASKS["masked_image"].factory(MAE(**SIZES[given.size]), spec, mask_ratio=ratio)
        states[name] = jax.jit(make_init(task, optimizer, 0, ema=False))(batch)
        jitted = jax.jit(make_step(task, optimizer, 0), donate_argnums=0)
        steps[name] = jitted.lower(states[name], batch).compile()
    for number in range(given.rounds + 1):
        for name, step in steps.items():
            before = time.perf_counter()
            states[name], reported = step(states[name], batch)
            jax.block_until_ready(reported)
            seconds = round(time.perf_counter() - before, 3)
            gib = round(step.memory_analysis().temp_size_in_bytes / 2**30, 3)
            if number:  # the first round warms up
                rows.append({"variant": name, "x": "", "seed": number - 1, "seconds": seconds, "gib": gib})
    print(f"ViT-{given.size}, batch {given.batch}, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    write(RESULTS / "mae_cost.csv", rows)
    table = markdown(read(RESULTS / "mae_cost.csv"), STUDY)
    print(table)
    tell("mae_cost", table)


if __name__ == "__main__":
    main()
