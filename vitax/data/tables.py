"""Tables of a user: .csv, .tsv and .jsonl files."""

import csv
import json
from pathlib import Path

from vitax.errors import UserError

EXTENSIONS = (".csv", ".tsv", ".jsonl")


def table_of(folder: Path, split: str) -> Path | None:
    """The table of a split in a folder, or None if there is no such table."""
    files = (folder / f"{split}{extension}" for extension in EXTENSIONS)
    return next((file for file in files if file.is_file()), None)


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a .csv, .tsv or .jsonl file, each as {column: text}.

    Raises:
        UserError: the file cannot be read, or a row does not have the same columns as the first.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte order mark
            if file.suffix == ".jsonl":
                rows = [json.loads(line) for line in stream if line.strip()]
            elif file.suffix == ".tsv":  # as in GLUE, a quotation mark is an ordinary character
                rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
            else:
                rows = list(csv.DictReader(stream, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    table = bool(rows) and isinstance(rows[0], dict)
    columns = [name for name in rows[0] if name is not None] if table else []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or [*row] != columns or None in row.values():
            expected = ", ".join(columns) or "of a table"
            raise UserError(f"{file}: row {number + 1} does not have the columns {expected}, each once")
    return rows
