"""Your own labelled images: a table of files and labels."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.folder import ImageFiles
from vitax.data.holdout import holdout
from vitax.data.source import Splits
from vitax.data.tables import (
    EXTENSIONS,
    LABELS,
    TEST,
    TRAIN,
    column_in,
    has_column,
    label_in,
    read_rows,
    tables_of,
    text_in,
)
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError
from vitax.specs import MAX_PIXELS

# Usual names of the columns, in any capitals; the first that a table has is taken.
FILES = ("file", "filename", "file_name", "filepath", "path", "image", "image_path", "image_id", "img")
SPLITS = ("split", "set", "subset", "partition")


def image_table(
    *, path: str, train: str, test: str, test_fraction: float, channels: int, max_pixels: int = MAX_PIXELS
) -> Splits:
    """Labelled images that a table lists: .csv, .tsv or .jsonl, with a column of files and one of labels.

    - ``path`` is a table: with a column "split" (train, val, test), or a share of every class is held back for the test;
    - ``path`` is a folder with train.csv and test.csv (and val.csv), or with one table.

    The columns are called file and label, or have another usual name (filename, path, image; class, category, target).
    Files are relative to the folder of the table, or absolute.

    Args:
        path: the table, or its folder.
        train, test: names of the splits: values of the column, or names of the tables.
        test_fraction: share of every class that is held back if nothing says what is for the test.
        channels: 3 for RGB, 1 for grey.
        max_pixels: see `vitax.data.decode.decode_image`.

    Raises:
        UserError: there is no table, it lacks a column, a file is not there, or the test has a class that the training
            lacks.
    """
    root = Path(path).expanduser()
    if not path:
        raise UserError("data.path is empty; set --config.data.path to a table of files and labels, or to its folder")
    opened = lambda rows, names, origin: _images(rows, names, origin, channels, max_pixels)
    if root.is_dir():
        train_file, test_file, validation_file = tables_of(root, train, test)
        if train_file and test_file:
            parts = [_rows(file) for file in (train_file, test_file, validation_file) if file]
            names = sorted({label for _, label, _ in parts[0]})
            sources = [
                opened(rows, names, file)
                for rows, file in zip(parts, (train_file, test_file, validation_file), strict=False)
            ]
            return Splits(sources[0], sources[1], f"{train_file} and {test_file}", *sources[2:])
        tables = [file for file in sorted(root.iterdir()) if file.name.lower().endswith(EXTENSIONS)]
        if len(tables) != 1:
            found = ", ".join(file.name for file in tables) or "none"
            raise UserError(
                f"{root} has the tables {found}; name one with data.path, or call them {train}.csv and {test}.csv"
            )
        root = tables[0]
    if not root.is_file():
        raise UserError(f"data.path {path} is neither a table ({', '.join(EXTENSIONS)}) nor its folder")
    rows = _rows(root)
    names = sorted({label for _, label, _ in rows})
    if any(split for *_, split in rows):
        return _by_column(root, rows, train, test, opened)
    labels = np.array([names.index(label) for _, label, _ in rows])
    keep, held = ([rows[i] for i in part] for part in holdout(labels, test_fraction, names=names))
    origin = f"{root}, {test_fraction:.0%} of every class held back for the test"
    return Splits(opened(keep, names, root), opened(held, names, root), origin)


def _by_column(root: Path, rows: list[tuple[str, str, str]], train: str, test: str, opened: Any) -> Splits:
    """The splits that a column names."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for row in rows:
        groups.setdefault(row[2].lower(), []).append(row)

    def group(name: str, usual: Sequence[str]) -> str:
        wanted = (name.lower(), *(usual if name.lower() in usual else ()))
        return next((each for each in wanted if each in groups), "")

    first, last, between = group(train, TRAIN), group(test, TEST), group(VALIDATION[0], VALIDATION)
    last = last or between
    unknown = sorted(set(groups) - {first, last, between})
    if not first or not last or unknown:
        counts = Counter(split for *_, split in rows)
        listed = ", ".join(f"{split!r} ({count:,})" for split, count in counts.items())
        raise UserError(
            f"{root}: the column of splits has {listed}; expected train, test and perhaps val: name them with data.train and "
            "data.test"
        )
    names = sorted({label for _, label, _ in groups[first]})
    validation = [opened(groups[between], names, root)] if between and between != last else []
    origin = f"{root}, split by its column"
    return Splits(opened(groups[first], names, root), opened(groups[last], names, root), origin, *validation)


def _rows(file: Path) -> list[tuple[str, str, str]]:
    """(path, label, split) of each row; "" = there is no column of splits."""
    rows = read_rows(file)
    columns = {kind: column_in(file, rows, usual, kind) for kind, usual in (("files", FILES), ("labels", LABELS))}
    split = next((name for name in SPLITS if has_column(rows, name)), "")
    found = []
    for number, row in enumerate(rows, 1):
        path = file.parent / Path(text_in(file, number, row, columns["files"])).expanduser()
        if not path.is_file():
            raise UserError(f"{file}: row {number} names {path}, which is not there")
        label = label_in(file, number, row, columns["labels"])
        found.append((str(path), label, text_in(file, number, row, split) if split else ""))
    return found


def _images(
    rows: list[tuple[str, str, str]], names: list[str], origin: Any, channels: int, max_pixels: int
) -> ImageFiles:
    """The images of some rows, with the numbers of the classes.

    Raises:
        UserError: a row has a class that the training lacks.
    """
    number = {name: k for k, name in enumerate(names)}
    if unknown := sorted({label for _, label, _ in rows} - set(names)):
        raise UserError(
            f"{origin}: {', '.join(map(repr, unknown[:5]))} is a label of the test or the validation, but of no training example"
        )
    labels = np.array([number[label] for _, label, _ in rows], np.int32)
    return ImageFiles([path for path, *_ in rows], labels, names, channels, max_pixels)
