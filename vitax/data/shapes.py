"""Shapes with the texture of a photograph on pieces of photographs: a segmentation task that needs no files.

Shapes and grounds are cut from the same two photographs, so that only the outline tells a class.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vitax.data.photos import load_photos
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.specs import Pixels

CLASSES = ("ground", "disc", "square", "triangle", "cross")
SIDE = 64  # pixels
COUNTS = {"train": 2_000, "test": 200}


class Shapes:
    """Images with one to three shapes; image number i is the same every time.

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
        image, mask = self._piece(rng), np.zeros((SIDE, SIDE), np.int16)
        for _ in range(int(rng.integers(1, 4))):
            label = int(rng.integers(1, len(CLASSES)))
            inside = outline(CLASSES[label], rng)
            texture = self._piece(rng).astype(np.float32)
            # Brighter or darker than the ground, so that there is an edge.
            texture = np.clip(texture + rng.choice((-1, 1)) * rng.uniform(50, 90), 0, 255).astype(np.uint8)
            image, mask = np.where(inside[..., None], texture, image), np.where(inside, np.int16(label), mask)
        return {"image": image, "mask": mask}

    def name(self, i: int) -> str:
        return f"shapes/{self.split}[{i}]"

    def _piece(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.photos[int(rng.integers(len(self.photos)))]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in photo.shape[:2])
        return photo[top : top + SIDE, left : left + SIDE]


def outline(shape: str, rng: np.random.Generator) -> np.ndarray:
    """The pixels [SIDE, SIDE] bool of a shape of random size, place and rotation."""
    radius = rng.uniform(10, 18)
    centre, turn = rng.uniform(radius * 0.6, SIDE - radius * 0.6, 2), rng.uniform(0, 2 * np.pi)
    picture = Image.new("1", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)

    def polygon(points: list[tuple[float, float]]) -> None:
        """Draws a polygon whose corners are given as (angle, distance), the distance as a share of the radius."""
        corners = [
            (centre[0] + radius * r * np.cos(a + turn), centre[1] + radius * r * np.sin(a + turn)) for a, r in points
        ]
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=1)

    if shape == "disc":
        x, y = centre
        draw.ellipse((x - radius * 0.8, y - radius * 0.8, x + radius * 0.8, y + radius * 0.8), fill=1)
    elif shape == "cross":
        for start in (0.0, np.pi / 2):
            polygon([(start + side + off, 1.0) for side in (0.0, np.pi) for off in (-0.3, 0.3)])
    else:
        count = {"square": 4, "triangle": 3}[shape]
        polygon([(2 * np.pi * k / count, 1.0) for k in range(count)])
    return np.asarray(picture)


def shapes(*, path: str, train: str, test: str, pixels: Pixels) -> Splits:
    """The shapes, 2,000 images of 64x64 to learn from and 200 for the test, on other parts of the photographs.

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
        (Shapes(split, pixels.channels) for split in ("train", "test")), "shapes on scikit-learn's two photographs"
    )
