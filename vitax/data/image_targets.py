"""Images with several labels, or with numbers, that a table lists: .csv, .tsv or .jsonl."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.decode import decode_image
from vitax.data.image_table import FILES, SPLITS
from vitax.data.source import Splits
from vitax.data.tables import LABELS, TEST, TRAIN, Row, column_in, has_column, read_rows, tables_of, text_in
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import MAX_PIXELS

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    "expected a .csv, .tsv or .jsonl with a column of files and columns of targets, as FILE with or without a column "
    '"split", or as DIR/train.csv and DIR/test.csv (and DIR/val.csv)'
)
# What a cell of a label may say; nothing = unknown.
FLAGS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "": math.nan}
PLACE: Any = ("place",)  # key of a row's own place, for messages; no column is called so
# Names of the targets and their values [n, T]; NaN = unknown.
Targets = tuple[tuple[str, ...], np.ndarray]


class TargetImages:
    """Image files with a vector of targets each, which are read on demand; "target" is [T] float32, NaN = unknown."""

    def __init__(self, paths: Sequence[str], targets: np.ndarray, names: Sequence[str], channels: int, max_pixels: int):
        self.paths, self.targets, self.class_names = list(paths), targets.astype(np.float32), tuple(names)
        self.channels, self.max_pixels, self.labels = channels, max_pixels, None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.channels, self.max_pixels), "target": self.targets[i]}

    def name(self, i: int) -> str:
        return self.paths[i]


def image_targets(
    read: Callable[[Path, list[Row], tuple[str, ...]], Targets],
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    columns: tuple[str, ...],
    channels: int,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Opens a table of images and targets.

    Args:
        read: function (table, its rows, columns) -> names of the targets, and their values [n, T]: `labels_of` or
            `values_of`.
        path: the table, or its folder.
        train, test: names of the splits: values of the column "split", or names of the tables.
        test_fraction: share of the images that is held back if nothing says what is for the test.
        columns: columns of the targets; () = found by their usual names.
        channels: 3 for RGB, 1 for grey.
        max_pixels: see `vitax.data.decode.decode_image`.

    Raises:
        UserError: there is no table, it lacks a column, a file is not there, or a target cannot be read.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    if root.is_dir():
        tables = tables_of(root, train, test)
        files = [file for file in tables if file]
        if not tables[0] or not tables[1]:
            raise UserError(f"{path} holds no {train}.csv and {test}.csv; {LAYOUT}")
        parts, origin = [_placed(file) for file in files], " and ".join(map(str, files))
    else:
        files, rows = [root] * 3, _placed(root)
        parts, origin = _parted(root, rows, train, test, test_fraction)
    every = [row for part in parts for row in part]
    names, values = read(files[0], every, columns)  # all rows at once: a label may occur in one split only
    sources, start = [], 0
    for file, part in zip(files, parts, strict=False):
        paths = _paths(file, part)
        target = values[start : start + len(part)]
        sources.append(TargetImages(paths, target, names, channels, max_pixels))
        start += len(part)
    return Splits(sources[0], sources[1], origin, *sources[2:])


def labels_of(file: Path, rows: list[Row], columns: tuple[str, ...]) -> Targets:
    """Several labels for each image: 1 = it has the label, 0 = it has not, NaN = unknown.

    Either each of ``columns`` is a label, with 0 or 1, true or false, or nothing for unknown; or one column lists the labels
    of an image, as a list, or as text with ";", "|" or "," between them, which may be empty.

    Raises:
        UserError: a value is none of these, or there are fewer than two labels.
    """
    if len(columns) > 1 or (columns and all(_is_flag(row.get(columns[0].lower())) for row in rows)):
        values = np.full((len(rows), len(columns)), np.nan)
        for number, row in enumerate(rows):
            for k, column in enumerate(columns):
                value = row.get(column.lower())
                if not has_column(rows, column.lower()) or not _is_flag(value):
                    raise UserError(f"{_place(row)} has {value!r} in the column {column!r}, where 0 or 1 belongs")
                values[number, k] = _flag(value)
        return columns, values
    column = columns[0].lower() if columns else column_in(file, rows, (*LABELS, "tags"), "labels")
    each = _lists(file, rows, column)
    names = tuple(sorted({label for labels in each for label in labels}))
    if len(names) < 2:
        raise UserError(f"{file} has {len(names)} different labels in the column {column!r}, but two are needed")
    place = {name: k for k, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), np.float32)
    for i, labels in enumerate(each):
        values[i, [place[label] for label in labels]] = 1
    return names, values


def _is_flag(value: Any) -> bool:
    """Whether a value is 0, 1, true, false, or nothing."""
    if isinstance(value, float):
        return math.isnan(value) or value in (0.0, 1.0)
    return value is None or (isinstance(value, str | int) and str(value).strip().lower() in FLAGS)


def _flag(value: Any) -> float:
    if value is None:
        return math.nan
    return float(value) if isinstance(value, float | int) else FLAGS[value.strip().lower()]


def _lists(file: Path, rows: list[Row], column: str) -> list[list[str]]:
    """The labels in each cell of a column.

    Raises:
        UserError: a cell holds neither a list nor a text, or cells have different marks between their labels.
    """
    cells = [row.get(column) for row in rows]
    marks = [mark for mark in ";|" if any(isinstance(cell, str) and mark in cell for cell in cells)]
    if len(marks) > 1:
        raise UserError(f"{file}: labels in the column {column!r} are separated by both ; and |")
    separator = marks[0] if marks else ","
    if marks and any(isinstance(cell, str) and "," in cell and separator not in cell for cell in cells):
        LOGGER.warning(
            "%s: labels in the column %r are separated by %s, so a comma is a part of a label", file, column, separator
        )
    each = []
    for row, cell in zip(rows, cells, strict=True):
        parts = cell if isinstance(cell, list) else [] if cell is None else str(cell).split(separator)
        valid = cell is None or isinstance(cell, list | str | int)
        if not valid or not has_column(rows, column) or not all(isinstance(part, str | int) for part in parts):
            raise UserError(f"{_place(row)} has {cell!r} in the column {column!r}, where labels belong")
        each.append([str(part).strip() for part in parts if str(part).strip()])
    return each


def _place(row: Row) -> str:
    """The table and the number of a row, for messages."""
    file, number = row[PLACE]
    return f"{file}: row {number}"


def values_of(file: Path, rows: list[Row], columns: tuple[str, ...]) -> Targets:
    """Numbers for each image; an empty cell is unknown.

    Raises:
        UserError: a value is no number, or no column is named.
    """
    chosen = columns or (column_in(file, rows, ("value", "target", "score", *LABELS), "values"),)
    values = np.full((len(rows), len(chosen)), np.nan)
    for k, column in enumerate(chosen):
        if not has_column(rows, column.lower()):
            raise UserError(f"{file} has the columns {', '.join(map(str, list(rows[0])[:-1]))}, and none is {column!r}")
        for number, row in enumerate(rows):
            value = row.get(column.lower())
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            try:
                values[number, k] = float(value)
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"{_place(row)} has {value!r} in the column {column!r}, where a number belongs"
                ) from error
            if not math.isfinite(values[number, k]):
                raise UserError(f"{_place(row)} has {value!r} in the column {column!r}, which is not finite")
    return tuple(chosen), values


def _placed(file: Path) -> list[Row]:
    """The rows of a table, each with its place."""
    return [{**row, PLACE: (file, number)} for number, row in enumerate(read_rows(file), 1)]


def _parted(file: Path, rows: list[Row], train: str, test: str, fraction: float) -> tuple[list[list[Row]], str]:
    """The rows of each split: of a column that names them, or a share is held back."""
    split = next((name for name in SPLITS if has_column(rows, name)), "")
    if not split:
        if not 0 < fraction < 1 or len(rows) < 2:
            raise UserError(f"{file} has {len(rows)} rows; two are needed, and a data.test_fraction in (0, 1)")
        kept, held = drawn(len(rows), fraction)
        return [[rows[i] for i in kept], [rows[i] for i in held]], f"{file}, {fraction:.0%} held back for the test"
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(text_in(row[PLACE][0], row[PLACE][1], row, split).lower(), []).append(row)
    found = [
        next((name for name in (wanted.lower(), *(usual if wanted.lower() in usual else ())) if name in groups), "")
        for wanted, usual in ((train, TRAIN), (test, TEST), (VALIDATION[0], VALIDATION))
    ]
    if not found[1] and test.lower() in TEST:
        found = [found[0], found[2], ""]
    if not found[0] or not found[1] or set(groups) - set(found):
        listed = ", ".join(f"{name!r} ({len(group)})" for name, group in groups.items())
        raise UserError(f"{file}: the column {split!r} has {listed}; expected train, test and perhaps val")
    return [groups[name] for name in found if name], f"{file}, split by its column"


def _paths(file: Path, rows: list[Row]) -> list[str]:
    """The files of the images of some rows."""
    column, paths = column_in(file, rows, FILES, "files"), []
    for row in rows:
        path = file.parent / Path(text_in(row[PLACE][0], row[PLACE][1], row, column)).expanduser()
        if not path.is_file():
            raise UserError(f"{_place(row)} names {path}, which is not there")
        paths.append(str(path))
    return paths
