"""Should positions be added to the patches of a ViT, or concatenated to them?

Vaswani et al. 2017 (arXiv:1706.03762), section 3.5, add them; concatenation keeps content and position apart, and leaves
fewer channels for the content. Hypothesis: at equal width, both are alike.

    python experiments/concatenated_positions.py

16 patches of 2x2 pixels of scikit-learn's digits, 40 epochs. Concatenated positions are a quarter of the channels.
"""

from study import Claim, Study, conduct

STUDY = Study(
    variants={
        f"{positions}, {'added' if at == 'input' else at}": {"model.positions": positions, "model.positions_at": at}
        for positions in ("learned_1d", "sincos_2d")
        for at in ("input", "concatenated")
    },
    metrics={"test/accuracy": "test accuracy"},
    config="configs/vit_b16.py:demo",
    shared={"duration": "40 epochs", "optim.warmup": "4 epochs"},
    seeds=5,
    claims=(
        Claim("learned_1d, added", "learned_1d, concatenated"),
        Claim("sincos_2d, added", "sincos_2d, concatenated"),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
