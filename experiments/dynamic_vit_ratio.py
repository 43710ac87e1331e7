"""Can DynamicViT drop most patches before its accuracy falls, and how much time does that save?

Rao et al. 2021 (arXiv:2106.02034), figure 4 and table 1: pruning two thirds of the patches (ratio 0.7 three times)
costs DeiT-S less than 0.5 points and 31 to 37 % of the FLOPs. Hypothesis: the accuracy falls slowly down to a ratio of
0.7, and faster below; the time follows the multiply-accumulates.

    python experiments/dynamic_vit_ratio.py

Digits; each model starts from the same trained ViT of 8 layers, its teacher, and trains for 10 epochs with its ratio.
"""

import json
from pathlib import Path

from study import Claim, Row, RunOf, Study, conduct

BATCH = 64


def saved(run: Path) -> list[Row]:
    """Images/s and multiply-accumulates relative to the dense model with the same weights; both models took turns."""
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    if "test/gmacs" not in metrics:
        return [{}]
    speed = f"test/images_per_second_{BATCH}"
    return [
        {
            "faster": metrics[speed] / metrics[f"{speed}_dense"],
            "macs": metrics["test/gmacs"] / metrics["test/gmacs_dense"],
        }
    ]


STUDY = Study(
    variants={
        "teacher": {"config": "configs/vit_l16.py:demo", "evals.every": ""},
        **{
            ("DynamicViT", ratio): {
                "init_from": RunOf("teacher"),
                "model.keep_ratios": (ratio, round(ratio**2, 4), round(ratio**3, 4)),
                "duration": "10 epochs",
                "optim.warmup": "1 epoch",
                "evals.every": "",
                "evals.throughput": (BATCH,),
            }
            for ratio in (0.9, 0.8, 0.7, 0.6, 0.5)
        },
    },
    metrics={
        "test/accuracy": "test accuracy",
        "macs": "MACs over dense",
        "faster": f"images/s over dense, batch {BATCH}",
    },
    config="configs/dynamic_vit_s.py:demo",
    measure=saved,
    x="keep ratio of a stage",
    claims=(
        Claim(("DynamicViT", 0.9), ("DynamicViT", 0.7)),
        Claim(("DynamicViT", 0.7), ("DynamicViT", 0.5)),
        Claim("teacher", ("DynamicViT", 0.5)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
