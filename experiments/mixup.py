"""Does mixing images help if there are few of them?

Zhang et al. 2017 (arXiv:1710.09412), table 1: mixup lowers the error of ImageNet by 0.2 to 1.5 points, more with longer
training. Hypothesis: mixing helps a ViT on few images, which it overfits.

    python experiments/mixup.py

Five-fold cross-validation on the training digits: a "seed" is a fold, and the test split stays untouched. 40 epochs.
"""

from study import Claim, Study, conduct

STUDY = Study(
    variants={
        "no mixup": {"task.mixup": 0.0},
        "mixup 0.2": {"task.mixup": 0.2},
        "mixup 0.8": {"task.mixup": 0.8},
        "cutmix 1.0": {"task.cutmix": 1.0},
    },
    metrics={"test/accuracy": "accuracy of the fold left out", "test/loss": "its cross-entropy"},
    config="configs/vit_b16.py:demo",
    shared={"duration": "40 epochs", "optim.warmup": "4 epochs", "data.num_folds": 5},
    of_seed=lambda fold: {"data.fold": fold},
    seeds=5,
    claims=(
        Claim("mixup 0.2", "no mixup"),
        Claim("mixup 0.8", "no mixup"),
        Claim("cutmix 1.0", "no mixup"),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
