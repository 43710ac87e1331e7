"""Patterned patches on pieces of photographs: tasks of segmentation and of detection that need no files.

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
MOST = 3  # patches in an image
SEEN = 40  # pixels; the smallest patch has 250
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
        self.class_names: tuple[str, ...] = CLASSES
        self.split, self.labels = split, None

    def __len__(self) -> int:
        return COUNTS[self.split]

    def __getitem__(self, i: int) -> dict[str, Any]:
        image, labels, patches = self.scene(i)
        classes = np.array([0, *labels], np.int16)
        return {"image": image, "mask": classes[patches]}

    def scene(self, i: int) -> tuple[np.ndarray, list[int], np.ndarray]:
        """Image number i [SIDE, SIDE, C], the class of each of its patches, and the number of the patch, from 1, at each pixel.

        At pixels of the ground that number is 0.
        """
        rng = np.random.default_rng((len(self.split), i))
        photo = self.photos[int(rng.integers(len(self.photos)))]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in photo.shape[:2])
        image = photo[top : top + SIDE, left : left + SIDE]
        patches, labels = np.zeros((SIDE, SIDE), np.int16), []
        for number in range(1, int(rng.integers(1, MOST + 1)) + 1):
            labels.append(label := int(rng.integers(1, len(CLASSES))))
            inside, bright = _patch(CLASSES[label], rng)
            two = np.stack([rng.integers(low, low + 80, image.shape[-1]) for low in (10, 165)]).astype(np.uint8)
            image = np.where(inside[..., None], two[bright.astype(int)], image)
            patches = np.where(inside, np.int16(number), patches)
        return image, labels, patches

    def name(self, i: int) -> str:
        return f"shapes/{self.split}[{i}]"


class BoxedShapes(Shapes):
    """The same images, with a box around what is seen of each patch; one of which less than SEEN pixels are seen is ignored."""

    def __init__(self, split: str, channels: int):
        super().__init__(split, channels)
        self.class_names = CLASSES[1:]

    def most(self) -> int:
        """The greatest number of objects in an image."""
        return MOST

    def __getitem__(self, i: int) -> dict[str, Any]:
        image, labels, patches = self.scene(i)
        boxes, area = np.zeros((len(labels), 4), np.float32), np.zeros(len(labels), np.float32)
        for k in range(len(labels)):
            rows, columns = np.nonzero(patches == k + 1)
            area[k] = len(rows)
            if len(rows):
                boxes[k] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        kept = area > 0
        label = np.array(labels, np.int32)[kept] - 1
        return {"image": image, "boxes": boxes[kept], "label": label, "ignored": area[kept] < SEEN, "area": area[kept]}


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
    """The patches with masks: 2,000 images of 64x64 to learn from and 200 for the test, on other parts of the photographs.

    Args:
        path: must be empty, because the data are built in.
        train, test: must be "train" and "test".
        pixels: their number of channels; nothing is decoded.

    Raises:
        UserError: a path is given, or a split that these data do not have.
    """
    return _opened(Shapes, path, train, test, pixels)


def boxed_shapes(*, path: str, train: str, test: str, pixels: Pixels) -> Splits:
    """The patches with boxes; see `shapes`.

    Raises:
        UserError: as in `shapes`.
    """
    return _opened(BoxedShapes, path, train, test, pixels)


def _opened(kind: type[Shapes], path: str, train: str, test: str, pixels: Pixels) -> Splits:
    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'shapes', which is built in; for your own images give another "
            "--config.data.name"
        )
    if (train, test) != ("train", "test"):
        raise UserError(f"shapes has the splits train and test, not {train!r} and {test!r}")
    return Splits.of(
        (kind(split, pixels.channels) for split in ("train", "test")), "patterns on scikit-learn's two photographs"
    )
