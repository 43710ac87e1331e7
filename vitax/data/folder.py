"""Your own labelled images: one folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import EXTENSIONS, decode_image, find_images
from vitax.data.holdout import holdout
from vitax.data.source import Splits
from vitax.errors import UserError

# A class folder with one of these names means that the layout was misunderstood.
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}


class ImageFiles:
    """Labelled image files, which are read on demand."""

    def __init__(self, paths: Sequence[str], labels: np.ndarray, class_names: Sequence[str], channels: int):
        self.paths, self.labels = list(paths), np.asarray(labels, np.int32)
        self.class_names, self.channels = tuple(class_names), channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.channels), "label": self.labels[i]}

    def name(self, i: int) -> str:
        return self.paths[i]


def folder(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Labelled images below a folder, in one of three layouts.

    - ``path/train/<class>/*.jpg`` and ``path/test/<class>/*.jpg`` (or val, validation);
    - ``path/train/<class>/*.jpg`` alone, or ``path/<class>/*.jpg``: ``test_fraction`` of every class is held back.

    Files below a class folder are found at any depth; hidden files are ignored.

    Args:
        path: the folder.
        train, test: names of the folders of the splits.
        test_fraction: share of every class that is held back for the test if there is no test folder.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UserError: the folder has none of these layouts, a class has no images, or the test split has a class that the
            training split lacks.
    """
    root = Path(path).expanduser()
    layout = (
        f"expected DIR/train/<class>/*.jpg and DIR/test/<class>/*.jpg, or DIR/<class>/*.jpg ({' '.join(EXTENSIONS)})"
    )
    if not path:
        raise UserError(f"data.path is empty; set --config.data.path=DIR; {layout}")
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder; {layout}")

    train_root = split_folder(root, train, ("train", "training")) or root
    test_root = split_folder(root, test, ("test", "testing", "val", "valid", "validation"))
    class_names, train_paths, train_labels = _scan(train_root, layout)
    if train_root == root or test_root is None:
        keep, held = holdout(train_labels, test_fraction)
        paths = np.asarray(train_paths, dtype=object)
        return Splits(
            ImageFiles(paths[keep], train_labels[keep], class_names, channels),
            ImageFiles(paths[held], train_labels[held], class_names, channels),
            origin=f"{train_root}, {test_fraction:.0%} of every class held back for the test",
        )
    test_names, test_paths, test_labels = _scan(test_root, layout, least=1)
    if unknown := sorted(set(test_names) - set(class_names)):
        raise UserError(
            f"{test_root} holds classes that {train_root} does not: {', '.join(unknown)}; "
            f"move them away or add them to the training images"
        )
    index = np.asarray([class_names.index(name) for name in test_names], np.int32)
    return Splits(
        ImageFiles(train_paths, train_labels, class_names, channels),
        ImageFiles(test_paths, index[test_labels], class_names, channels),
        origin=f"{train_root} and {test_root}",
    )


def split_folder(root: Path, name: str, aliases: tuple[str, ...]) -> Path | None:
    """The folder of a split, found by its name or, if the name is a usual one, by any of the usual names.

    Args:
        root: folder that holds the folders of the splits.
        name: name of the split.
        aliases: usual names of the split; upper and lower case do not matter.

    Returns:
        The folder, or None if the name is a usual one and no folder has a usual name.

    Raises:
        UserError: there is no folder with the unusual name asked for, or several folders have usual names.
    """
    if name and (root / name).is_dir():
        return root / name
    if name.lower() not in aliases:
        raise UserError(f"{root} has no folder {name!r} for the split with that name")
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and p.name.lower() in aliases]
    if len(folders) > 1:
        names = ", ".join(p.name for p in folders)
        raise UserError(f"{root} holds {names}; name the one you mean with data.train or data.test")
    return folders[0] if folders else None


def _scan(root: Path, layout: str, least: int = 2) -> tuple[list[str], list[str], np.ndarray]:
    """Class names (sorted), file paths and labels below ``root/<class>/``; ``least`` classes are required."""
    class_names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
    if len(class_names) < least:
        raise UserError(f"{root} holds {len(class_names)} class folders, but at least {least} are needed; {layout}")
    if splits := sorted(name for name in class_names if name.lower() in SPLIT_NAMES):
        raise UserError(
            f"{root} holds the folder {splits[0]!r}, which looks like a split and not like a class; {layout}"
        )
    paths, labels = [], []
    for label, name in enumerate(class_names):
        files = find_images(root / name)
        if not files:
            raise UserError(f"class folder {root / name} holds no images; add some or remove it; {layout}")
        paths += files
        labels += [label] * len(files)
    return class_names, paths, np.asarray(labels, np.int32)
