"""Your own labelled images: one folder for each class."""

import functools
import logging
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import KNOWN, decode_image, find_images, tell_aside, visible
from vitax.data.holdout import holdout
from vitax.data.kept_folders import Listing, Paths, keep, kept
from vitax.data.source import Splits
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
# A class folder with one of these names means that the layout was misunderstood.
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}


class ImageFiles:
    """Labelled image files, which are read on demand."""

    def __init__(self, paths: Sequence[str], labels: np.ndarray, class_names: Sequence[str], pixels: Pixels):
        self.paths, self.labels = paths, np.asarray(labels, np.int32)
        self.class_names, self.pixels = tuple(class_names), pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.pixels), "label": self.labels[i]}

    def name(self, i: int) -> str:
        return self.paths[i]


def folder(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Labelled images below a folder, in one of these layouts.

    - ``path/train/<class>/*.jpg`` and ``path/test/<class>/*.jpg`` (or val, validation);
    - the same with ``path/val/<class>/*.jpg`` too, by which the best checkpoint is chosen;
    - ``path/train/<class>/*.jpg`` alone, or ``path/<class>/*.jpg``: ``test_fraction`` of every class is held back.

    Files below a class folder are found at any depth; hidden files are ignored.

    Args:
        path: the folder.
        train, test: names of the folders of the splits.
        test_fraction: share of every class that is held back for the test if there is no test folder.
        pixels: how images are decoded.

    Raises:
        UserError: the folder has none of these layouts, a class has no images, or the test split has a class that the
            training split lacks.
    """
    root = Path(path).expanduser()
    layout = f"expected DIR/train/<class>/*.jpg and DIR/test/<class>/*.jpg, or DIR/<class>/*.jpg ({KNOWN})"
    if not path:
        raise UserError(f"data.path is empty; set --config.data.path=DIR; {layout}")
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder; {layout}")

    train_root = split_folder(root, train, ("train", "training")) or root
    test_root = split_folder(root, test, ("test", "testing", *VALIDATION))
    class_names, train_paths, train_labels = _scan(train_root, layout)
    if train_root == root or test_root is None:
        rest, held = holdout(train_labels, test_fraction, names=class_names)
        return Splits(
            ImageFiles(_chosen(train_paths, rest), train_labels[rest], class_names, pixels),
            ImageFiles(_chosen(train_paths, held), train_labels[held], class_names, pixels),
            origin=f"{train_root}, {test_fraction:.0%} of every class held back for the test",
        )
    among = functools.partial(_among, class_names, str(train_root), pixels, layout)
    validation_root = None
    if test_root.name.lower() not in VALIDATION:
        validation_root = split_folder(root, VALIDATION[0], VALIDATION)
    return Splits(
        ImageFiles(train_paths, train_labels, class_names, pixels),
        among(test_root),
        f"{train_root} and {test_root}" + (f", best checkpoint chosen on {validation_root}" if validation_root else ""),
        among(validation_root) if validation_root else None,
    )


def labelled_images(
    class_names: Sequence[str], pixels: Pixels, *, path: str, test: str = "test"
) -> tuple[ImageFiles, Path]:
    """All images below ``path/test/<class>`` or, without a folder for the test, ``path/<class>``, and that folder.

    Args:
        class_names: classes of a model; the images may have fewer.
        pixels: how images are decoded.
        path: the folder.
        test: name of the folder of the test images.

    Raises:
        UserError: ``path`` is not a folder, holds no images, or has a class that the model does not know.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder")
    aliases = ("test", "testing", *VALIDATION)
    layout = f"expected DIR/<class>/*.jpg or DIR/test/<class>/*.jpg ({KNOWN})"
    images_root = split_folder(root, test, aliases) or root
    return _among([*class_names], "the model", pixels, layout, images_root), images_root


def _among(class_names: list[str], owner: str, pixels: Pixels, layout: str, root: Path) -> ImageFiles:
    """The images below ``root/<class>``, with the numbers of the given classes.

    Raises:
        UserError: the images have further classes.
    """
    names, paths, labels = _scan(root, layout, least=1)
    if unknown := sorted(set(names) - set(class_names)):
        raise UserError(
            f"{root} holds classes that {owner} does not have: {', '.join(map(ascii, unknown))} (it has "
            f"{', '.join(map(ascii, class_names[:10]))}); move them away, or rename them"
        )
    place = {name: k for k, name in enumerate(class_names)}
    index = np.asarray([place[name] for name in names], np.int32)
    return ImageFiles(paths, index[labels], class_names, pixels)


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


def _chosen(paths: Sequence[str], index: np.ndarray) -> Sequence[str]:
    return paths[index] if isinstance(paths, Paths) else [paths[i] for i in index]


def _scan(root: Path, layout: str, least: int = 2) -> tuple[list[str], Sequence[str], np.ndarray]:
    """Class names (sorted), file paths and labels below ``root/<class>/``; ``least`` classes are required."""
    class_names, paths, labels, aside = kept(root) or _listed(root, layout, least)
    _tell_similar(root, class_names)
    tell_aside(root, aside)
    return class_names, paths, labels


def _listed(root: Path, layout: str, least: int) -> Listing:
    """What is below ``root/<class>/``, which is kept if it is much."""
    begun = time.time_ns()
    folders, listed = {}, {str(root): os.stat(root).st_mtime_ns}
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_dir() and visible(entry.name):
            # The same letters can be written with other code points, by another system for example.
            name = unicodedata.normalize("NFC", entry.name)
            if name in folders:
                raise UserError(
                    f"{root} holds two folders that are both {name!r}, with other code points "
                    f"({folders[name]!a} and {entry.name!a}); join them"
                )
            folders[name] = entry.name
    class_names = sorted(folders)
    if len(class_names) < least:
        raise UserError(f"{root} holds {len(class_names)} class folders, but at least {least} are needed; {layout}")
    if splits := sorted(name for name in class_names if name.lower() in SPLIT_NAMES):
        raise UserError(
            f"{root} holds the folder {splits[0]!r}, which looks like a split and not like a class; {layout}"
        )
    paths, labels = [], []
    aside: Counter[str] = Counter()
    for label, name in enumerate(class_names):
        files = find_images(root / folders[name], aside, listed)
        if not files:
            tell_aside(root / folders[name], aside)
            raise UserError(f"class folder {root / folders[name]} holds no images; add some or remove it; {layout}")
        paths += files
        labels += [label] * len(files)
    found = Listing(class_names, paths, np.asarray(labels, np.int32), aside)
    keep(root, found, listed, begun)
    return found


def _tell_similar(root: Path, names: Sequence[str]) -> None:
    """Warns of names of classes that differ in capitals or spaces only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    for similar in groups.values():
        if len(similar) > 1:
            LOGGER.warning("%s: %s are different classes", root, " and ".join(map(repr, similar)))
