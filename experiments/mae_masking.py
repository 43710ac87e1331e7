"""Should a masked autoencoder hide most of an image, and should it predict normalised pixels?

He et al. 2021 (arXiv:2111.06377), figure 5 and table 1d: 75 % is best for linear probing, lower and higher ratios are
worse; normalised pixels are better than plain ones. Hypothesis: the optimum is broad and above one half.

    python experiments/mae_masking.py

16 patches of scikit-learn's digits, 100 epochs. The features, which are learned without labels, are measured by the
accuracy of 20 nearest neighbours and of a logistic regression on 10 labelled images of each class. For photographs, add
``--config.data.name=folder --config.data.path=DIR`` and the sizes of ``configs/mae_b16_pretrain.py:small``; the paper's
own scale needs a GPU.
"""

from study import Claim, Study, conduct

RATIOS = (0.25, 0.5, 0.625, 0.75, 0.875)
TARGETS = {"pixels": False, "normalised pixels": True}

STUDY = Study(
    variants={
        (targets, ratio): {"task.mask_ratio": ratio, "task.normalize_targets": normalize}
        for targets, normalize in TARGETS.items()
        for ratio in RATIOS
    },
    metrics={"test/knn_accuracy": "k-NN accuracy", "test/accuracy_10shot": "accuracy from 10 labels a class"},
    config="configs/mae_b16_pretrain.py:demo",
    shared={"duration": "100 epochs", "optim.warmup": "10 epochs", "evals.every": ""},
    x="share of the patches that is hidden",
    claims=(
        Claim(("pixels", 0.625), ("pixels", 0.25)),
        Claim(("pixels", 0.625), ("pixels", 0.875)),
        Claim(("normalised pixels", 0.625), ("normalised pixels", 0.25)),
        Claim(("normalised pixels", 0.625), ("normalised pixels", 0.5)),
        Claim(("normalised pixels", 0.625), ("normalised pixels", 0.75)),
        Claim(("normalised pixels", 0.625), ("normalised pixels", 0.875)),
        Claim(("normalised pixels", 0.5), ("pixels", 0.5)),
        Claim(("normalised pixels", 0.625), ("pixels", 0.625)),
        Claim(("normalised pixels", 0.875), ("pixels", 0.875)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
