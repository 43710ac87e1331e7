"""Are relative positions worse than absolute ones, or do they only need longer?

Dosovitskiy et al. 2020 (arXiv:2010.11929), table 8: relative positions are as good as absolute ones. After 40 epochs on
digits, `positions.py` finds them behind. Hypothesis: their numbers are learned too slowly, so that three times the epochs,
or ten times the learning rate for them alone, closes the gap; the form of the paper, in which the query is multiplied by a
key of the offset, is no better.

    python experiments/relative_positions.py

Digits as in `positions.py`; all positions are added in each block, with parameters of their own.
"""

from study import Claim, Study, conduct

SHORT, LONG = 40, 120  # epochs
KINDS = {
    "learned_1d": {"model.positions": "learned_1d"},
    "relative": {"model.positions": "relative"},
    "relative, 10 x the rate": {"model.positions": "relative", "optim.lr_factors": {"pos_embed": 10.0}},
    "relative_1d": {"model.positions": "relative_1d"},
    "relative_1d, 10 x the rate": {"model.positions": "relative_1d", "optim.lr_factors": {"pos_embed": 10.0}},
}

STUDY = Study(
    variants={
        (name, epochs): {**kind, "duration": f"{epochs} epochs"}
        for epochs in (SHORT, LONG)
        for name, kind in KINDS.items()
        if epochs == SHORT or name != "relative_1d"
    },
    metrics={"test/accuracy": "test accuracy"},
    config="configs/vit_b16.py:demo",
    shared={"model.positions_at": "blocks", "optim.warmup": "4 epochs", "evals.every": "", "checkpoint.every": ""},
    x="epochs",
    claims=(
        Claim(("learned_1d", SHORT), ("relative", SHORT)),
        Claim(("learned_1d", LONG), ("relative", LONG)),
        Claim(("relative", LONG), ("relative", SHORT)),
        Claim(("relative, 10 x the rate", SHORT), ("relative", SHORT)),
        Claim(("learned_1d", SHORT), ("relative, 10 x the rate", SHORT)),
        Claim(("learned_1d", LONG), ("relative, 10 x the rate", LONG)),
        Claim(("relative_1d", SHORT), ("relative", SHORT)),
        Claim(("learned_1d", LONG), ("relative_1d, 10 x the rate", LONG)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
