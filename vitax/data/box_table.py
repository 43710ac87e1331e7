"""Images with boxes in a table, which has a row for each object."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitax.data.annotated import Annotated, class_names, source_of
from vitax.data.image_table import FILES
from vitax.data.source import Splits
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import LABELS, column_in, has_column, label_in, text_in
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
LAYOUT = (
    "expected a .csv, .tsv or .jsonl with a row for each object and the columns file, label, xmin, ymin, xmax and ymax, in pixels "
    'from 0, with or without width and height of the image and "split"; or DIR/train.csv and DIR/test.csv'
)


def box_table(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens images with boxes that a table lists, a row for each object.

    A row without a label and without numbers is an image without objects. The images lie beside the table, in a folder
    "images", or in a folder that is called as the table is, with or without "_labels".

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
    sources = [source_of(found, str(part.file), classes, pixels) for part, found in zip(parts, read, strict=True)]
    if len(sources) == 1:
        return held_back(sources[0], test_fraction, origin, LAYOUT)
    return Splits(sources[0], sources[1], origin, *sources[2:])


def sides_in(columns: Any) -> tuple[str, ...] | None:
    """The columns of the sides among some columns; None = there are none."""
    return next((names for names in SIDES if all(name in columns for name in names)), None)


def _images(part: Part) -> list[Annotated]:
    """The images of some rows, in the order of their first rows."""
    file, rows = part.file, part.rows
    sides = sides_in({name for row in rows for name in row})
    if sides is None:
        raise UserError(f"{file} has no columns xmin, ymin, xmax and ymax, but {', '.join(rows[0])}; {LAYOUT}")
    column, label = column_in(file, rows, FILES, "files"), column_in(file, rows, (*LABELS, "name"), "labels")
    found: dict[str, list[tuple[str, list[float]]]] = {}
    told: dict[str, tuple[int, int]] = {}
    sized = has_column(rows, "width") and has_column(rows, "height")
    for number, row in part.numbered():
        image = _file(part, number, text_in(file, number, row, column))
        objects = found.setdefault(image, [])
        if sized:
            height, width = (_number(file, number, row, name) for name in ("height", "width"))
            if told.setdefault(image, (int(height), int(width))) != (height, width) or min(height, width) < 1:
                raise UserError(
                    f"{file}: row {number} has another width or height than a row before it, or none, for {image}"
                )
        if all(row.get(name) in (None, "") for name in (label, *sides)):
            continue  # an image without objects
        objects.append((label_in(file, number, row, label), [_number(file, number, row, name) for name in sides]))
    numbers = [value for objects in found.values() for _, box in objects for value in box]
    if numbers and min(numbers) >= 0 and max(numbers) <= 1:
        raise UserError(f"{file}: the boxes are shares of their images, and pixels are needed; {LAYOUT}")
    return [_annotated(image, told.get(image) or _size(image), objects) for image, objects in found.items()]


def _annotated(image: str, size: tuple[int, int], objects: list[tuple[str, list[float]]]) -> Annotated:
    boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
    return Annotated(image, size, [name for name, _ in objects], boxes, np.zeros(len(objects), bool))


def _size(image: str) -> tuple[int, int]:
    """The height and width of an image, from its header."""
    try:
        with Image.open(image) as picture:
            return picture.height, picture.width
    except (OSError, ValueError) as error:
        raise UserError(f"{image} is not an image: {error}; {LAYOUT}") from error


def _file(part: Part, number: int, name: str) -> str:
    """The path of the image that a row names."""
    folder, stem = part.file.parent, part.file.name.partition(".")[0]
    places = [folder, folder / "images", folder / stem, folder / stem.removesuffix("_labels")]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise UserError(
            f"{part.file}: row {number} names {name}, which is not in {folder}, nor in its folder images; {LAYOUT}"
        )
    return str(Path(path))


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
