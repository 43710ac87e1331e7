"""Labelled images in tar files in the layout of WebDataset: KEY.jpg and KEY.cls next to each other."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitax.data import remote, urls
from vitax.data.decode import decode_image, tell_aside
from vitax.data.source import Splits
from vitax.data.tar_index import TAR_LAYOUT, read_member, tar_files
from vitax.data.tar_rows import TarRows
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError
from vitax.specs import Pixels

CLASSES = ("classes.txt", "class_names.txt", "labels.txt")


class LabelledTars:
    """Images in tar files with the numbers of their classes.

    The headers and the numbers are read once, and kept. Each image is then read at its place in its file, so reading in
    order (``data.shuffle_window``) reads the files from one end to the other. An image without a number is left out
    and reported; a number without an image, and an image cut off by the end of a truncated file, are unreadable examples.
    """

    def __init__(self, files: Sequence[str], pixels: Pixels):
        self.rows, self.pixels = TarRows(files, labelled=True), pixels
        self.class_names: tuple[str, ...] = ()
        self.labels = self.rows.labels()
        tell_aside(f"{len(files)} tar files such as {', '.join(files[:1])}", self.rows.aside)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = self.rows[i]
        if row.image[0] < 0:
            raise ValueError("a label without an image")
        return {"image": decode_image(read_member(row.file, *row.image), self.pixels), "label": np.int32(row.label)}

    def name(self, i: int) -> str:
        row = self.rows[i]
        return f"{row.file}:{row.key}"


def _named(tar: str) -> str:
    """The file with the names of the classes beside a tar file, or above its folder; "" = there is none.

    Raises:
        UserError: it cannot be read from its server.
    """
    scheme, separator, path = tar.rpartition("://")
    folder = PurePosixPath(path) if separator else Path(path).absolute()
    for place in list(folder.parents)[: min(2, len(folder.parents) - 1)]:
        for name in CLASSES:
            file = f"{scheme}{separator}{place / name}"
            if urls.exists(file) if separator else Path(file).is_file():
                return remote.near(file)
    return ""


def label_tars(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens tar files with pairs of an image and the number of its class.

    Without a folder of tar files for each split, ``test_fraction`` of the files, at least one, is held back. The names of
    the classes are the lines of a classes.txt beside the files, or the numbers.

    Args:
        path: a pattern such as "data-{000..123}.tar", a folder with tar files, or one with a folder of them for each split.
        train, test: names of the folders of the splits.
        test_fraction: share of the files that is held back: the last ones.
        pixels: how images are decoded.

    Raises:
        UserError: there are no tar files, or only one; they have no labels; or classes.txt has fewer names than classes.
    """
    parts, validation = tar_files(path, train, test, VALIDATION, test_fraction)
    if not parts[1]:
        raise UserError(f"{path} is one tar file: a test needs another one; {TAR_LAYOUT}")
    sources = [LabelledTars(files, pixels) for files in (*parts, validation) if files]
    for source in sources:
        if not len(source):
            raise UserError(
                f"{source.rows.files[0]} and {len(source.rows.files) - 1} more have no labels; {TAR_LAYOUT}"
            )
    count = 1 + max(int(source.labels.max()) for source in sources)
    named = _named(parts[0][0])
    names = [line.strip() for line in read_text(named).splitlines() if line.strip()] if named else []
    if named and len(names) < count:
        raise UserError(f"{named} has {len(names)} names, and the tar files have {count} classes")
    for source in sources:
        source.class_names = tuple(names or map(str, range(count)))
    return Splits(sources[0], sources[1], f"tar files of {path}", *sources[2:])
