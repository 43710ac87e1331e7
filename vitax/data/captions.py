"""Images with captions: from a table of files and texts, or from tar files in the layout of WebDataset."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitax.data.decode import decode_image, tell_aside
from vitax.data.source import Splits
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import column_in, text_in
from vitax.data.tar_index import TAR_LAYOUT, read_member, tar_files
from vitax.data.tar_rows import TarRows
from vitax.data.textfile import not_utf8
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
IMAGE_COLUMNS = ("image", "filepath", "file_name", "path")
CAPTION_COLUMNS = ("caption", "text", "title")
TABLE_LAYOUT = (
    "expected a .csv, .tsv or .jsonl with a column 'image' (a path, relative to the table) and a column 'caption', "
    "as FILE, or as DIR/train.csv and DIR/test.csv (and DIR/val.csv)"
)


class CaptionedFiles:
    """Rows of a table: image files, which are read on demand, and their captions."""

    def __init__(self, paths: Sequence[str], captions: Sequence[str], pixels: Pixels):
        self.paths, self.captions, self.pixels = list(paths), list(captions), pixels
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.pixels), "caption": self.captions[i]}

    def name(self, i: int) -> str:
        return self.paths[i]

    def caption(self, i: int) -> str:
        return self.captions[i]

    def held_back(self, share: float) -> tuple["CaptionedFiles", "CaptionedFiles"]:
        """What remains if a share of the images is held back, and what is held back.

        Images are drawn, not rows, so that no caption of a held image is learned from.

        Raises:
            ValueError: there are fewer than two images.
        """
        images = sorted(set(self.paths))
        held = {images[i] for i in drawn(len(images), share)[1]}
        rows = list(zip(self.paths, self.captions, strict=True))
        parts = ([row for row in rows if (row[0] in held) == inside] for inside in (False, True))
        learned, tested = (captioned(part, self.pixels) for part in parts)
        return learned, tested


class CaptionedTars:
    """Pairs of an image and a caption in tar files.

    The headers are read once. Each pair is then read at its place in its file, so reading the pairs in order
    (``data.shuffle_window``) reads the files from one end to the other. An image without a caption, a caption without
    an image, and a pair that the end of a truncated file cuts are unreadable examples, as broken images are.
    """

    def __init__(self, rows: TarRows, pixels: Pixels):
        self.rows, self.pixels = rows, pixels
        self.class_names, self.labels = (), None

    @classmethod
    def opened(cls, files: Sequence[str], pixels: Pixels) -> "CaptionedTars":
        """The pairs of some tar files.

        Raises:
            UserError: a file cannot be read as a tar file, or holds two members of a kind for one pair.
        """
        rows = TarRows(files, labelled=False)
        tell_aside(f"{len(files)} tar files such as {', '.join(files[:1])}", rows.aside)
        return cls(rows, pixels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = self.rows[i]
        if row.image[0] < 0:
            raise ValueError("a caption without an image")
        caption = self.caption(i)
        return {"image": decode_image(read_member(row.file, *row.image), self.pixels), "caption": caption}

    def name(self, i: int) -> str:
        row = self.rows[i]
        return f"{row.file}:{row.key}"

    def caption(self, i: int) -> str:
        """The caption of pair i.

        Raises:
            ValueError: there is none, or it is not UTF-8 text.
        """
        row = self.rows[i]
        if row.caption[0] < 0:
            raise ValueError("an image without a caption")
        data = read_member(row.file, *row.caption)
        if problem := not_utf8(data):
            raise ValueError(f"its caption {problem}")
        if not (text := data.decode("utf-8-sig").strip()):
            raise ValueError("its caption is empty")
        return text

    def held_back(self, share: float) -> tuple["CaptionedTars", "CaptionedTars"]:
        """What remains if a share of the pairs, the last ones, is held back, and what is held back.

        Raises:
            ValueError: there are fewer than two pairs.
        """
        if len(self) < 2:
            raise ValueError(f"there are {len(self)} pairs, but two are needed to hold one back")
        count = min(max(1, round(share * len(self))), len(self) - 1)
        learned, tested = self.rows.part(0, len(self) - count), self.rows.part(len(self) - count, len(self))
        return CaptionedTars(learned, self.pixels), CaptionedTars(tested, self.pixels)


def captioned(rows: Sequence[tuple[str, str]], pixels: Pixels) -> "CaptionedFiles":
    """The source of pairs (path of an image, caption)."""
    images, captions = zip(*rows, strict=True)
    return CaptionedFiles(images, captions, pixels)


def table(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens a table of image files and captions.

    Args:
        path: a table, or its folder.
        train, test: names of the splits, see `vitax.data.table_splits.split_parts`.
        test_fraction: share of the images that is held back if nothing says what is for the test; at least one image.
        pixels: how images are decoded.

    Raises:
        UserError: there is no table, it has other columns, an image or a caption is missing, it has only one image, or the
            splits do not match.
    """
    parts, origin = split_parts(path, train, test, TABLE_LAYOUT)
    sources = [captioned(_pairs_in(part), pixels) for part in parts]
    if len(sources) > 1:
        return Splits(sources[0], sources[1], origin, *sources[2:])
    try:
        return Splits.of(
            sources[0].held_back(test_fraction), f"{origin}, {test_fraction:.0%} of the images held back for the test"
        )
    except ValueError as error:
        raise UserError(f"{path} names one image, but at least two are needed; {TABLE_LAYOUT}") from error


def _pairs_in(part: Part) -> list[tuple[str, str]]:
    """The rows of a table as (path of the image, caption)."""
    file, rows = part.file, part.rows
    image, caption = (
        column_in(file, rows, names, what) for names, what in ((IMAGE_COLUMNS, "images"), (CAPTION_COLUMNS, "captions"))
    )
    pairs = []
    for number, row in part.numbered():
        path, texts = str(file.parent / text_in(file, number, row, image)), row.get(caption)
        # A list of captions is one pair for each.
        each = [{caption: text} for text in texts] if isinstance(texts, list) and texts else [row]
        pairs += [(path, text_in(file, number, one, caption)) for one in each]
    if missing := sorted({path for path, _ in pairs if not os.path.isfile(path)}):
        raise UserError(
            f"{file} names {len(missing)} images that do not exist: {', '.join(missing[:3])}; "
            "correct the paths (they are relative to the table), or remove the rows"
        )
    return pairs


def tars(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens tar files with pairs of an image and a caption.

    Without a folder of tar files for each split, ``test_fraction`` of the files, at least one, is held back. If there
    is only one file, ``test_fraction`` of its pairs is held back.

    Args:
        path: a tar file, or a folder with tar files or with a folder of them for each split.
        train, test: names of the folders of the splits.
        test_fraction: share that is held back: the last files, or the last pairs of the only file.
        pixels: how images are decoded.

    Raises:
        UserError: there are no tar files, or they cannot be read or have no pairs.
    """
    parts, validation = tar_files(path, train, test, VALIDATION, test_fraction)
    sources = [CaptionedTars.opened(files, pixels) for files in parts if files]
    if len(sources) == 1:  # the last pairs of the only file are for the test
        try:
            sources = list(sources[0].held_back(test_fraction))
        except ValueError as error:
            raise UserError(f"{path}: {error}; {TAR_LAYOUT}") from error
    if not all(len(source) for source in sources):
        raise UserError(f"{path} holds tar files without pairs; {TAR_LAYOUT}")
    splits = Splits.of(sources, f"tar files of {path}")
    if not validation:
        return splits
    origin = f"{splits.origin}, best checkpoint chosen on {os.path.dirname(validation[0])}"
    return splits._replace(validation=CaptionedTars.opened(validation, pixels), origin=origin)
