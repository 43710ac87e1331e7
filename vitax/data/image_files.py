"""A folder of images without labels, for restoration or for learning by masking."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import KNOWN, decode_image, find_images, tell_aside
from vitax.data.folder import split_folder
from vitax.data.source import Splits
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import Pixels


class ImageFiles:
    """Image files, which are read on demand; all have label 0."""

    def __init__(self, paths: Sequence[str], pixels: Pixels):
        self.paths, self.pixels = list(paths), pixels
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = decode_image(Path(self.paths[i]).read_bytes(), self.pixels)
        return {"image": image, "label": np.int32(0)}

    def name(self, i: int) -> str:
        return self.paths[i]


def images(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Unlabelled images at any depth below a folder, in one of three layouts.

    - ``path/train`` and ``path/test`` (or val, validation);
    - the same with ``path/val`` too, by which the best checkpoint is chosen;
    - ``path/train`` alone, or ``path``: ``test_fraction`` of the images, at least one, is held back.

    Args:
        path: the folder.
        train, test: names of the folders of the splits.
        test_fraction: share of the images that is held back for the test if there is no test folder.
        pixels: how images are decoded.

    Raises:
        UserError: ``path`` is not a folder, has too few images, or has a folder for the test but none for training.
    """
    root = Path(path).expanduser()
    layout = f"expected images in DIR/train and DIR/test, or in DIR, at any depth ({KNOWN})"
    if not path:
        raise UserError(f"data.path is empty; set --config.data.path=DIR; {layout}")
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder; {layout}")
    train_root = split_folder(root, train, ("train", "training"))
    test_root = split_folder(root, test, ("test", "testing", *VALIDATION))
    aside: Counter[str] = Counter()
    if train_root and test_root:
        parts = [find_images(train_root, aside), find_images(test_root, aside)]
        origin = f"{train_root} and {test_root}"
        between = None if test_root.name.lower() in VALIDATION else split_folder(root, VALIDATION[0], VALIDATION)
        if between:
            parts.append(find_images(between, aside))
            origin += f", best checkpoint chosen on {between}"
    else:
        if test_root:
            raise UserError(
                f"{root} holds {test_root.name!r} but no training folder; move the other images into "
                f"{root / 'train'}; {layout}"
            )
        paths = find_images(train_root or root, aside)
        try:
            parts = [[paths[i] for i in index] for index in drawn(len(paths), test_fraction)]
        except ValueError as error:
            raise UserError(f"{train_root or root} holds {len(paths)} images: {error}; {layout}") from error
        origin = f"{train_root or root}, {test_fraction:.0%} of the images held back for the test"
    for name, files in zip(("train", "test", "validation"), parts, strict=False):
        if not files:
            raise UserError(f"the {name} split of {path} holds no images; {layout}")
    tell_aside(path, aside)
    first, last, *rest = (ImageFiles(files, pixels) for files in parts)
    return Splits(first, last, origin, *rest)
