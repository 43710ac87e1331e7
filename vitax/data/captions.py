"""Images with captions: from a table of files and texts, or from tar files in the layout of WebDataset."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import decode_image, tell_aside
from vitax.data.source import Splits
from vitax.data.tables import has_column, read_rows, table_of, text_in
from vitax.data.tar_index import TAR_LAYOUT, indexed
from vitax.data.textfile import not_utf8
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
IMAGE_COLUMNS = ("image", "filepath", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text", "title")
TABLE_LAYOUT = (
    "expected a .csv, .tsv or .jsonl with a column 'image' (a path, relative to the table) and a column 'caption', "
    "as FILE, or as DIR/train.csv and DIR/test.csv"
)


class CaptionedFiles:
    """Rows of a table: image files, which are read on demand, and their captions."""

    def __init__(self, paths: Sequence[str], captions: Sequence[str], channels: int):
        self.paths, self.captions, self.channels = list(paths), list(captions), channels
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.channels), "caption": self.captions[i]}

    def name(self, i: int) -> str:
        return self.paths[i]

    def caption(self, i: int) -> str:
        return self.captions[i]


class CaptionedTars:
    """Pairs of an image and a caption in tar files.

    The headers are read once. Each pair is then read at its place in its file, so reading the pairs in order
    (``data.shuffle_window``) reads the files from one end to the other. An image without a caption, a caption without
    an image, and a pair that the end of a truncated file cuts are unreadable examples, as broken images are.
    """

    def __init__(self, files: Sequence[str], channels: int):
        self.files, self.channels = list(files), channels
        self.class_names, self.labels = (), None
        self.keys: list[str] = []
        places, aside = [], Counter[str]()
        for number, file in enumerate(self.files):
            for key, parts in indexed(file, aside).items():
                places.append((number, *parts.get("image", (-1, 0)), *parts.get("caption", (-1, 0))))
                self.keys.append(key)
        tell_aside(f"{len(self.files)} tar files such as {', '.join(self.files[:1])}", aside)
        self.places = np.asarray(places, np.int64).reshape(-1, 5)  # tar, and offset and size of image and caption

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> dict[str, Any]:
        number, image, image_size, _, _ = self.places[i].tolist()
        if image < 0:
            raise ValueError("a caption without an image")
        caption = self.caption(i)
        return {"image": decode_image(_read(self.files[number], image, image_size), self.channels), "caption": caption}

    def name(self, i: int) -> str:
        return f"{self.files[self.places[i, 0]]}:{self.keys[i]}"

    def caption(self, i: int) -> str:
        """The caption of pair i.

        Raises:
            ValueError: there is none, or it is not UTF-8 text.
        """
        number, _, _, text, size = self.places[i].tolist()
        if text < 0:
            raise ValueError("an image without a caption")
        data = _read(self.files[number], text, size)
        if problem := not_utf8(data):
            raise ValueError(f"its caption {problem}")
        return data.decode("utf-8-sig").strip()


def _read(file: str, offset: int, size: int) -> bytes:
    with open(file, "rb") as stream:  # opened for each read, because threads must not share a position
        stream.seek(offset)
        return stream.read(size)


def _captioned(rows: Sequence[tuple[str, str]], channels: int) -> "CaptionedFiles":
    images, captions = zip(*rows, strict=True)
    return CaptionedFiles(images, captions, channels)


def table(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Opens a table of image files and captions.

    Args:
        path: a table, or a folder with a table for each split.
        train, test: names of the tables in the folder, without extension.
        test_fraction: share of the images that is held back for the test if there is no test table; at least one image.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UserError: there is no table, it has other columns, an image or a caption is missing, or it has only one image.
    """
    root = Path(path).expanduser()
    files = {split: table_of(root, split) for split in (train, test)} if root.is_dir() else {}
    if not path or not (root.is_file() or files.get(train)):
        raise UserError(f"data.path={path!r} holds no table; {TABLE_LAYOUT}")
    train_rows = _read_table(files.get(train) or root)
    if test_table := files.get(test):
        parts, origin = (train_rows, _read_table(test_table)), f"{files[train]} and {files[test]}"
    else:
        # The split is by image, not by row, so that no caption of a test image is learned from.
        images = sorted({image for image, _ in train_rows})
        order = np.random.default_rng(0).permutation(len(images))
        held = {images[i] for i in order[: max(1, round(test_fraction * len(images)))]}
        learned, tested = ([row for row in train_rows if (row[0] in held) == in_test] for in_test in (False, True))
        parts = learned, tested
        origin = f"{files.get(train) or root}, {test_fraction:.0%} of the images held back for the test"
        if not parts[0]:
            raise UserError(f"{path} names one image, but at least two are needed; {TABLE_LAYOUT}")
    return Splits.of((_captioned(rows, channels) for rows in parts), origin)


def _read_table(file: Path) -> list[tuple[str, str]]:
    """The rows of a table as (path of the image, caption)."""
    rows = read_rows(file)
    if not rows:
        raise UserError(f"{file} holds no rows; {TABLE_LAYOUT}")
    columns = []
    for names in (IMAGE_COLUMNS, CAPTION_COLUMNS):
        column = next((name for name in names if has_column(rows, name)), None)
        if column is None:
            raise UserError(f"{file} has the columns {', '.join(rows[0])}; {TABLE_LAYOUT}")
        columns.append(column)
    image, caption = columns
    pairs = []
    for number, row in enumerate(rows, 1):
        path, texts = str(file.parent / text_in(file, number, row, image)), row.get(caption)
        # A list of captions is one pair for each.
        each = [{caption: text} for text in texts] if isinstance(texts, list) and texts else [row]
        pairs += [(path, text_in(file, number, one, caption)) for one in each]
    if missing := sorted({path for path, _ in pairs if not os.path.isfile(path)}):
        raise UserError(
            f"{file} names {len(missing)} images that do not exist: {', '.join(missing[:3])}; "
            "correct the paths (they are relative to the table), or remove the rows"
        )
    if uncaptioned := [path for path, text in pairs if not text]:
        raise UserError(f"{file} has {len(uncaptioned)} rows without a caption: {', '.join(uncaptioned[:3])}")
    return pairs


def tars(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Opens tar files with pairs of an image and a caption.

    Without a folder of tar files for each split, ``test_fraction`` of the files, at least one, is held back. If there
    is only one file, ``test_fraction`` of its pairs is held back.

    Args:
        path: a tar file, or a folder with tar files or with a folder of them for each split.
        train, test: names of the folders of the splits.
        test_fraction: share that is held back: the last files, or the last pairs of the only file.
        channels: 3 for RGB, 1 for grey.

    Raises:
        UserError: there are no tar files, or they cannot be read or have no pairs.
    """
    root = Path(path).expanduser()
    parts = [sorted(map(str, (root / split).glob("*.tar"))) for split in (train, test)]
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {TAR_LAYOUT}")
    if not all(parts):
        files = [str(root)] if root.is_file() else sorted(map(str, root.glob("*.tar")))
        if not files:
            raise UserError(f"{path} holds no tar files; {TAR_LAYOUT}")
        held = max(1, round(test_fraction * len(files))) if len(files) > 1 else 0
        parts = [files[: len(files) - held], files[len(files) - held :]]
    sources = [CaptionedTars(files, channels) for files in parts if files]
    if len(sources) == 1:  # the last pairs of the only file are for the test
        whole = sources[0]
        if len(whole) < 2:
            raise UserError(f"{path} holds {len(whole)} pairs, but at least two are needed; {TAR_LAYOUT}")
        held = max(1, round(test_fraction * len(whole)))
        sources = [_part(whole, slice(0, len(whole) - held)), _part(whole, slice(-held, None))]
    if not all(len(source) for source in sources):
        raise UserError(f"{path} holds tar files without pairs; {TAR_LAYOUT}")
    return Splits.of(sources, f"tar files of {path}")


def _part(whole: CaptionedTars, which: slice) -> CaptionedTars:
    part = CaptionedTars([], whole.channels)
    part.files, part.places, part.keys = whole.files, whole.places[which], whole.keys[which]
    return part
