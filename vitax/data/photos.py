"""scikit-learn's two photographs: real images inside a package, for runs without any other."""

import numpy as np

from vitax.data.source import Arrays, Splits
from vitax.errors import UserError

TILE = 32


def photos(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Tiles of 32x32 pixels of "china.jpg" and "flower.jpg" (427x640), in two classes; every fifth tile is for the
    test. Between neighbours there is a border, but not more: it is a small and easy test.

    Raises:
        UserError: a path or a split that these data do not have.
    """
    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'photos', which is built in; "
            "for your own images add --config.data.name=images"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"photos has the splits train and test, not {train!r} and {test!r}")
    tiles, labels = [], []
    for label, image in enumerate(load_photos(channels)):
        rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
        cut = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, channels)
        tiles.append(cut.swapaxes(1, 2).reshape(-1, TILE, TILE, channels))
        labels += [label] * (rows * columns)
    images, labels = np.concatenate(tiles), np.asarray(labels, np.int32)
    held = np.arange(len(images)) % 5 == 0
    parts = [
        Arrays({"image": images[which], "label": labels[which]}, ("china", "flower"), f"photos/{name}")
        for name, which in (("train", ~held), ("test", held))
    ]
    return Splits(*parts, origin="tiles of scikit-learn's two photographs")


def load_photos(channels: int = 3) -> list[np.ndarray]:
    """The temple and the flower, [427, 640, channels] uint8 each."""
    from sklearn.datasets import load_sample_images  # 1.5 s: only who asks for it pays

    found = [np.asarray(image) for image in load_sample_images().images]
    if channels == 3:
        return found
    grey = np.asarray([0.299, 0.587, 0.114])
    return [(image @ grey).round().astype(np.uint8)[..., None] for image in found]
