"""What do shifted windows and the relative position bias give?

Liu et al. 2021 (arXiv:2103.14030), table 4: shifting gives Swin-T +1.1 points on ImageNet, the relative bias +1.2 over no positions.
Hypothesis: each helps, and a Swin with neither is worst, since nothing tells it where in a window a patch lies.

    python experiments/swin_windows.py

Digits as 64 patches of one pixel, 4 windows of 4x4, then one; 40 epochs.
"""

from study import Study, conduct

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
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
