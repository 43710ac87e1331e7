"""Images with boxes in the layout of YOLO: a data.yaml, folders of images, and a text file of boxes for each image."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vitax.data.decode import decode_image, find_images
from vitax.data.objects import Objects
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import held_back
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    "expected DIR/data.yaml with names, train and val, which name folders of images such as images/train, or lists of them; and for "
    "images/train/NAME.jpg a file labels/train/NAME.txt with CLASS X Y WIDTH HEIGHT in each line, in shares of the image"
)


class YoloFiles:
    """Image files and their objects, whose boxes are shares of the image; images are read on demand.

    Args:
        paths: paths of the images.
        labels: [n] int32 classes of the objects of each image.
        boxes: [n, 4] left, top, right, bottom of each, as shares of the image.
        class_names: names of the classes.
        pixels: how images are decoded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Sequence[np.ndarray],
        boxes: Sequence[np.ndarray],
        class_names: Sequence[str],
        pixels: Pixels,
    ):
        self.paths, self.objects = list(paths), list(zip(labels, boxes, strict=True))
        self.class_names, self.pixels, self.labels = tuple(class_names), pixels, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = decode_image(Path(self.paths[i]).read_bytes(), self.pixels)
        label, shares = self.objects[i]
        height, width = image.shape[:2]
        boxes = (shares * np.array([width, height, width, height])).astype(np.float32)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return {"image": image, **Objects(boxes, label, np.zeros(len(label), bool), area)._asdict()}

    def name(self, i: int) -> str:
        return self.paths[i]

    def of(self, index: np.ndarray) -> "YoloFiles":
        """The images with some numbers."""
        labels, boxes = zip(*(self.objects[i] for i in index), strict=True)
        return YoloFiles([self.paths[i] for i in index], labels, boxes, self.class_names, self.pixels)

    def most(self) -> int:
        """The greatest number of objects in an image."""
        return max((len(label) for label, _ in self.objects), default=0)

    def counts(self) -> np.ndarray:
        """The number of objects of each class, [K] int."""
        return np.bincount(np.concatenate([label for label, _ in self.objects]), minlength=len(self.class_names))


def yolo(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens images with boxes in the layout of YOLO.

    Args:
        path: the folder with a data.yaml (or another .yaml, if it is the only one), or that file.
        train, test: keys of that file; without a "test", "val" is the test.
        test_fraction: share of the images that is held back if the file names no others than those of the training.
        pixels: how images are decoded.

    Raises:
        UserError: the layout is another, a line holds no box, or a box has a class that does not exist.
    """
    file = yaml_of(path)
    try:
        content = yaml.safe_load(read_text(file))
        names = _names(content)
    except UserError:
        raise
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} does not describe classes ({type(error).__name__}: {error}); {LAYOUT}") from error
    make = lambda key: _split(file, content, key, names, pixels)
    for key in (train, *((test,) if test != "test" else ())):
        if not content.get(key):
            raise UserError(f"{file} has no key {key!r}; {LAYOUT}")
    # Another key with the images of the training, as in files of a first try, names no others.
    other = lambda key: bool(content.get(key)) and content[key] != content[train]
    usual = next((key for key in VALIDATION if other(key)), "") if test == "test" else ""
    learned = make(train)
    if other(test):
        return Splits(learned, make(test), f"{file}, {train} and {test}", make(usual) if usual else None)
    if usual:
        return Splits(learned, make(usual), f"{file}, {train} and {usual}")
    return held_back(learned, test_fraction, str(file), LAYOUT)


def _names(content: Any) -> list[str]:
    """The names of the classes; KeyError, TypeError or ValueError if they are not clear."""
    if not isinstance(content, dict):
        raise TypeError("it is not a mapping of keys to values")
    if content.get("kpt_shape"):
        raise ValueError("kpt_shape says that lines have points of a pose, which vitax does not read")
    names = content["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if (
        not isinstance(names, dict)
        or not names
        or any(isinstance(key, bool) or not isinstance(key, int) for key in names)
    ):
        raise ValueError(f"names={content['names']!r} is neither a list nor numbers with names")
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"the classes {sorted(names)[:5]}... must be numbered from 0 without gaps")
    for name in names.values():
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise ValueError(f"the name {name!r} is not a word: write it in quotes")
    if content.get("nc") not in (None, len(names)):
        raise ValueError(f"nc={content['nc']!r}, and there are {len(names)} names")
    return [str(names[key]) for key in sorted(names)]


def yaml_of(path: str) -> Path:
    """The file that describes the data.

    Raises:
        UserError: there is none, or several of which none is called data.yaml.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return root
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    found = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    named = [file for file in found if file.stem == "data"]
    if len(named or found) != 1:
        listed = ", ".join(file.name for file in found) or "none"
        raise UserError(f"{path} has no data.yaml, and not one other .yaml (it has {listed}); {LAYOUT}")
    return (named or found)[0]


def _split(file: Path, content: dict[str, Any], key: str, names: Sequence[str], pixels: Pixels) -> YoloFiles:
    """The images of a split, and their boxes."""
    value = content[key]
    paths = [
        image
        for place in (value if isinstance(value, list) else [value])
        for image in _images(file, content, str(place))
    ]
    if not paths:
        raise UserError(f"{file}: {key}: {value} holds no images; {LAYOUT}")
    if alone := [path for path in paths if not label_file(path).is_file()]:
        LOGGER.warning("%s: %d of %d images have no file of boxes, such as %s", key, len(alone), len(paths), alone[0])
    labels, boxes = zip(*(read_boxes(label_file(path), len(names)) for path in paths), strict=True)
    if not any(map(len, labels)):
        raise UserError(f"none of {len(paths)} images of {key} has a box, such as in {label_file(paths[0])}; {LAYOUT}")
    return YoloFiles(paths, labels, boxes, names, pixels)


def _images(file: Path, content: dict[str, Any], place: str) -> list[str]:
    """The images of a folder, or of a list of paths, that the file names.

    Places are relative to the key "path", or to the file; what an export begins with "../" lies beside the file too.
    """
    roots = [file.parent / str(content.get("path") or ""), file.parent]
    tried = [root / part for root in roots for part in (place, place.removeprefix("../"))]
    found = next((one for one in tried if one.exists()), None)
    if found is None:
        raise UserError(
            f"{file} names {place}, which is not there ({', '.join(map(str, dict.fromkeys(tried)))}); {LAYOUT}"
        )
    if found.is_dir():
        return find_images(found)
    lines = [line.strip() for line in read_text(found).splitlines() if line.strip()]
    images = [str(found.parent / line) for line in lines]
    if missing := [image for image in images if not Path(image).is_file()]:
        raise UserError(f"{found} lists {len(missing)} images that are not there, such as {missing[0]}")
    return images


def label_file(image: str) -> Path:
    """The file with the boxes of an image: the last folder "images" of its path becomes "labels", and its ending .txt."""
    parts = list(Path(image).parts)
    last = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if last is not None:
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_boxes(file: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes [n] int32 and boxes [n, 4], left, top, right, bottom in shares, of a file; none if it does not exist.

    An outline, CLASS X Y X Y X Y ..., becomes the box around it. A box without a pixel, and a second line with the same object,
    are left out, and told.

    Raises:
        UserError: a line is neither a box nor an outline, lies outside the image, or has a class that does not exist.
    """
    labels, boxes, seen = [], [], set()
    lines = read_text(file).splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if not (words := line.split()):
            continue
        try:
            label, values = int(words[0]), np.array([float(word) for word in words[1:]])
        except ValueError as error:
            raise UserError(f"{file}: line {number} is not CLASS X Y WIDTH HEIGHT: {line[:80]!r}") from error
        if not 0 <= label < classes:
            raise UserError(f"{file}: line {number} has the class {label}, and there are {classes}")
        outline = len(values) >= 6 and len(values) % 2 == 0
        if not (len(values) == 4 or outline) or not all(
            math.isfinite(value) and -0.01 <= value <= 1.01 for value in values
        ):
            raise UserError(
                f"{file}: line {number} is not CLASS X Y WIDTH HEIGHT in shares of the image: {line[:80]!r}"
            )
        if outline:
            points = values.reshape(-1, 2)
            corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
        else:
            corners = np.concatenate([values[:2] - values[2:] / 2, values[:2] + values[2:] / 2])
        corners = np.clip(corners, 0, 1)
        if not (corners[2:] > corners[:2]).all():
            LOGGER.warning("%s: line %d has a box without a pixel, which is left out", file, number)
            continue
        if (label, *corners.tolist()) in seen:
            LOGGER.warning("%s: line %d repeats an object, and is left out", file, number)
            continue
        seen.add((label, *corners.tolist()))
        labels.append(label)
        boxes.append(corners)
    return np.array(labels, np.int32), np.array(boxes, np.float64).reshape(-1, 4)
