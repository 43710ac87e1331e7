"""Is a neighborhood around each patch better than windows, at equal cost?

Hassani et al. 2022 (arXiv:2204.07143), table 1: NAT-T is 1.9 points better than Swin-T on ImageNet at 4.3 and 4.5
GFLOPs. Hypothesis: NAT is better on digits too, with multiply-accumulates within a few percent of Swin's.

    python experiments/nat_swin.py

Digits enlarged to 32x32, maps of 8x8 and 4x4, windows of 4x4, neighborhoods of 3x3, 30 epochs, 5 seeds. The
comparison includes NAT's overlapping stem and merging, as in the paper.
"""

from pathlib import Path

import jax
from study import Claim, Row, Study, conduct

from vitax.macs import count_macs
from vitax.prediction import load_run


def cost(run: Path) -> list[Row]:
    """Millions of multiply-accumulates for one image."""
    loaded = load_run(run)
    image = jax.ShapeDtypeStruct((1, *loaded.reader.spec.image_size, 1), "float32")
    return [{"mmacs": count_macs(loaded.model.apply, loaded.variables, image) / 1e6}]


STUDY = Study(
    variants={
        "Swin": {
            "config": "configs/swin_t.py:demo",
            "data.image_size": (32, 32),
            "model.patch_size": 4,
            "model.depths": (3, 2),
        },
        "NAT": {"config": "configs/nat_t.py:demo"},
    },
    metrics={"test/accuracy": "test accuracy", "mmacs": "million MACs"},
    config="",
    shared={"duration": "30 epochs", "optim.warmup": "3 epochs", "evals.every": ""},
    measure=cost,
    seeds=5,
    claims=(Claim("NAT", "Swin"),),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
