"""Images or texts with several labels, or with numbers, from a table: .csv, .tsv, .jsonl, Parquet or Arrow."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data.arrow_rows import ArrowRows, named, names_of, schema_of
from vitax.data.image_files import ImageFiles
from vitax.data.image_table import files_in
from vitax.data.parquet import IMAGES, ArrowImages, usual_column
from vitax.data.parquet_files import split_files
from vitax.data.sentences import Sentences, texts_in
from vitax.data.source import Source, Splits, Subset
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import LABELS, Row, column_in, has_column
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    'expected a table with a column of {} and columns of targets, as FILE with or without a column "split", or as '
    "DIR/train.csv and DIR/test.csv (and DIR/val.csv)"
)
# Usual names of the columns, in any capitals.
TAGS, NUMBERS = (*LABELS, "tags"), ("value", "target", "score", *LABELS)
# What a cell of a label may say; nothing = unknown.
FLAGS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "": math.nan}


class Targets(NamedTuple):
    """The targets of some rows.

    Attributes:
        names: of the targets.
        values: [n, T] float; NaN = unknown.
    """

    names: tuple[str, ...]
    values: np.ndarray


# (all parts of a table, columns) -> the targets of all rows, in order: a label may occur in one split only.
ReadTargets = Callable[[Sequence[Part], tuple[str, ...]], Targets]


class WithTargets:
    """A source whose examples have a vector of targets in place of a label: "target" [T] float32, NaN = unknown."""

    def __init__(self, source: Source, targets: Targets):
        self.source, self.class_names, self.labels = source, targets.names, None
        self.targets = targets.values.astype(np.float32)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = {name: value for name, value in self.source[i].items() if name != "label"}
        return {**example, "target": self.targets[i]}

    def name(self, i: int) -> str:
        return self.source.name(i)


def image_targets(
    read: ReadTargets,
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    columns: tuple[str, ...],
    pixels: Pixels,
) -> Splits:
    """Opens a table of image files and targets.

    Args:
        read: `labels_of` or `values_of`.
        path: the table, or its folder.
        train, test: names of the splits, see `vitax.data.table_splits.split_parts`.
        test_fraction: share of the examples that is held back if nothing says what is for the test.
        columns: columns of the targets; () = found by their usual names.
        pixels: how images are decoded.

    Raises:
        UserError: there is no table, it lacks a column, a file is not there, or a target cannot be read.
    """
    parts, origin = split_parts(path, train, test, LAYOUT.format("files"))
    sources = [ImageFiles(files_in(part), pixels) for part in parts]
    return _with_targets(sources, read(parts, columns), origin, test_fraction)


def parquet_targets(
    read: ReadTargets,
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    columns: tuple[str, ...],
    pixels: Pixels,
) -> Splits:
    """Opens images and targets in Parquet or Arrow files; the arguments are those of `image_targets`.

    Raises:
        UserError: there are no files, they lack a column, or a target cannot be read.
    """
    files = split_files(path, train, test)
    schema = schema_of(files[0][0])
    image = usual_column(files[0][0], schema.names, IMAGES)
    lower = {name.lower(): name for name in schema.names}
    chosen = [lower[name] for name in [c.lower() for c in columns] or (*TAGS, *NUMBERS) if name in lower]
    opened = [ArrowRows(those, [image, *dict.fromkeys(chosen)]) for those in files]
    parts = [_part(those, rows, chosen) for those, rows in zip(files, opened, strict=True)]
    sources = [ArrowImages(rows, image, "image", (), (), pixels) for rows in opened]
    origin = f"{sum(map(len, files))} files of {path}, images in the column {image!r}"
    return _with_targets(sources, read(parts, columns), origin, test_fraction)


def _part(files: Sequence[str], rows: ArrowRows, columns: Sequence[str]) -> Part:
    """Some columns of a split of Arrow files; numbers of classes become their names."""
    values = {}
    for column in columns:
        known = names_of(schema_of(files[0]), column)
        values[column.lower()] = [
            named(value, known, f"{files[0]}: row {number} of its split", column) if known else value
            for number, value in enumerate(rows.column(column), 1)
        ]
    each = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return Part(Path(files[0]), range(1, len(rows) + 1), each or [{}] * len(rows))


def text_targets(
    read: ReadTargets, *, path: str, train: str, test: str, test_fraction: float, columns: tuple[str, ...]
) -> Splits:
    """Opens a table of texts, or of pairs of texts, and targets; the arguments are those of `image_targets`.

    Raises:
        UserError: there is no table, it lacks a column, or a target cannot be read.
    """
    parts, origin = split_parts(path, train, test, LAYOUT.format("texts"))
    texts = [texts_in(part) for part in parts]
    if len({len(each[0]) for each in texts}) > 1:
        raise UserError(f"{origin}: some of the tables have pairs of texts, and others do not")
    sources = [
        Sentences(each, np.zeros(len(each)), (), str(part.file)) for each, part in zip(texts, parts, strict=True)
    ]
    return _with_targets(sources, read(parts, columns), origin, test_fraction)


def _with_targets(sources: Sequence[Source], targets: Targets, origin: str, fraction: float) -> Splits:
    """The splits of some sources and the targets of all their examples; of one source, a share is held back."""
    ends = np.cumsum([len(source) for source in sources])
    values = np.split(targets.values, ends[:-1])
    found = [WithTargets(source, targets._replace(values=v)) for source, v in zip(sources, values, strict=True)]
    if len(found) > 1:
        return Splits(found[0], found[1], origin, *found[2:])
    if not 0 < fraction < 1 or len(found[0]) < 2:
        raise UserError(
            f"{origin}: there are {len(found[0])} examples; two are needed, and a data.test_fraction in (0, 1)"
        )
    kept, held = (Subset(found[0], index) for index in drawn(len(found[0]), fraction))
    return Splits(kept, held, f"{origin}, {fraction:.0%} held back for the test")


def labels_of(parts: Sequence[Part], columns: tuple[str, ...]) -> Targets:
    """Several labels for each example: 1 = it has the label, 0 = it has not, NaN = unknown.

    Either each of ``columns`` is a label, with 0 or 1, true or false, or nothing for unknown; or one column lists the labels
    of an example, as a list, or as text with ";", "|" or "," between them, which may be empty.

    Raises:
        UserError: a value is none of these, or there are fewer than two labels.
    """
    file, rows = parts[0].file, [row for part in parts for row in part.rows]
    if len(columns) > 1 or (columns and all(_is_flag(row.get(columns[0].lower())) for row in rows)):
        values = np.full((len(rows), len(columns)), np.nan)
        for k, column in enumerate(columns):
            _check_column(file, rows, column)
            for i, (place, row) in enumerate(_placed(parts)):
                value = row.get(column.lower())
                if not _is_flag(value):
                    raise UserError(f"{place} has {value!r} in the column {column!r}, where 0 or 1 belongs")
                values[i, k] = _flag(value)
        return Targets(columns, values)
    column = columns[0].lower() if columns else column_in(file, rows, TAGS, "labels")
    _check_column(file, rows, column)
    each = _lists(parts, column)
    names = tuple(sorted({label for labels in each for label in labels}))
    if len(names) < 2:
        raise UserError(f"{file} has {len(names)} different labels in the column {column!r}, but two are needed")
    place_of = {name: k for k, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), np.float32)
    for i, labels in enumerate(each):
        values[i, [place_of[label] for label in labels]] = 1
    return Targets(names, values)


def values_of(parts: Sequence[Part], columns: tuple[str, ...]) -> Targets:
    """Numbers for each example; an empty cell is unknown.

    Raises:
        UserError: a value is no finite number, or there is no such column.
    """
    file, rows = parts[0].file, [row for part in parts for row in part.rows]
    chosen = columns or (column_in(file, rows, NUMBERS, "values"),)
    values = np.full((len(rows), len(chosen)), np.nan)
    for k, column in enumerate(chosen):
        _check_column(file, rows, column)
        for i, (place, row) in enumerate(_placed(parts)):
            value = row.get(column.lower())
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            try:
                values[i, k] = float(value)
            except (TypeError, ValueError) as error:
                raise UserError(f"{place} has {value!r} in the column {column!r}, where a number belongs") from error
            if not math.isfinite(values[i, k]):
                raise UserError(f"{place} has {value!r} in the column {column!r}, which is not finite")
    return Targets(tuple(chosen), values)


def _placed(parts: Sequence[Part]) -> Iterator[tuple[str, Row]]:
    """The rows of some parts, each with its place for messages."""
    return ((f"{part.file}: row {number}", row) for part in parts for number, row in part.numbered())


def _check_column(file: Path, rows: Sequence[Row], column: str) -> None:
    if not has_column(rows, column.lower()):
        raise UserError(f"{file} has the columns {', '.join(rows[0]) or 'of no target'}, and none is {column!r}")


def _is_flag(value: Any) -> bool:
    """Whether a value is 0, 1, true, false, or nothing."""
    if isinstance(value, float):
        return math.isnan(value) or value in (0.0, 1.0)
    return value is None or (isinstance(value, str | int) and str(value).strip().lower() in FLAGS)


def _flag(value: Any) -> float:
    if value is None:
        return math.nan
    return float(value) if isinstance(value, float | int) else FLAGS[value.strip().lower()]


def _lists(parts: Sequence[Part], column: str) -> list[list[str]]:
    """The labels in each cell of a column.

    Raises:
        UserError: a cell holds neither a list nor a text, or cells have different marks between their labels.
    """
    file, cells = parts[0].file, [row.get(column) for part in parts for row in part.rows]
    marks = [mark for mark in ";|" if any(isinstance(cell, str) and mark in cell for cell in cells)]
    if len(marks) > 1:
        raise UserError(f"{file}: labels in the column {column!r} are separated by both ; and |")
    separator = marks[0] if marks else ","
    if marks and any(isinstance(cell, str) and "," in cell and separator not in cell for cell in cells):
        LOGGER.warning(
            "%s: labels in the column %r are separated by %s, so a comma is a part of a label", file, column, separator
        )
    each = []
    for (place, _), cell in zip(_placed(parts), cells, strict=True):
        labels = cell if isinstance(cell, list) else [] if cell is None else str(cell).split(separator)
        valid = cell is None or isinstance(cell, list | str | int)
        if not valid or not all(isinstance(label, str | int) for label in labels):
            raise UserError(f"{place} has {cell!r} in the column {column!r}, where labels belong")
        each.append([str(label).strip() for label in labels if str(label).strip()])
    return each
