"""Columns of targets in a table: several labels, numbers, or shares of classes."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitax.data.table_splits import Part
from vitax.data.tables import LABELS, Row, column_in, has_column
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
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
        for k, column in enumerate(_distinct(columns)):
            _check_column(parts, column)
            for i, (place, row) in enumerate(_placed(parts)):
                value = row.get(column.lower())
                if not _is_flag(value):
                    raise UserError(f"{place} has {value!r} in the column {column!r}, where 0 or 1 belongs")
                values[i, k] = _flag(value)
        return Targets(columns, values)
    column = columns[0].lower() if columns else column_in(file, rows, TAGS, "labels")
    _check_column(parts, column)
    each = _lists(parts, column)
    names = tuple(sorted({label for labels in each for label in labels or ()}))
    if len(names) < 2:
        raise UserError(f"{file} has {len(names)} different labels in the column {column!r}, but two are needed")
    place_of = {name: k for k, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), np.float32)
    for i, labels in enumerate(each):
        if labels is None:
            values[i] = np.nan
        else:
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
    for k, column in enumerate(_distinct(chosen)):
        _check_column(parts, column)
        for i, (place, row) in enumerate(_placed(parts)):
            value = row.get(column.lower())
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            try:
                values[i, k] = _number(value)
            except (TypeError, ValueError) as error:
                raise UserError(f"{place} has {value!r} in the column {column!r}, where a number belongs") from error
            if not math.isfinite(values[i, k]):
                raise UserError(f"{place} has {value!r} in the column {column!r}, which is not finite")
    return Targets(tuple(chosen), values)


def shares_of(parts: Sequence[Part], columns: tuple[str, ...]) -> Targets:
    """The share of each class in each example: votes, or probabilities, divided by their sum.

    Raises:
        UserError: there are fewer than two columns; a value is no number, missing or negative, or all are 0.
    """
    if len(columns) < 2:
        raise UserError(f"data.targets={columns}: soft labels need a column for each class, two or more")
    found = values_of(parts, columns)
    for (place, _), row in zip(_placed(parts), found.values, strict=True):
        if not (row >= 0).all() or not row.sum() > 0:
            raise UserError(f"{place} has {row.tolist()} in the columns {', '.join(columns)}, which are not shares")
    return found._replace(values=found.values / found.values.sum(axis=1, keepdims=True))


def _number(value: Any) -> float:
    """A value as a number; Python would also take 1_000 and digits of other scripts.

    Raises:
        ValueError, TypeError: it is none.
    """
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        raise ValueError(value)
    return float(value)


def _placed(parts: Sequence[Part]) -> Iterator[tuple[str, Row]]:
    """The rows of some parts, each with its place for messages."""
    return ((f"{part.file}: row {number}", row) for part in parts for number, row in part.numbered())


def _check_column(parts: Sequence[Part], column: str) -> None:
    """Refuses a table that lacks a column, also if those of other splits have it."""
    for part in parts:
        if not has_column(part.rows, column.lower()):
            have = ", ".join(part.rows[0]) or "of no target"
            raise UserError(f"{part.file} has the columns {have}, and none is {column!r}")


def _distinct(columns: Sequence[str]) -> Sequence[str]:
    """The columns, if none of them is named twice."""
    if len({column.lower() for column in columns}) < len(columns):
        raise UserError(f"data.targets={tuple(columns)} names a column twice")
    return columns


def _is_flag(value: Any) -> bool:
    """Whether a value is 0, 1, true, false, or nothing."""
    if isinstance(value, float):
        return math.isnan(value) or value in (0.0, 1.0)
    return value is None or (isinstance(value, str | int) and str(value).strip().lower() in FLAGS)


def _flag(value: Any) -> float:
    if value is None:
        return math.nan
    return float(value) if isinstance(value, float | int) else FLAGS[value.strip().lower()]


def _lists(parts: Sequence[Part], column: str) -> list[list[str] | None]:
    """The labels in each cell of a column; None = null, so that they are unknown.

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
    filled = [cell for cell in cells if isinstance(cell, list)]
    if (
        len({len(cell) for cell in filled}) == 1
        and len(filled[0]) > 1
        and all(x in (0, 1) for cell in filled for x in cell)
    ):
        raise UserError(
            f"{file}: the column {column!r} has lists of {len(filled[0])} zeros and ones, without the names of the labels: give "
            "each label a column of its own (data.targets), or list the labels that there are"
        )
    each: list[list[str] | None] = []
    for (place, _), cell in zip(_placed(parts), cells, strict=True):
        labels = cell if isinstance(cell, list) else [] if cell is None else str(cell).split(separator)
        valid = cell is None or isinstance(cell, list | str | int)
        if not valid or not all(isinstance(label, str | int) for label in labels):
            raise UserError(f"{place} has {cell!r} in the column {column!r}, where labels belong")
        if isinstance(cell, str) and cell.strip()[:1] == "[" and cell.strip()[-1:] == "]":
            raise UserError(f"{place} has {cell!r} in the column {column!r}: write its labels as a;b, or use a .jsonl")
        found = [str(label).strip() for label in labels if str(label).strip()]
        if len(set(found)) < len(found):
            raise UserError(f"{place} has {cell!r} in the column {column!r}, where a label is named twice")
        each.append(None if cell is None else found)
    return each
