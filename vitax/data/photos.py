"""scikit-learn's two photographs: real images that come with a package, for runs without other data."""

import numpy as np

from vitax.data.source import Arrays, Splits
from vitax.errors import UserError
from vitax.specs import Pixels

TILE = 32


def photos(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Tiles of 32x32 pixels of "china.jpg" and "flower.jpg" (427x640), in two classes.

    Every fifth tile is for the test. Test tiles directly adjoin training tiles, so the test is small and easy.

    Args:
        path: must be empty, because the data are built in.
        train, test: must be "train" and "test".
        test_fraction: not used.
        pixels: their number of channels; nothing is decoded.

    Raises:
        UserError: a path is given, or a split that these data do not have.
    """
    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'photos', which is built in; "
            "for your own images add --config.data.name=images"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"photos has the splits train and test, not {train!r} and {test!r}")
    tiles, labels = [], []
    for label, image in enumerate(load_photos(pixels.channels)):
        rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
        cut = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, pixels.channels)
        tiles.append(cut.swapaxes(1, 2).reshape(-1, TILE, TILE, pixels.channels))
        labels += [label] * (rows * columns)
    images, labels = np.concatenate(tiles), np.asarray(labels, np.int32)
    held = np.arange(len(images)) % 5 == 0
    parts = [
        Arrays({"image": images[mask], "label": labels[mask]}, ("china", "flower"), f"photos/{name}")
        for name, mask in (("train", ~held), ("test", held))
    ]
    return Splits.of(parts, "tiles of scikit-learn's two photographs")


def load_photos(channels: int = 3) -> list[np.ndarray]:
    """The photographs of a temple and of a flower, each [427, 640, channels] uint8."""
    from sklearn.datasets import load_sample_images  # takes 1.5 s, so only runs that need it import it

    images = [np.asarray(image) for image in load_sample_images().images]
    if channels == 3:
        return images
    grey = np.asarray([0.299, 0.587, 0.114])
    return [(image @ grey).round().astype(np.uint8)[..., None] for image in images]
