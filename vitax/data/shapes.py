"""Patterned patches on pieces of photographs: a segmentation task that needs no files.

The class of a patch is its pattern; colours, size, place, rotation and outline are random.
"""

from typing import Any

import numpy as np

from vitax.data.photos import load_photos
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.specs import Pixels

CLASSES = ("ground", "plain", "stripes", "checks")
SIDE = 64  # pixels
COUNTS = {"train": 2_000, "test": 200}


class Shapes:
    """Images with one to three patches; image number i is the same every time.

    Args:
        split: "train" or "test": the left three quarters of the photographs, or the rest.
        channels: 3 = RGB, 1 = grey.
    """

    def __init__(self, split: str, channels: int):
        photos = load_photos(channels)
        cut = 3 * photos[0].shape[1] // 4
        self.photos = [photo[:, :cut] if split == "train" else photo[:, cut:] for photo in photos]
        self.split, self.class_names, self.labels = split, CLASSES, None

    def __len__(self) -> int:
        return COUNTS[self.split]

    def __getitem__(self, i: int) -> dict[str, Any]:
        rng = np.random.default_rng((len(self.split), i))
        photo = self.photos[int(rng.integers(len(self.photos)))]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in photo.shape[:2])
        image = photo[top : top + SIDE, left : left + SIDE]
        mask = np.zeros((SIDE, SIDE), np.int16)
        for _ in range(int(rng.integers(1, 4))):
            label = int(rng.integers(1, len(CLASSES)))
            inside, bright = _patch(CLASSES[label], rng)
            two = np.stack([rng.integers(low, low + 80, image.shape[-1]) for low in (10, 165)]).astype(np.uint8)
            image = np.where(inside[..., None], two[bright.astype(int)], image)
            mask = np.where(inside, np.int16(label), mask)
        return {"image": image, "mask": mask}

    def name(self, i: int) -> str:
        return f"shapes/{self.split}[{i}]"


def _patch(pattern: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The pixels inside a patch, and those of them with its bright colour, both [SIDE, SIDE] bool."""
    radius, turn = rng.uniform(10, 18), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:SIDE, :SIDE] - rng.uniform(radius, SIDE - radius, (2, 1, 1))
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance = np.hypot(x, y) if rng.random() < 0.5 else np.maximum(abs(along), abs(across)) * 1.2  # a disc or a square
    wave = 2 * np.pi / rng.uniform(6, 9)
    values = {
        "plain": np.ones_like(x),
        "stripes": np.sin(wave * along),
        "checks": np.sin(wave * along) * np.sin(wave * across),
    }
    return distance < radius, values[pattern] > 0


def shapes(*, path: str, train: str, test: str, pixels: Pixels) -> Splits:
    """The patches: 2,000 images of 64x64 to learn from and 200 for the test, on other parts of the photographs.

    Args:
        path: must be empty, because the data are built in.
        train, test: must be "train" and "test".
        pixels: their number of channels; nothing is decoded.

    Raises:
        UserError: a path is given, or a split that these data do not have.
    """
    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'shapes', which is built in; for your own images add "
            "--config.data.name=folder"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"shapes has the splits train and test, not {train!r} and {test!r}")
    return Splits.of(
        (Shapes(split, pixels.channels) for split in ("train", "test")), "patterns on scikit-learn's two photographs"
    )
