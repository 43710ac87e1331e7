"""The splits of a table of a user: a column names them, each has a table of its own, or nothing tells them apart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vitax.data.arrow_rows import ENDINGS as ARROW
from vitax.data.arrow_rows import files_of
from vitax.data.tables import EXTENSIONS, TEST, TRAIN, Row, has_column, read_rows, tables_of
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError

SPLITS = ("split", "set", "subset", "partition")  # usual names of the column, in any capitals


class Part(NamedTuple):
    """The rows of one split.

    Attributes:
        file: the table.
        numbers: of each row in its table, from 1, for messages.
        rows: the rows, see `vitax.data.tables.read_rows`.
    """

    file: Path
    numbers: Sequence[int]
    rows: list[Row]

    def numbered(self) -> Iterator[tuple[int, Row]]:
        """(number, row) for each row."""
        return zip(self.numbers, self.rows, strict=True)


def split_parts(path: str, train: str, test: str, layout: str) -> tuple[list[Part], str]:
    """The parts of a table for the training, the test and perhaps the validation, and where they are; or one part.

    There is one part if nothing says which rows are for the test. Otherwise a column says it, or DIR/train.csv and
    DIR/test.csv (or .tsv, .jsonl, ...) do. Without a test, the validation is in its place.

    Args:
        path: the table, or its folder.
        train, test: names of the splits: values of the column, in any capitals, or names of the tables.
        layout: a sentence about what is expected, for messages.

    Raises:
        UserError: there is no table, or a split that was named; or there are splits or tables of which the use is unclear.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {layout}")
    if root.is_dir():
        first, last, between = tables_of(root, train, test)
        if first and last:
            parts = [_whole(file) for file in (first, last, between) if file]
            for part in parts:
                if has_column(part.rows, SPLITS[0]) and len({str(row.get(SPLITS[0])).lower() for row in part.rows}) > 1:
                    raise UserError(
                        f"{part.file} has a column {SPLITS[0]!r}, and there is a table for each split: use one of both"
                    )
            best = f", best checkpoint chosen on {between}" if between else ""
            return parts, f"{first} and {last}{best}"
        root = _only_table(root, first, train, test, layout)
    part = _whole(root)
    column = next((name for name in SPLITS if has_column(part.rows, name)), "")
    if not column:
        if train not in TRAIN or test not in TEST:
            raise UserError(
                f"{root} has no column of splits ({', '.join(SPLITS)}), so that data.train={train!r} and data.test={test!r} have no "
                "meaning"
            )
        return [part], str(root)
    return _by_column(part, column, train, test), f"{root}, split by its column"


def _whole(file: Path) -> Part:
    rows = read_rows(file)
    if not rows:
        raise UserError(f"{file} holds no rows")
    return Part(file, range(1, len(rows) + 1), rows)


def _only_table(folder: Path, first: Path | None, train: str, test: str, layout: str) -> Path:
    """The only table of a folder, which has no tables for both splits.

    Raises:
        UserError: there is none or another one beside it, or a split was named that the folder lacks.
    """
    found = [file for file in sorted(folder.iterdir()) if file.name.lower().endswith(EXTENSIONS) and file.is_file()]
    alone = [file for file in found if file.name.partition(".")[0].lower() not in (*TEST, *VALIDATION)]
    first = first or (alone[0] if alone and train in TRAIN else None)
    own = {first} if not first or first.suffix not in ARROW else {Path(file) for file in files_of(first)}
    others = [file.name for file in found if file not in own]
    if first and test in TEST and not others:
        return first
    if not found and not first:
        raise UserError(f"{folder} holds no table ({', '.join(EXTENSIONS)}); {layout}")
    named = ", ".join(file.name for file in found) or str(first)
    raise UserError(
        f"{folder} holds no {train}.csv and {test}.csv, but {named}: name the splits with data.train and data.test, or one "
        "table with data.path"
    )


def _by_column(part: Part, column: str, train: str, test: str) -> list[Part]:
    """The rows of each split that a column names."""
    groups: dict[str, list[tuple[int, Row]]] = {}
    for number, row in part.numbered():
        value = row.get(column)
        name = "" if value is None else str(value).strip().lower()
        groups.setdefault(name, []).append((number, row))

    def group(name: str, usual: Sequence[str]) -> str:
        wanted = (name.lower(), *(usual if name.lower() in usual else ()))
        return next((each for each in wanted if each in groups), "")

    first, last, between = group(train, TRAIN), group(test, TEST), group(VALIDATION[0], VALIDATION)
    if not last and test.lower() in TEST:
        last = between
    aside = TEST if test.lower() in VALIDATION else ()  # where the validation is opened in the place of the test
    if not first or not last or set(groups) - ({first, last, between, *aside} - {""}):
        counts = Counter({name: len(rows) for name, rows in groups.items()})
        listed = ", ".join(f"{name!r} ({count:,})" for name, count in counts.items())
        raise UserError(
            f"{part.file}: the column {column!r} has {listed}; expected train, test and perhaps val: name them with "
            "data.train and data.test, or rename the column if it is about something else"
        )
    chosen = [first, last, *([between] if between and between != last else [])]
    return [part._replace(numbers=[n for n, _ in groups[k]], rows=[row for _, row in groups[k]]) for k in chosen]
