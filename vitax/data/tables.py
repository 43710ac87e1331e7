"""Tables of a user: .csv, .tsv and .jsonl files, plain or compressed by gzip or Zstandard, and Parquet and Arrow files."""

import csv
import io
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitax.data.arrow_rows import ENDINGS as ARROW
from vitax.data.arrow_rows import arrow_rows, files_of
from vitax.data.textfile import COMPRESSED, kind_of, read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
PLAIN = (".csv", ".tsv", ".jsonl")
EXTENSIONS = (*PLAIN, *(plain + packed for packed in COMPRESSED for plain in PLAIN), *ARROW)
# Usual names of columns, in any capitals; the first that a table has is taken.
LABELS = ("label", "labels", "class", "class_name", "category", "target", "label_name", "fine_label")
TRAIN, TEST = ("train", "training"), ("test", "testing")  # usual names of splits
Row = dict[str, Any]


def table_of(folder: Path, split: str) -> Path | None:
    """The table of a split in a folder, the first of its Parquet files, or the folder of such files; None = there is none."""
    files = [folder / f"{split}{extension}" for extension in EXTENSIONS]
    files += sorted(folder.glob(f"{split}-*-of-*.parquet")) + sorted(folder.glob(f"data/{split}-*-of-*.parquet"))
    if found := next((file for file in files if file.is_file()), None):
        return found
    inside = folder / split
    return inside if split and any(file for ending in ARROW for file in inside.glob(f"*{ending}")) else None


def check_named(path: str, train: str, test: str) -> None:
    """Refuses names of splits for data that have no splits: a share of them would be held back, whatever the names.

    Raises:
        UserError: a name is not one of the usual ones.
    """
    if named := [name for name, usual in ((train, TRAIN), (test, TEST)) if name not in usual]:
        raise UserError(
            f"{path} has no split {named[0]!r}; leave out data.train and data.test, and a share is held back"
        )


def tables_of(folder: Path, train: str, test: str) -> tuple[Path | None, Path | None, Path | None]:
    """The tables of the training, the test and the validation split in a folder; None for those that it lacks.

    Without a table named "test", one with a usual name of a validation split (val, dev) is that of the test.
    """
    validation = next((file for name in VALIDATION if (file := table_of(folder, name))), None)
    tested = table_of(folder, test)
    if tested is None and test == "test":
        tested = validation
    return table_of(folder, train), tested, None if validation == tested else validation


def read_rows(file: Path) -> list[Row]:
    """The rows of a table, each as {column: value}; columns have the names of the file, in small letters.

    The rows of a .jsonl may have keys in any order, and some of them further keys. A Parquet or an Arrow file is read with
    the other files of its split, and numbers of classes become their names.

    Raises:
        UserError: the file cannot be read, a row of a .jsonl is no object, a row of a .csv has more fields than its
            header, or two columns have the same name.
    """
    rows = _rows(file)
    for row in rows if kind_of(file) == ".jsonl" else rows[:1]:
        names = [str(key).strip().lower() for key in row]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{file} has several columns {twice[0]!r}")
    return [{str(key).strip().lower(): value for key, value in row.items()} for row in rows]


def _rows(file: Path) -> list[Row]:
    """The rows of a table with its own names of columns."""
    if file.is_dir() or file.suffix in ARROW:
        return arrow_rows([Path(each) for each in files_of(file)])
    kind = kind_of(file)
    if kind in (".json", ".xlsx", ".xls", ".ods", ".xml", ".html"):
        raise UserError(f"{file} is not read as a table: save it as one of {', '.join(EXTENSIONS)}")
    text = read_text(file)
    if kind == ".jsonl":
        return _objects(file, text)
    csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's limit of 128 kB
    try:
        if kind == ".tsv":  # as in GLUE, a quotation mark is an ordinary character
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            separator = separator_of(text.partition("\n")[0])
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows, names = list(reader), [name.strip().lower() for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if kind == ".tsv":
        _tell_quoted(file, rows)
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UserError(f"{file} has several columns {twice[0]!r}")
    for number, row in enumerate(rows, 1):
        if None in row.values():
            raise UserError(f"{file}: row {number} has fewer fields than the header, {', '.join(row)}")
        if None in row:
            raise UserError(f"{file}: row {number} has more fields than the header, {', '.join(list(row)[:-1])}")
    return rows


def _tell_quoted(file: Path, rows: Sequence[Row]) -> None:
    """Warns of a .tsv whose fields seem to be quoted, as those of spreadsheets are."""
    for number, row in enumerate(rows, 1):
        for value in row.values():
            inside = value[1:-1] if isinstance(value, str) and len(value) > 3 and value[0] == value[-1] == '"' else ""
            if '""' in inside and '"' not in inside.replace('""', ""):
                LOGGER.warning(
                    "%s: row %d holds %s: a .tsv is read without quoting, so that each quotation mark belongs to the text; "
                    "if it is quoted, name it .csv (tabs between the columns are found)",
                    file,
                    number,
                    value[:60],
                )
                return


def separator_of(header: str) -> str:
    """What separates the columns of a .csv file: of comma, semicolon, tab and bar, the one that its header has most often."""
    return max(",;\t|", key=header.count)  # the first of those that occur equally often


def _objects(file: Path, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = parsed(line, f"{file}: line {number}")
        if not isinstance(row, dict):
            raise UserError(f"{file}: line {number} holds a {type(row).__name__}, not an object")
        rows.append(row)
    return rows


def parsed(line: str | bytes, place: str) -> Any:
    """The value of a line of a .jsonl file.

    Raises:
        UserError: it is not valid JSON, or a text in it is not Unicode.
    """
    try:
        value = json.loads(line, object_pairs_hook=object_of)
        if "\\u" in str(line):  # only an escape can be half of a character
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place} contains an unpaired surrogate, half of a character") from error
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError too
        raise UserError(f"{place} is not valid JSON: {error}") from error
    return value


def object_of(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object, as `json.loads` makes it with ``object_pairs_hook``.

    Raises:
        ValueError: it has a key twice; Python would keep the last value in silence.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in row if keys.count(key) > 1)!r} occurs twice")
    return row


def column_in(file: Path, rows: Sequence[Row], usual: Sequence[str], what: str) -> str:
    """The first column with a usual name; a warning names the others that have one.

    Args:
        file: the table, for messages.
        rows: its rows.
        usual: usual names, the most usual first.
        what: what the column holds, for messages.

    Raises:
        UserError: no column has a usual name.
    """
    present = [name for name in usual if has_column(rows, name)]
    if not present:
        have = ", ".join(name for name in rows[0] if isinstance(name, str)) if rows else "nothing"
        raise UserError(f"{file} has the columns {have}; a column of {what} is needed: {', '.join(usual)}")
    if len(present) > 1:
        others = ", ".join(map(repr, present[1:]))
        LOGGER.warning("%s: the %s are in the column %r; %s could be meant too", file, what, present[0], others)
    return present[0]


def has_column(rows: Sequence[Row], name: str) -> bool:
    """True if any row has a column."""
    return any(name in row for row in rows)


def text_in(file: Path, number: int, row: Row, column: str) -> str:
    """The text in a column of a row, without spaces around it.

    Args:
        file: the table, for messages.
        number: number of the row, counted from 1, for messages.
        row: the row.
        column: name of the column.

    Raises:
        UserError: there is no value, or it is no text, or empty.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{file}: row {number} has {_shown(value)} in the column {column!r}, where a text belongs")
    return value.strip()


def label_in(file: Path, number: int, row: Row, column: str) -> str:
    """The label in a column of a row, as text: a text, a whole number, or true or false.

    Raises:
        UserError: there is no value, or it is none of these.
    """
    value = row.get(column)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, str | int) and str(value).strip():
        return str(value).strip()
    raise UserError(f"{file}: row {number} has {_shown(value)} in the column {column!r}, where a label belongs")


def _shown(value: Any) -> str:
    """A value as JSON, without its end if it is long."""
    text = json.dumps(value, default=lambda other: f"<{type(other).__name__}>", ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
