"""Your own labelled images: a table of files and labels."""

import os
from collections.abc import Sequence

import numpy as np

from vitax.data.folder import ImageFiles
from vitax.data.holdout import holdout
from vitax.data.source import Splits
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import LABELS, column_in, label_in, text_in
from vitax.errors import UserError
from vitax.specs import Pixels

# Usual names of the columns, in any capitals; the first that a table has is taken.
FILES = ("file", "filename", "file_name", "filepath", "path", "image", "image_path", "image_id", "img")
LAYOUT = (
    "expected a .csv, .tsv or .jsonl with columns of files and labels, as FILE with or without a column "
    '"split", or as DIR/train.csv and DIR/test.csv (and DIR/val.csv)'
)


def image_table(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Labelled images that a table lists: .csv, .tsv or .jsonl, with a column of files and one of labels.

    - ``path`` is a table: with a column "split" (train, val, test), or a share of every class is held back for the test;
    - ``path`` is a folder with train.csv and test.csv (and val.csv), or with one table.

    The columns are called file and label, or have another usual name (filename, path, image; class, category, target).
    Files are relative to the folder of the table, or absolute.

    Args:
        path: the table, or its folder.
        train, test: names of the splits: values of the column, or names of the tables.
        test_fraction: share of every class that is held back if nothing says what is for the test.
        pixels: how images are decoded.

    Raises:
        UserError: there is no table, it lacks a column, a file is not there, or the test has a class that the training
            lacks.
    """
    parts, origin = split_parts(path, train, test, LAYOUT)
    read = [(files_in(part), _labels(part)) for part in parts]
    names = sorted(set(read[0][1]))
    if len(read) > 1:
        sources = [_images(part, *both, names, pixels) for part, both in zip(parts, read, strict=True)]
        return Splits(sources[0], sources[1], origin, *sources[2:])
    whole = _images(parts[0], *read[0], names, pixels)
    sources = [
        ImageFiles([whole.paths[i] for i in index], whole.labels[index], names, pixels)
        for index in holdout(whole.labels, test_fraction, names=names)
    ]
    return Splits.of(sources, f"{origin}, {test_fraction:.0%} of every class held back for the test")


def files_in(part: Part) -> list[str]:
    """The files of the images in the rows of a table: absolute, or relative to the folder of the table.

    Raises:
        UserError: the table has no column of files, or a file is not there.
    """
    column, paths = column_in(part.file, part.rows, FILES, "files"), []
    for number, row in part.numbered():
        path = part.file.parent / os.path.expanduser(text_in(part.file, number, row, column))
        if not path.is_file():
            raise UserError(f"{part.file}: row {number} names {path}, which is not there")
        paths.append(str(path))
    return paths


def _labels(part: Part) -> list[str]:
    column = column_in(part.file, part.rows, LABELS, "labels")
    return [label_in(part.file, number, row, column) for number, row in part.numbered()]


def _images(part: Part, paths: Sequence[str], labels: Sequence[str], names: list[str], pixels: Pixels) -> ImageFiles:
    """The images of some rows, with the numbers of the classes.

    Raises:
        UserError: a row has a class that the training lacks.
    """
    number = {name: k for k, name in enumerate(names)}
    if unknown := sorted(set(labels) - set(names)):
        raise UserError(
            f"{part.file}: {', '.join(map(repr, unknown[:5]))} is a label of the test or the validation, but of no training example"
        )
    return ImageFiles(paths, np.array([number[label] for label in labels], np.int32), names, pixels)
