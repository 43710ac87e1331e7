"""Does a ResNet need fewer images than Swin, and Swin fewer than a ViT?

Convolutions and windows are built on the fact that neighbouring pixels belong together; a ViT has to learn it.

Dosovitskiy et al. 2020 (arXiv:2010.11929), section 4.3 and figure 4: ResNets are better on small data, ViTs on large
data. Hypothesis: with few images the ResNet is ahead of Swin, and Swin of ViT; with more images the gap closes.

    python experiments/small_data.py

scikit-learn's digits; every run has 1,000 steps of 32 images, whatever the number of training images. The models have
0.09 (Swin), 0.20 (ViT) and 0.27 (ResNet) million parameters.
"""

from study import Claim, Study, conduct

FAMILIES = {
    "ViT": {"config": "configs/vit_b16.py:demo", "optim.weight_decay": 0.3},
    "Swin": {"config": "configs/swin_t.py:demo", "optim.weight_decay": 0.3},
    "ResNet": {"config": "experiments/resnet.py", "program": "experiments/resnet.py"},
}
IMAGES = (50, 150, 450, 1350)

STUDY = Study(
    variants={
        (family, n): {**overrides, "data.train_examples": n} for family, overrides in FAMILIES.items() for n in IMAGES
    },
    metrics={"test/accuracy": "test accuracy"},
    config="",
    shared={"duration": "1000 steps", "optim.warmup": "100 steps", "evals.every": "", "checkpoint.every": ""},
    x="training images",
    claims=(
        Claim(("ResNet", 50), ("Swin", 50)),
        Claim(("Swin", 50), ("ViT", 50)),
        Claim(("ResNet", 50), ("ViT", 50)),
        Claim(("ResNet", 1350), ("ViT", 1350)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
