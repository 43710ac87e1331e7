"""Does a masked autoencoder need a deep decoder, and does it need augmentation?

He et al. 2021 (arXiv:2111.06377), tables 1a and 1e: for linear probing a deeper decoder is better (its last layers
specialise in pixels, so the layers of the encoder need not); cropping alone is enough, and even no augmentation works.
Hypothesis: the same holds on digits.

    python experiments/mae_decoder.py

Digits, 100 epochs, half of the patches hidden; measured as in `mae_masking.py`. The time and the memory of a step are
measured by `mae_cost.py`.
"""

from study import Claim, Study, conduct

STUDY = Study(
    variants={
        "no decoder blocks": {"model.decoder_depth": 0},
        "1 block": {"model.decoder_depth": 1},
        "2 blocks": {"model.decoder_depth": 2},
        "4 blocks": {"model.decoder_depth": 4},
        "1 block, no crops": {"model.decoder_depth": 1, "data.crop": "center"},
    },
    metrics={"test/knn_accuracy": "k-NN accuracy", "test/accuracy_10shot": "accuracy from 10 labels a class"},
    config="configs/mae_b16_pretrain.py:demo",
    shared={"duration": "100 epochs", "optim.warmup": "10 epochs", "evals.every": ""},
    claims=(
        Claim("1 block", "no decoder blocks"),
        Claim("2 blocks", "1 block"),
        Claim("4 blocks", "1 block"),
        Claim("1 block", "1 block, no crops"),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
