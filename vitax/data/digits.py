"""scikit-learn's handwritten digits: real data inside a package, for runs without any other."""

import numpy as np

from vitax.data.holdout import holdout
from vitax.data.source import Arrays, Splits
from vitax.errors import UserError


def digits(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """1,797 real handwritten digits, 8x8 grey (Alpaydin and Kaynak 1998), in ten classes.

    They have no official split: a fifth of every class (or ``test_fraction``) is held back, the same one each time.

    Raises:
        UserError: a path or a split that these data do not have.
    """
    from sklearn.datasets import load_digits  # 1.5 s: only who asks for it pays

    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'digits', which is built in; "
            "for your own images add --config.data.name=folder"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"digits has the splits train and test, not {train!r} and {test!r}")
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    images = np.repeat(images, channels, axis=-1)
    labels = bunch.target.astype(np.int32)
    names = [str(name) for name in bunch.target_names]
    parts = [
        Arrays({"image": images[index], "label": labels[index]}, names, f"digits/{split}")
        for split, index in zip(("train", "test"), holdout(labels, test_fraction), strict=True)
    ]
    return Splits(*parts, origin="scikit-learn's handwritten digits")
