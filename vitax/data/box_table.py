"""Images with boxes in a table, which has a row for each object."""

import math
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.annotated import Annotated, check_apart, class_names, image_size, source_of
from vitax.data.image_table import FILES
from vitax.data.source import Splits
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import EXTENSIONS, LABELS, column_in, has_column, label_in, text_in
from vitax.data.validation import held_back
from vitax.errors import UserError
from vitax.specs import Pixels

# Usual names of the columns with the left, the top, the right and the bottom, in any capitals.
SIDES = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
IGNORED = ("difficult", "iscrowd", "ignore")  # columns of objects that are not evaluated
LAYOUT = (
    "expected a .csv, .tsv or .jsonl with a row for each object and the columns file, label, xmin, ymin, xmax and ymax, in pixels "
    'from 0, with or without width and height of the image and "split"; or DIR/train.csv and DIR/test.csv'
)


def box_table(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens images with boxes that a table lists, a row for each object.

    A row without a label and without numbers is an image without objects. The images lie beside the table, in a folder
    "images", or in a folder with the table's name, with or without "_labels". An object with 1 in a column "difficult",
    "iscrowd" or "ignore" is not evaluated.

    Args:
        path: the table, or its folder.
        train, test: names of the splits: values of the column, or names of the tables.
        test_fraction: share of the images that is held back if nothing says what is for the test.
        pixels: how images are decoded.

    Raises:
        UserError: there is no table, it lacks a column, a row holds no box, or a file is not there.
    """
    parts, origin = split_parts(path, train, test, LAYOUT)
    read = [_images(part) for part in parts]
    classes = class_names(read[0], LAYOUT)
    if len(read) > 1:
        for i, other in enumerate(read[1:], 1):
            check_apart(
                read[0], other, f"the splits of {parts[i].file}, training and {'test' if i == 1 else 'validation'},"
            )
    sources = [source_of(found, str(part.file), classes, pixels) for part, found in zip(parts, read, strict=True)]
    if len(sources) == 1:
        return held_back(sources[0], test_fraction, origin, LAYOUT)
    return Splits(sources[0], sources[1], origin, *sources[2:])


def sides_in(columns: Container[str]) -> list[tuple[str, ...]]:
    """The columns of the sides among some columns, with each of the usual names."""
    return [names for names in SIDES if all(name in columns for name in names)]


def _images(part: Part) -> list[Annotated]:
    """The images of some rows, in the order of their first rows."""
    file, rows = part.file, part.rows
    named = sides_in({name for row in rows for name in row})
    if len(named) != 1:
        have = (
            f"the columns {named}: which of them"
            if named
            else f"no columns xmin, ymin, xmax and ymax, but {', '.join(rows[0])}"
        )
        raise UserError(f"{file} has {have}{' holds the boxes is not known' if named else ''}; {LAYOUT}")
    (sides,) = named
    column, label = column_in(file, rows, FILES, "files"), column_in(file, rows, (*LABELS, "name"), "labels")
    found: dict[str, list[tuple[str, list[float], bool]]] = {}
    sizes: dict[str, tuple[float, float]] = {}
    sized = has_column(rows, "width") and has_column(rows, "height")
    for number, row in part.numbered():
        image = _file(part, number, text_in(file, number, row, column))
        objects = found.setdefault(image, [])
        if sized:
            size = (_number(file, number, row, "height"), _number(file, number, row, "width"))
            if min(size) < 1 or any(side != int(side) for side in size):
                raise UserError(f"{file}: row {number} has a width and height of {size[1]:g} x {size[0]:g} pixels")
            if sizes.setdefault(image, size) != size:
                raise UserError(f"{file}: row {number} has another width or height for {image} than a row before it")
        if all(row.get(name) in (None, "") for name in (label, *sides)):
            continue  # an image without objects
        box = [_number(file, number, row, name) for name in sides]
        objects.append((label_in(file, number, row, label), box, _is_ignored(file, number, row)))
    numbers = [value for objects in found.values() for _, box, _ in objects for value in box]
    if numbers and max(numbers) < 2:  # a pixel or two: shares of the image, which rounding may carry beyond 1
        raise UserError(f"{file}: the boxes are shares of their images, and pixels are needed; {LAYOUT}")
    return [
        Annotated(
            image,
            _size(image) if image not in sizes else (int(sizes[image][0]), int(sizes[image][1])),
            [name for name, *_ in objects],
            np.array([box for _, box, _ in objects], np.float64).reshape(-1, 4),
            np.array([ignored for *_, ignored in objects], bool),
        )
        for image, objects in found.items()
    ]


def _is_ignored(file: Path, number: int, row: dict[str, Any]) -> bool:
    """Whether a column says that an object is not evaluated; UserError if it says neither 0 nor 1."""
    values = {name: row[name] for name in IGNORED if row.get(name) not in (None, "")}
    values = {name: str(int(x) if isinstance(x, bool) else x).strip() for name, x in values.items()}
    if wrong := [name for name, value in values.items() if value not in ("0", "1")]:
        raise UserError(f"{file}: row {number} has {row[wrong[0]]!r} in the column {wrong[0]!r}, where 0 or 1 belongs")
    return "1" in values.values()


def _size(image: str) -> tuple[int, int]:
    """The height and width of an image, from its header."""
    try:
        return image_size(image)
    except (OSError, ValueError) as error:
        raise UserError(f"{image} is not an image: {error}; {LAYOUT}") from error


def _file(part: Part, number: int, name: str) -> str:
    """The path of the image that a row names."""
    folder = part.file.parent
    stem = next(
        part.file.name.removesuffix(ending) for ending in (*EXTENSIONS[::-1], "") if part.file.name.endswith(ending)
    )
    places = [folder, folder / "images", folder / stem, folder / stem.removesuffix("_labels")]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise UserError(
            f"{part.file}: row {number} names {name}, which is not in {folder}, nor in its folder images; {LAYOUT}"
        )
    return str(path)


def _number(file: Path, number: int, row: dict[str, Any], column: str) -> float:
    """The number in a column of a row; UserError if it is none."""
    value = row.get(column)
    try:
        found = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(
            f"{file}: row {number} has {value!r} in the column {column!r}, where a number of pixels belongs"
        )
    return found
