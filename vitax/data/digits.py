"""scikit-learn's handwritten digits: real data that come with a package, for runs without other data."""

import numpy as np

from vitax.data.holdout import holdout
from vitax.data.source import Arrays, Splits
from vitax.errors import UserError
from vitax.specs import Pixels


def digits(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """1,797 real handwritten digits, 8x8 grey (Alpaydin and Kaynak 1998), in ten classes.

    The digits have no official split: ``test_fraction`` of every class is held back, the same examples each time.

    Args:
        path: must be empty, because the data are built in.
        train, test: must be "train" and "test".
        test_fraction: share of every class that is held back.
        pixels: their number of channels; nothing is decoded.

    Raises:
        UserError: a path is given, or a split that these data do not have.
    """
    from sklearn.datasets import load_digits  # takes 1.5 s, so only runs that need it import it

    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'digits', which is built in; "
            "for your own images add --config.data.name=folder"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"digits has the splits train and test, not {train!r} and {test!r}")
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    images = np.repeat(images, pixels.channels, axis=-1)
    labels = bunch.target.astype(np.int32)
    names = [str(name) for name in bunch.target_names]
    parts = [
        Arrays({"image": images[index], "label": labels[index]}, names, f"digits/{split}")
        for split, index in zip(("train", "test"), holdout(labels, test_fraction), strict=True)
    ]
    return Splits.of(parts, "scikit-learn's handwritten digits")
