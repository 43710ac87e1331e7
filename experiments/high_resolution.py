"""Are position embeddings that are interpolated for a higher resolution worth keeping?

Dosovitskiy et al. 2020 (arXiv:2010.11929), section 3.2: for fine-tuning at a higher resolution, pre-trained positions
are interpolated. Hypothesis: with interpolated positions, fine-tuning starts well and needs few epochs; with new
positions, it has to learn the places of the patches again; training from scratch is slowest.

    python experiments/high_resolution.py

A ViT on 8x8 digits (16 patches, 40 epochs), then on 16x16 (64 patches). Training from scratch uses the optimizer of the
8x8 run, the others use the optimizer of fine-tuning.
"""

from study import Claim, RunOf, Study, conduct

EPOCHS = (1, 3, 9)
STARTS = {
    "interpolated": {"init_from": RunOf("8x8")},
    "new positions": {"init_from": RunOf("8x8"), "init_new": ("pos_embed",)},
    "from scratch": {"config": "configs/vit_b16.py:demo", "data.image_size": (16, 16), "optim.warmup": "40 steps"},
}
STUDY = Study(
    variants={
        "8x8": {"config": "configs/vit_b16.py:demo", "duration": "40 epochs", "optim.warmup": "4 epochs"},
        **{
            (start, epochs): {**overrides, "duration": f"{epochs} epochs"}
            for start, overrides in STARTS.items()
            for epochs in EPOCHS
        },
    },
    metrics={"test/accuracy": "test accuracy"},
    config="configs/vit_b16_384.py:demo",
    shared={"optim.warmup": "10 steps", "evals.every": "", "checkpoint.every": ""},
    x="epochs at 16x16",
    claims=(
        Claim(("interpolated", 1), ("new positions", 1)),
        Claim(("new positions", 1), ("from scratch", 1)),
        Claim("8x8", ("interpolated", 1)),
        Claim(("interpolated", 9), "8x8"),
        Claim("8x8", ("new positions", 9)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
