"""The train step compiled for a GPU that need not be here: estimated time, traffic and memory of each family.

    pip install "jax[cuda12]"
    python experiments/speed/compiled.py                # a row for each family, compiled for an H100; some minutes
    python experiments/speed/compiled.py vit_b mae_b    # some rows

Each kernel of the optimised program takes the time of its memory traffic (3.35 TB/s) or of its products (650 TFLOP/s in
16 bits, fused attention 300, TF32 325), whichever is longer. Launches, caches, integer work (random numbers) and overlap
are left out, and cuDNN's kernels are not built without a GPU: this is an estimate, not a measurement.
"""

import argparse
import json
import os
import re
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

from vitax import build, config_file
from vitax.config import changed
from vitax.planning.depth import extrapolated
from vitax.planning.memory import Program, compiled_program
from vitax.planning.placeholder import placeholder_pipeline
from vitax.planning.topology import Target, of_topology
from vitax.resolve import resolve


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        name: name of the model.
        config: name of a config file.
        batch: examples in a batch.
        before: estimated milliseconds of the step of an earlier version, before fused attention or, for words, before the
            gradient of their loss became one pass; 0 = unknown.
        changes: changes of the config.
    """

    name: str
    config: str
    batch: int
    before: float
    changes: dict[str, Any]


ROWS = {
    "vit_b": Row("ViT-B/16", "vit_b16", 256, 98.0, {}),
    "vit_l": Row("ViT-L/16", "vit_l16", 128, 150.4, {}),
    "mae_b": Row("MAE-B/16", "mae_b16_pretrain", 512, 126.0, {}),
    "bert": Row("BERT-base, 512 tokens", "bert_base", 128, 163.9, {}),
    "clip": Row("CLIP B/32", "clip_vit_b32", 512, 83.2, {}),
    "mixer": Row("Mixer-B/16", "mixer_b16", 256, 53.4, {}),
    "swin": Row("Swin, depths 2, 2, 2, 2", "swin_t", 256, 41.8, {"model.depths": (2, 2, 2, 2)}),
    "nat": Row("NAT, depths 1, 1, 2, 1", "nat_t", 256, 27.7, {"model.depths": (1, 1, 2, 1)}),
    "swinir": Row(
        "SwinIR light, depths 2, 2",
        "swinir_light_x2",
        32,
        8.8,
        {"model.depths": (2, 2), "model.num_heads": (6, 6)},
    ),
    "swinir16": Row(
        "... in bfloat16",
        "swinir_light_x2",
        32,
        0.0,
        {"model.depths": (2, 2), "model.num_heads": (6, 6), "model.dtype": "bfloat16"},
    ),
    "fnet": Row("FNet-base, 512 tokens", "fnet_base", 128, 0.0, {}),
    "lm": Row("language model, 512 tokens", "lm_small", 64, 26.7, {}),
    "lm_chunks": Row("... logits in 8 chunks", "lm_small", 64, 0.0, {"task.logits_chunks": 8}),
    "transformer": Row("Transformer-base, 128 tokens", "transformer_base", 200, 0.0, {}),
    "dynamic_vit": Row("DynamicViT-S", "dynamic_vit_s", 256, 0.0, {}),
}


def program(config_name: str, batch: int, changes: dict[str, Any], target: Target, whole: bool = False) -> Program:
    """The compiled step of a config, on one device; deep models are extrapolated unless ``whole``."""
    config = resolve(config_file.load_config(f"configs/{config_name}.py"))
    config = changed(config, {"batch_size": batch, "accumulate": 1, **changes})
    pipeline = placeholder_pipeline(config, 1_281_167, 1000)
    made = lambda more: build.build(changed(config, more), None, pipeline, target.devices)
    with target.tracing():
        found = None if whole else extrapolated(config, made, target)
        return found[0] if found else compiled_program(made({}), target)


def weights_in_memory(found: Program) -> list[str]:
    """The arrays among the largest that have the shape of attention weights, [B, A, N, N]."""
    assert found.estimate is not None
    return [shape for shape, *_ in found.estimate.largest if re.search(r"\[\d+,\d+,(\d+),\1\]", shape)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"rows: {', '.join(ROWS)}; none = all")
    parser.add_argument("--topology", default="h100:1")
    parser.add_argument("--json", default="experiments/results/compiled.jsonl")
    arguments = parser.parse_args()
    target = of_topology(arguments.topology)
    print(f"{arguments.topology}, jax {jax.__version__}")
    print("| model (batch) | before, ms | now, ms | products alone | attention | traffic, GB | temporaries, GB |")
    print("|---|---|---|---|---|---|---|")
    for key in arguments.rows or ROWS:
        row = ROWS[key]
        found = program(row.config, row.batch, row.changes, target)
        assert found.estimate is not None
        kinds = {name: 1e3 * seconds for name, seconds in found.estimate.by_kind.items()}
        cells = {
            "ms": 1e3 * found.estimate.seconds,
            "products": kinds.get("product", 0.0) + kinds.get("convolution", 0.0),
            "attention": kinds.get("attention", 0.0),
            "traffic_gb": found.estimate.traffic / 1e9,
            "temporaries_gb": found.temporaries / 1e9,
        }
        numbers = " | ".join(f"{value:.1f}" for value in cells.values())
        print(f"| {row.name} ({row.batch}) | {row.before or ''} | {numbers} |", flush=True)
        with open(arguments.json, "a", encoding="utf-8") as file:
            line = {"row": key, "topology": arguments.topology, "jax": jax.__version__, **cells}
            file.write(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()}) + "\n")


if __name__ == "__main__":
    main()
