"""Images or texts with several labels, or with numbers, from a table: .csv, .tsv, .jsonl, Parquet or Arrow."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.arrow_rows import ArrowRows, named, names_of, schema_of
from vitax.data.image_files import ImageFiles
from vitax.data.image_table import files_in
from vitax.data.parquet import IMAGES, ArrowImages, refuse_split_column, usual_column
from vitax.data.parquet_files import split_files
from vitax.data.sentences import Sentences, texts_in
from vitax.data.source import Source, Splits, Subset
from vitax.data.table_splits import Part, split_parts
from vitax.data.target_columns import NUMBERS, TAGS, ReadTargets, Targets
from vitax.data.validation import drawn
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    'expected a table with a column of {} and columns of targets, as FILE with or without a column "split", or as '
    "DIR/train.csv and DIR/test.csv (and DIR/val.csv)"
)


class WithTargets:
    """A source whose examples have a vector of targets in place of a label: "target" [T] float32, NaN = unknown."""

    def __init__(self, source: Source, targets: Targets):
        self.source, self.class_names = source, targets.names
        self.labels: np.ndarray | None = None
        self.targets = targets.values.astype(np.float32)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = {name: value for name, value in self.source[i].items() if name != "label"}
        return {**example, "target": self.targets[i]}

    def name(self, i: int) -> str:
        return self.source.name(i)


class SoftLabels(WithTargets):
    """A source whose examples have the share of each class, "target" [K] float32, and the largest of them as "label"."""

    def __init__(self, source: Source, targets: Targets):
        super().__init__(source, targets)
        self.labels: np.ndarray | None = targets.values.argmax(axis=1).astype(np.int32)

    def __getitem__(self, i: int) -> dict[str, Any]:
        assert self.labels is not None
        return {**super().__getitem__(i), "label": self.labels[i]}


def are_soft(source: Any) -> bool:
    """True if the labels of a source, or of what it is a part of, are soft."""
    return isinstance(source, SoftLabels) or (hasattr(source, "source") and are_soft(source.source))


def image_targets(
    read: ReadTargets,
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    columns: tuple[str, ...],
    pixels: Pixels,
    make: type[WithTargets] = WithTargets,
) -> Splits:
    """Opens a table of image files and targets.

    Args:
        read: `labels_of`, `values_of` or `shares_of`.
        path: the table, or its folder.
        train, test: names of the splits, see `vitax.data.table_splits.split_parts`.
        test_fraction: share of the examples that is held back if nothing says what is for the test.
        columns: columns of the targets; () = found by their usual names.
        pixels: how images are decoded.
        make: the class of the sources.

    Raises:
        UserError: there is no table, it lacks a column, a file is not there, or a target cannot be read.
    """
    parts, origin = split_parts(path, train, test, LAYOUT.format("files"))
    sources = [ImageFiles(files_in(part), pixels) for part in parts]
    return _with_targets(sources, read(parts, columns), origin, test_fraction, make)


def parquet_targets(
    read: ReadTargets,
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    columns: tuple[str, ...],
    pixels: Pixels,
    make: type[WithTargets] = WithTargets,
) -> Splits:
    """Opens images and targets in Parquet or Arrow files; the arguments are those of `image_targets`.

    Raises:
        UserError: there are no files, they lack a column, or a target cannot be read.
    """
    files = split_files(path, train, test)
    schema = schema_of(files[0][0])
    refuse_split_column(files, schema.names)
    image = usual_column(files[0][0], schema.names, IMAGES)
    lower = {name.lower(): name for name in schema.names}
    chosen = [lower[name] for name in [c.lower() for c in columns] or (*TAGS, *NUMBERS) if name in lower]
    opened = [ArrowRows(those, [image, *dict.fromkeys(chosen)]) for those in files]
    parts = [_part(those, rows, chosen) for those, rows in zip(files, opened, strict=True)]
    sources = [ArrowImages(rows, image, "image", (), (), pixels) for rows in opened]
    origin = f"{sum(map(len, files))} files of {path}, images in the column {image!r}"
    return _with_targets(sources, read(parts, columns), origin, test_fraction, make)


def _part(files: Sequence[str], rows: ArrowRows, columns: Sequence[str]) -> Part:
    """Some columns of a split of Arrow files; numbers of classes become their names."""
    values = {}
    for column in columns:
        known = names_of(schema_of(files[0]), column)
        for file in files[1:]:
            if names_of(schema_of(file), column) != known:
                raise UserError(
                    f"{file} has other classes in the column {column!r} than {files[0]}, or in another order"
                )
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
        Sentences(each, np.zeros(len(each)), (), str(part.file), part.numbers)
        for each, part in zip(texts, parts, strict=True)
    ]
    return _with_targets(sources, read(parts, columns), origin, test_fraction, WithTargets)


def _with_targets(
    sources: Sequence[Source], targets: Targets, origin: str, fraction: float, make: type[WithTargets]
) -> Splits:
    """The splits of some sources and the targets of all their examples; of one source, a share is held back."""
    ends = np.cumsum([len(source) for source in sources])
    values = np.split(targets.values, ends[:-1])
    found = [make(source, targets._replace(values=v)) for source, v in zip(sources, values, strict=True)]
    if len(found) > 1:
        return Splits(found[0], found[1], origin, *found[2:])
    if not 0 < fraction < 1 or len(found[0]) < 2:
        raise UserError(
            f"{origin}: there are {len(found[0])} examples; two are needed, and a data.test_fraction in (0, 1)"
        )
    kept, held = (Subset(found[0], index) for index in drawn(len(found[0]), fraction))
    return Splits(kept, held, f"{origin}, {fraction:.0%} held back for the test")


# Names of the sources of images with targets, and their openers.
OF_IMAGES: dict[str, Callable[..., Splits]] = {"table": image_targets, "parquet": parquet_targets}
