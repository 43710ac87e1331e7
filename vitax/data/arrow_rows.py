"""Rows of Arrow and Parquet files, each of which is read at its place.

Arrow files are mapped into memory. A Parquet file is compressed in groups of rows, so that one row cannot be read without
its group: its columns are copied to an Arrow file in the user's cache, once.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitax.data.cached_copy import cached_copy
from vitax.errors import UserError

ENDINGS = (".parquet", ".arrow")
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of a stream
BATCH = 256  # rows of a Parquet file that are in memory at once, while it is copied


class ArrowRows:
    """The rows of some files, in the order of the files.

    Args:
        files: .parquet and .arrow files with the same columns.
        columns: the columns to read.

    Raises:
        UserError: a file cannot be read, lacks a column, or pyarrow is not installed.
    """

    def __init__(self, files: Sequence[str], columns: Sequence[str]):
        self.names = list(files)
        self.files = [_mapped(file, columns) for file in files]
        self.columns = tuple(columns)
        self.opened: Any = None
        self.first = [0]
        for file in self.files:
            self.first.append(self.first[-1] + _open(file).num_rows)

    def __len__(self) -> int:
        return self.first[-1]

    def column(self, name: str) -> list[Any]:
        """All values of a column; for small ones, such as labels."""
        return self._table()[name].to_pylist()

    def value(self, i: int, name: str) -> Any:
        """The value of a column in row i."""
        return self._table()[name][i].as_py()

    def _table(self) -> Any:
        if self.opened is None:
            import pyarrow as pa

            tables = []
            for name, file in zip(self.names, self.files, strict=True):
                with _explained(name):
                    tables.append(_open(file).select(list(self.columns)))
            with _explained(self.names[0]):
                self.opened = pa.concat_tables(tables)
        return self.opened

    def __getstate__(self) -> dict:  # a memory map cannot be sent to worker processes
        return {**self.__dict__, "opened": None}


def arrow_rows(files: Sequence[Path]) -> list[dict[str, Any]]:
    """All rows of some files, in memory; numbers of classes become their names, if the schema has them.

    Raises:
        UserError: a file cannot be read, or pyarrow is not installed.
    """
    rows: list[dict[str, Any]] = []
    for file in map(str, files):
        try:
            with _explained(file):
                import pyarrow.parquet

                table = pyarrow.parquet.read_table(file) if file.endswith(".parquet") else _open(file)
                names = {column: names_of(table.schema, column) for column in table.column_names}
                read = table.to_pylist()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error}") from error
        for number, row in enumerate(read, 1):
            for column, known in names.items():
                if known:
                    row[column] = named(row[column], known, f"{file}: row {number}", column)
            rows.append(row)
    return rows


def named(value: Any, names: Sequence[str], where: str, column: str) -> Any:
    """The name of a class for its number, or the names for a list of numbers.

    Raises:
        UserError: a number is that of no class.
    """
    if isinstance(value, list):
        return [named(one, names, where, column) for one in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        hint = " (-1 stands for a hidden one: choose another split)" if value == -1 else ""
        raise UserError(f"{where} has {value} in the column {column!r}, and there are {len(names)} classes{hint}")
    return names[value]


def names_of(schema: Any, column: str) -> tuple[str, ...]:
    """The names of the classes in a column of numbers, or of lists of numbers, that ``datasets`` recorded; () = none."""
    about = features_of(schema).get(column)
    while isinstance(about, dict | list):
        about = about[0] if isinstance(about, list) and about else about
        if isinstance(about, dict) and about.get("names"):
            return tuple(map(str, about["names"]))
        about = about.get("feature") if isinstance(about, dict) else None
    return ()


def files_of(first: Path) -> list[str]:
    """The files of a split, in order: those of a folder, or those of the set to which a file belongs.

    Raises:
        UserError: one of them is not there.
    """
    if first.is_dir():
        return ordered(
            [path for path in first.iterdir() if path.suffix in ENDINGS and not path.name.startswith("cache-")]
        )
    if (first.parent / "state.json").is_file():
        return ordered(sorted(first.parent.glob("*.arrow")))
    if matched := re.fullmatch(r"(.*-)\d{5}(-of-\d{5}.*)", first.name):
        return ordered([path for path in first.parent.iterdir() if path.name.startswith(matched[1])])
    return [str(first)]


def ordered(files: Sequence[Path]) -> list[str]:
    """The files of one split in the order that a state.json of ``datasets`` records, or in that of their names.

    Raises:
        UserError: the state.json cannot be read; or a file that it lists, or that the names count, is not there.
    """
    state = files[0].parent / "state.json"
    if state.is_file():
        try:
            listed = [entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{state} does not list the files of its dataset: {error}") from error
        if missing := [name for name in listed if not (state.parent / name).is_file()]:
            raise UserError(f"{state} lists {missing[0]}, which is not there")
        return [str(state.parent / name) for name in listed]
    found = sorted(map(str, files))
    check_complete(found)
    return found


def check_complete(files: Sequence[str]) -> None:
    """Refuses a part of a set of files.

    Raises:
        UserError: the names count other files, as NAME-00000-of-00002.parquet does.
    """
    counts = {int(matched[1]) for file in files if (matched := re.search(r"-\d{5}-of-(\d{5})[.-]", file))}
    if counts and counts != {len(files)}:
        raise UserError(f"{files[0]} is one of {max(counts)} files, and {len(files)} are there: fetch the others")


def schema_of(file: str) -> Any:
    """The schema of a .parquet or .arrow file.

    Raises:
        UserError: it cannot be read, or pyarrow is not installed.
    """
    with _explained(file):
        import pyarrow.parquet

        return pyarrow.parquet.read_schema(file) if file.endswith(".parquet") else _open(file).schema


def features_of(schema: Any) -> dict[str, Any]:
    """What Hugging Face's ``datasets`` records of the columns: {column: its type with names of classes}; {} = nothing."""
    recorded = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        return json.loads(recorded).get("info", {}).get("features") or {}
    except (ValueError, AttributeError):
        return {}


def _open(file: str) -> Any:
    """An Arrow file, of either kind, as a table whose columns lie in the file."""
    with _explained(file):
        import pyarrow as pa

        source = pa.memory_map(file)
        if source.read(6) == b"ARROW1":
            return pa.ipc.open_file(source).read_all()
        source.seek(max(0, source.size() - len(END)))
        if source.read() != END:  # otherwise a file that is cut off between two batches would be a shorter one
            raise pa.ArrowInvalid("it ends before its end, or is not an Arrow file")
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def _mapped(file: str, columns: Sequence[str]) -> str:
    """The path of a file that can be mapped: the file itself, or the copy of a Parquet file in the cache."""
    if not file.endswith(".parquet"):
        return file
    return cached_copy(file, f"columns {list(columns)}", ".arrow", lambda path: _copy(file, columns, path))


def _copy(file: str, columns: Sequence[str], to: Path) -> None:
    with _explained(file):
        import pyarrow as pa
        import pyarrow.parquet

        source = pyarrow.parquet.ParquetFile(file, memory_map=True)
        if missing := set(columns) - set(source.schema_arrow.names):
            raise UserError(f"{file} has no column {', '.join(sorted(missing))}, which other files have")
        schema = pa.schema([source.schema_arrow.field(name) for name in columns])
        with pa.OSFile(str(to), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in source.iter_batches(BATCH, columns=list(columns)):
                writer.write_batch(batch.select(list(columns)))
        if (written := _open(str(to)).num_rows) != source.metadata.num_rows:
            raise UserError(f"{file} has {source.metadata.num_rows:,} rows, and its copy {written:,}")


@contextlib.contextmanager
def _explained(file: str):
    """Turns what pyarrow raises into a sentence."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError(f'{file} needs pyarrow: pip install "vitax[parquet]"') from error
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, KeyError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
