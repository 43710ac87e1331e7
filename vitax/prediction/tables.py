"""Tables of predictions: .csv, .jsonl or .parquet, which appear whole; what is done is kept, so that a stop loses nothing."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vitax.errors import UserError
from vitax.lock import locked

ENDINGS = (".csv", ".jsonl", ".parquet")
Row = dict[str, Any]


def is_table(path: str) -> bool:
    """True if a path has the ending of a table."""
    return Path(path).suffix.lower() in ENDINGS


class Journal:
    """The rows of a table that is being made, on disk: a line of what is made, and a line for each row.

    Args:
        table: path of the table.
        about: what makes the rows: run, checkpoint, options. Rows of something else are not continued.

    Raises:
        UserError: the table exists already, another process writes it, or the rows that are there were made by something
            else.
    """

    def __init__(self, table: Path, about: dict[str, Any]):
        self.table, self.path, self.rows = table, table.with_name(f"{table.name}.partial"), []
        if table.exists():
            raise UserError(f"{table} exists already: delete it, or name another file")
        self.about = json.loads(json.dumps(about))
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            begun = self.path.exists()
            self.file = self.path.open("a", encoding="utf-8")
            if not locked(self.file.fileno(), self.path):
                self.file.close()
                raise UserError(f"{self.path} is being written by another process: wait for it, or name another file")
            if begun:
                self.rows = self._read()
            if not begun or not self.path.stat().st_size:
                self._write(self.about)
        except OSError as error:
            raise UserError(f"{table} cannot be written: {error}") from error

    def _read(self) -> list[Row]:
        # A process that was killed in the middle of a line has left no end of that line, which is cut off.
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        with self.path.open("r+b") as file:
            file.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.decode().splitlines()]
        except ValueError as error:
            self.file.close()
            raise UserError(f"{self.path} is damaged ({error}): delete it, or name another file") from error
        if lines and lines[0] != self.about:
            self.file.close()
            raise UserError(
                f"{self.path} holds rows of {lines[0]}, not of {self.about}: delete it, or name another file"
            )
        return lines[1:]

    def _write(self, line: Row) -> None:
        self.file.write(json.dumps(line) + "\n")  # ASCII, because the name of a file may not be valid text
        self.file.flush()

    def add(self, row: Row) -> None:
        """Keeps a row."""
        self.rows.append(row)
        self._write(row)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def finish(self) -> None:
        """Writes the table, and removes what was kept on the way.

        Raises:
            UserError: the table cannot be written.
        """
        self.file.close()
        write_table(self.table, self.rows)
        self.path.unlink()


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows as a .csv, .jsonl or .parquet file, which appears whole.

    In a .csv file, the classes after the first are columns label_2, probability_2, ..., and what has parts of its own is
    JSON.

    Raises:
        UserError: the file cannot be written, or pyarrow is not installed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        if path.suffix.lower() == ".parquet":
            _write_parquet(temporary, rows)
        elif path.suffix.lower() == ".jsonl":
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        else:
            text = _csv([_flat(row) for row in rows])
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        temporary.replace(path)
    except (OSError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error}") from error


def _columns(rows: Iterable[Row]) -> list[str]:
    """The keys of all rows, in the order in which they appear; errors come last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if name != "error"] + ["error"] * ("error" in names)


def _flat(row: Row) -> Row:
    top = row.get("top")
    if not isinstance(top, list):  # a number to predict may have that name
        top = ()
    flat = {key: value for key, value in row.items() if key != "top" or value is not top}
    shown = 1 if "label" in row else 0  # the first is in columns of its own, unless there may be several labels
    for number, other in enumerate(top[shown:], 1 + shown):
        flat |= {f"{key}_{number}": value for key, value in other.items()}
    return {key: json.dumps(x, ensure_ascii=False) if isinstance(x, list | dict) else x for key, x in flat.items()}


def _csv(rows: Sequence[Row]) -> str:
    columns, lines = _columns(rows), []
    for row in ({name: name for name in columns}, *rows):
        line = io.StringIO(newline="")
        # Before Python 3.13, a "\r" in a text is put in quotation marks only if it may end a line.
        csv.DictWriter(line, columns, restval="", lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError('a .parquet file needs pyarrow: pip install "vitax[parquet]"') from error
    text = lambda value: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
    table = {name: [text(row.get(name)) for row in rows] for name in _columns(rows)}
    parquet.write_table(pa.table(table), path)
