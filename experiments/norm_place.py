"""Should the layer norms come before the branches or after the sums, and does that depend on depth and warm-up?

Xiong et al. 2020 (arXiv:2002.04745), sections 3 and 4: with norms after the sums (Vaswani et al. 2017) a Transformer needs a
warm-up of the learning rate; with norms before the branches it trains without one. Hypothesis: deep stacks of the first kind
do not learn without a warm-up, those of the second kind do.

    python experiments/norm_place.py

Translation of number names, 4 and 24 blocks of width 64, 600 steps of 32 pairs at a constant learning rate, with and without
a warm-up of 200 steps. "Exact" is the share of test numbers that are translated without an error.
"""

from study import Claim, Study, conduct

BLOCKS = (4, 24)  # encoder and decoder together
PLACES = {"norm before": True, "norm after": False}
STARTS = {"warm-up": "200 steps", "no warm-up": "0 steps"}

STUDY = Study(
    variants={
        (f"{place}, {start}", blocks): {
            "model.norm_first": first,
            "optim.warmup": warmup,
            "model.encoder_depth": blocks // 2,
            "model.decoder_depth": blocks // 2,
        }
        for place, first in PLACES.items()
        for start, warmup in STARTS.items()
        for blocks in BLOCKS
    },
    metrics={"test/loss": "test loss", "test/exact": "exact"},
    config="configs/transformer_base.py:demo",
    shared={
        "batch_size": 32,
        "duration": "600 steps",
        "model.width": 64,
        "model.mlp_width": 128,
        "optim.schedule": "constant",
        "optim.learning_rate": 2e-3,
        "task.beam": 1,
        "on_nan": "skip",
        "evals.every": "",
        "checkpoint.every": "",
    },
    x="blocks",
    claims=tuple(
        claim
        for blocks in BLOCKS
        for claim in (
            Claim(("norm after, no warm-up", blocks), ("norm after, warm-up", blocks)),
            Claim(("norm before, no warm-up", blocks), ("norm before, warm-up", blocks)),
            Claim(("norm after, warm-up", blocks), ("norm before, warm-up", blocks)),
        )
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
