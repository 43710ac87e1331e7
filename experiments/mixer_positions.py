"""Does a Mixer need positions, and what does the order of patches and pixels mean to it?

Tolstikhin et al. 2021 (arXiv:2105.01601), section 2: token MLPs are sensitive to the order of the tokens, so that a Mixer
needs no positions. In its test of input permutations, a Mixer loses nothing if the patches and the pixels in each patch are
shuffled, always in the same way, and a ResNet does; if the pixels of the whole image are shuffled, the Mixer loses 45 %,
and the ResNet 75 %. Hypothesis: the same holds on digits.

    python experiments/mixer_positions.py

scikit-learn's digits without augmentation, as 16 patches of 2x2 pixels; one shuffle for all images. 800 steps with 150 of
them, so that no model comes near 100 % of the test.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from study import Claim, Study, conduct

FOLDER = Path(__file__).parent.parent / "runs"
SIDE, PATCH = 8, 2
EXAMPLES = 150
AS_THEY_ARE, PATCHES, PIXELS = ORDERS = ("as they are", "patches shuffled", "pixels shuffled")
MODELS = {
    "Mixer": {"config": "configs/mixer_b16.py:demo"},
    "Mixer with positions": {"config": "configs/mixer_b16.py:demo", "model.positions": "learned_1d"},
    "ResNet": {"config": "experiments/resnet.py", "program": "experiments/resnet.py"},
}


def shuffled(images: np.ndarray, order: str) -> np.ndarray:
    """Images [n, 8, 8, 1] in which places are exchanged, in the same way in all of them."""
    rng, n, side = np.random.default_rng(0), len(images), SIDE // PATCH
    if order == AS_THEY_ARE:
        return images
    if order == PIXELS:
        return images.reshape(n, -1)[:, rng.permutation(SIDE**2)].reshape(images.shape)
    patches = images.reshape(n, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4).reshape(n, side**2, PATCH**2)
    patches = patches[:, rng.permutation(side**2)][:, :, rng.permutation(PATCH**2)]
    return patches.reshape(n, side, side, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(images.shape)


def write_digits(order: str) -> None:
    """The digits in this order; every fifth of them is in the test."""
    digits = load_digits()
    images = shuffled((digits.images * 255 / 16).round().astype(np.uint8)[..., None], order)
    test = np.arange(len(images)) % 5 == 0
    arrays = {
        f"{split}_{name}": values[chosen]
        for split, chosen in (("train", ~test), ("test", test))
        for name, values in (("images", images), ("labels", digits.target))
    }
    FOLDER.mkdir(exist_ok=True)
    np.savez(file_of(order), **arrays)


def file_of(order: str) -> Path:
    """The file of the digits in this order."""
    return FOLDER / f"digits_{order.replace(' ', '_')}.npz"


STUDY = Study(
    variants={
        f"{model}, {order}": {**overrides, "data.path": file_of(order)}
        for model, overrides in MODELS.items()
        for order in ORDERS
    },
    metrics={"test/accuracy": "test accuracy"},
    config="",
    shared={
        "data.name": "arrays",
        "data.crop": "center",
        "data.train_examples": EXAMPLES,
        "duration": "800 steps",
        "optim.warmup": "80 steps",
        "evals.every": "",
        "checkpoint.every": "",
    },
    claims=(
        Claim("Mixer with positions, as they are", "Mixer, as they are"),
        Claim("Mixer with positions, pixels shuffled", "Mixer, pixels shuffled"),
        Claim("Mixer, as they are", "Mixer, patches shuffled"),
        Claim("Mixer, as they are", "Mixer, pixels shuffled"),
        Claim("ResNet, as they are", "ResNet, patches shuffled"),
        Claim("ResNet, as they are", "ResNet, pixels shuffled"),
        Claim("Mixer, pixels shuffled", "ResNet, pixels shuffled"),
    ),
)

if __name__ == "__main__":
    for each in ORDERS:
        write_digits(each)
    conduct(__file__, __doc__, STUDY)
