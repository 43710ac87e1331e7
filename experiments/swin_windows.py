"""Do shifted windows and the relative position bias improve the accuracy?

Liu et al. 2021 (arXiv:2103.14030), table 4: shifting gives Swin-T +1.1 points on ImageNet, the relative bias +1.2 over
no positions. Hypothesis: each helps, and a Swin with neither is worst, since it has no information about the place of a
patch in its window.

    python experiments/swin_windows.py

Digits as 64 patches of one pixel, in 4 windows of 4x4, then in one; 40 epochs.
"""

from study import Claim, Study, conduct

STUDY = Study(
    variants={
        f"{'shifted' if shifted else 'not shifted'}, {'bias' if bias else 'no bias'}": {
            "model.shifted": shifted,
            "model.relative_bias": bias,
        }
        for shifted in (True, False)
        for bias in (True, False)
    },
    metrics={"test/accuracy": "test accuracy"},
    config="configs/swin_t.py:demo",
    shared={"duration": "40 epochs", "optim.warmup": "4 epochs"},
    claims=(
        Claim("shifted, bias", "not shifted, bias"),
        Claim("shifted, no bias", "not shifted, no bias"),
        Claim("shifted, bias", "shifted, no bias"),
        Claim("not shifted, bias", "not shifted, no bias"),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
