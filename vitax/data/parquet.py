"""Data sets in Parquet or Arrow files, as Hugging Face's ``datasets`` lays them out: images with labels or captions."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitax.data.arrow_rows import ArrowRows, names_of, schema_of
from vitax.data.decode import decode_image
from vitax.data.holdout import holdout
from vitax.data.parquet_files import LAYOUT, split_files
from vitax.data.source import Splits, Subset
from vitax.data.table_splits import SPLITS
from vitax.data.tables import LABELS, TEST, TRAIN
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
IMAGES = ("image", "img", "image_bytes", "jpg", "png", "picture")
CAPTIONS = ("caption", "text", "captions", "sentences", "title")


class ArrowImages:
    """Images in rows of Arrow files, with the numbers of their classes, with captions, or alone.

    Attributes:
        kind: "label", "caption" or "image".
        values: of each row, the number of its class; or its captions, each of which is an example; () for images alone.
    """

    def __init__(
        self,
        rows: ArrowRows,
        image: str,
        kind: str,
        values: Sequence[Any],
        class_names: Sequence[str],
        pixels: Pixels,
    ):
        self.rows, self.image, self.kind, self.class_names = rows, image, kind, tuple(class_names)
        self.pixels = pixels
        self.labels = np.asarray(values, np.int32) if kind == "label" else None
        self.row, self.texts = np.arange(len(rows)), []
        if kind == "caption":
            self.row = np.repeat(self.row, [len(texts) for texts in values])
            self.texts = [text for texts in values for text in texts]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, i: int) -> dict[str, Any]:
        stored = self.rows.value(int(self.row[i]), self.image)
        data, path = (stored.get("bytes"), stored.get("path")) if isinstance(stored, dict) else (stored, None)
        if isinstance(data, str):
            data, path = None, data
        if data is None and not path:
            raise ValueError("a row without an image")
        if data is None:
            raise ValueError(f"its image is the file {path}, which is not in the row; use data.name=table")
        image = decode_image(data, self.pixels)
        if self.labels is not None:
            return {"image": image, "label": self.labels[i]}
        return {"image": image, "caption": self.texts[i]} if self.kind == "caption" else {"image": image}

    def name(self, i: int) -> str:
        row = int(self.row[i])
        number = int(np.searchsorted(self.rows.first, row, side="right")) - 1
        same = f":{i - int(np.searchsorted(self.row, row))}" if self.kind == "caption" else ""
        return f"{self.rows.names[number]}[{row - self.rows.first[number]}]{same}"

    def caption(self, i: int) -> str:
        """The caption of example i."""
        return self.texts[i]

    def held_back(self, share: float) -> tuple["ArrowImages", "ArrowImages"]:
        """What remains if a share of the images is held back, and what is held back; captions of an image stay together.

        Raises:
            ValueError: there are fewer than two images.
        """
        images = np.unique(self.row)
        held = np.isin(self.row, images[drawn(len(images), share)[1]])
        return self._part(np.flatnonzero(~held)), self._part(np.flatnonzero(held))

    def _part(self, index: np.ndarray) -> "ArrowImages":
        part = copy.copy(self)
        part.row, part.texts = self.row[index], [self.texts[i] for i in index]
        return part


def parquet(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Labelled images in .parquet or .arrow files.

    A column of images (bytes, or a struct of bytes and path) and one of labels (numbers, names, or Hugging Face's
    ClassLabel, whose names of classes are in the schema) are found by their usual names. Without files for the test,
    ``test_fraction`` of every class is held back.

    Args:
        path: a file, a folder of files in one of the layouts of ``datasets``, or hf-dataset:OWNER/NAME[@REVISION][:FOLDER].
        train, test: names of the splits, in the names of files or folders.
        test_fraction: share of every class that is held back if there is no test.
        pixels: how images are decoded.

    Raises:
        UserError: there are no files, they lack a column, or a label is missing.
    """
    sources, origin = _opened(path, train, test, "label", LABELS, pixels)
    if len(sources) > 1:
        return Splits(sources[0], sources[1], origin, *sources[2:])
    (whole,) = sources
    keep, held = holdout(np.asarray(whole.labels), test_fraction, names=whole.class_names)
    origin = f"{origin}, {test_fraction:.0%} of every class held back for the test"
    return Splits(Subset(whole, keep), Subset(whole, held), origin)


def captioned_parquet(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Images with captions in .parquet or .arrow files; a list of captions is an example for each of them.

    The arguments are those of `parquet`.

    Raises:
        UserError: there are no files, they lack a column, or there is only one image.
    """
    sources, origin = _opened(path, train, test, "caption", CAPTIONS, pixels)
    if len(sources) > 1:
        return Splits(sources[0], sources[1], origin, *sources[2:])
    try:
        return Splits.of(sources[0].held_back(test_fraction), f"{origin}, {test_fraction:.0%} held back for the test")
    except ValueError as error:
        raise UserError(f"{path}: {error}; {LAYOUT}") from error


def _opened(
    path: str, train: str, test: str, kind: str, usual: Sequence[str], pixels: Pixels
) -> tuple[list[ArrowImages], str]:
    """The sources of the splits: for training, or for training, test and perhaps validation; and where they are."""
    parts = split_files(path, train, test)
    schema = schema_of(parts[0][0])
    refuse_split_column(parts, schema.names)
    columns = [usual_column(parts[0][0], schema.names, names) for names in (IMAGES, usual)]
    rows = [ArrowRows(files, columns) for files in parts]
    values = [part.column(columns[1]) for part in rows]
    names: list[str] = []
    if kind == "label":
        known = names_of(schema, columns[1])
        for file in (file for files in parts for file in files):
            if names_of(schema_of(file), columns[1]) != known:
                raise UserError(
                    f"{file} has other classes in the column {columns[1]!r} than {parts[0][0]}, or in another order"
                )
        values, names = _numbered(parts, columns[1], values, known)
    else:
        values = [_texts(files[0], columns[1], texts) for files, texts in zip(parts, values, strict=True)]
    sources = [
        ArrowImages(part, columns[0], kind, value, names, pixels) for part, value in zip(rows, values, strict=True)
    ]
    return sources, f"{sum(map(len, parts))} files of {path}, columns {columns[0]!r} and {columns[1]!r}"


def refuse_split_column(parts: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Refuses files of which a column says to which split a row belongs: their rows would be parted at random.

    Raises:
        UserError: there is such a column, and there are no files for each split.
    """
    if len(parts) != 1:
        return
    for name in (name for name in names if name.lower() in SPLITS):
        values = {str(value).strip().lower() for value in ArrowRows(parts[0], [name]).column(name)}
        if name.lower() != SPLITS[0] and not values <= {*TRAIN, *TEST, *VALIDATION}:
            continue  # it is about something else
        raise UserError(
            f"{parts[0][0]} has a column {name!r}: write the rows of each split to files of their own, such as "
            "train-00000-of-00001.parquet and test-00000-of-00001.parquet"
        )


def usual_column(file: str, names: Sequence[str], usual: Sequence[str]) -> str:
    """The first column with a usual name, in any capitals; a warning names the others that have one.

    Raises:
        UserError: no column has a usual name.
    """
    lower = {name.lower(): name for name in names}
    present = [lower[name] for name in usual if name in lower]
    if not present:
        raise UserError(f"{file} has the columns {', '.join(names)}; one of {', '.join(usual)} is needed")
    if len(present) > 1:
        LOGGER.warning(
            "%s: the column %r is used; %s could be meant too", file, present[0], ", ".join(map(repr, present[1:]))
        )
    return present[0]


def _numbered(
    parts: list[list[str]], column: str, values: list[list[Any]], names: Sequence[str] | None
) -> tuple[list[Any], list[str]]:
    """The labels of the splits as numbers of classes, and the names of the classes.

    Raises:
        UserError: a row has no label, or one that the training lacks.
    """
    for files, labels in zip(parts, values, strict=True):
        for row, label in enumerate(labels):
            valid = (
                isinstance(label, str | int)
                and str(label).strip()
                and (not names or (isinstance(label, int) and 0 <= label < len(names)))
            )
            if not valid:
                raise UserError(
                    f"{files[0]}: row {row + 1} of its split has {label!r} in the column {column!r}, where a label belongs"
                    + (" (-1 stands for a hidden one: choose another split with data.test)" if label == -1 else "")
                )
    if names:
        return values, list(names)
    values = [[label.strip() if isinstance(label, str) else label for label in labels] for labels in values]
    known = {
        label: number for number, label in enumerate(sorted(set(values[0]), key=lambda x: (isinstance(x, str), x)))
    }
    for files, labels in zip(parts[1:], values[1:], strict=True):
        if unknown := set(labels) - set(known):
            raise UserError(f"{files[0]}: {sorted(unknown, key=str)[0]!r} is a label of no training example")
    return [[known[label] for label in labels] for labels in values], [str(label) for label in known]


def _texts(file: str, column: str, values: list[Any]) -> list[list[str]]:
    """The captions of each row: a text, or a list of texts."""
    found = []
    for row, value in enumerate(values):
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError(
                f"{file}: row {row + 1} of its split has {value!r} in the column {column!r}, where captions belong"
            )
        found.append([text.strip() for text in texts])
    return found
