"""Pairs of texts in tables: lines with a tab between the two, or rows with a key for each language."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitax.data.arrow_rows import ENDINGS as ARROW
from vitax.data.table_splits import Part
from vitax.data.tables import read_rows
from vitax.data.textfile import kind_of, lines_of, read_text
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    "expected DIR/train.SOURCE and DIR/train.TARGET (such as train.en and train.de; .gz files are read too), the same for "
    "test and, to choose the best checkpoint by, for val; or tables of pairs, FILE or DIR/train and DIR/test: .tsv with "
    "SOURCE<TAB>TARGET in each line, .jsonl or .parquet with a key for each language"
)
TABLES = (".tsv", ".txt", ".jsonl", *ARROW)
# What a header of columns says where it does not have the names of the languages.
HEADING = re.compile(
    "source|target|src|tgt|trg|input|output|text|translation|sentence[12]|english|german|french|spanish|italian|portuguese|"
    "dutch|russian|ukrainian|polish|czech|romanian|turkish|arabic|hindi|chinese|japanese|korean|vietnamese|deutsch|englisch|"
    "französisch|français|anglais|allemand|español|inglés|eng|deu|ger|fra|fre|spa|ita|por|nld|dut|rus|ukr|pol|ces|cze|ron|rum|"
    "tur|ara|hin|zho|chi|jpn|kor|vie|[a-z]{2,3}[-_][a-z]{2,4}"
)
# Codes of languages: two of them are a header if one is a language of the data.
CODE = re.compile("en|de|fr|es|it|pt|nl|ru|uk|pl|cs|ro|tr|ar|hi|zh|ja|ko|vi|sv|fi|da|hu|el|bg|fa|id|th|et|lt|lv")


class Pairs:
    """Pairs of lines in memory.

    Args:
        pairs: the two texts of each.
        origin: the file or the data that they come from.
        numbers: of their lines or rows there, for messages; None = 1, 2, 3, ...
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], origin: str, numbers: Sequence[int] | None = None):
        self.pairs, self.origin, self.numbers = list(pairs), origin, numbers or range(1, len(pairs) + 1)
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> tuple[str, str]:
        return self.pairs[i]

    def of(self, index: Sequence[int]) -> "Pairs":
        """The pairs with some indices."""
        return Pairs([self.pairs[i] for i in index], self.origin, [self.numbers[i] for i in index])

    def name(self, i: int) -> str:  # includes words, so that a changed text has another name
        return f"{self.origin}:{self.numbers[i]} {' = '.join(text[:40] for text in self.pairs[i])!r}"


def pairs_of(file: Path, source: str, target: str) -> Pairs:
    """The pairs of a table, without those with an empty side.

    Raises:
        UserError: it cannot be read, or a row is no pair.
    """
    if kind_of(file) not in TABLES:
        raise UserError(f"{file} is not a table of pairs; {LAYOUT}")
    if kind_of(file) in (".tsv", ".txt"):
        return _of_lines(file, source, target)
    rows = read_rows(file)
    return pairs_in(Part(file, range(1, len(rows) + 1), rows), source, target)


def _kept(file: Path, pairs: Sequence[tuple[int, str, str]]) -> Pairs:
    """The pairs of (number, text, text), without those with an empty side, which are logged.

    Raises:
        UserError: no pair is left.
    """
    kept = [(number, a.strip(), b.strip()) for number, a, b in pairs if a.strip() and b.strip()]
    if len(kept) < len(pairs):
        LOGGER.warning(
            "%s: %s of %s pairs are left out because a side is empty", file, len(pairs) - len(kept), len(pairs)
        )
    if not kept:
        raise UserError(f"{file} holds no pairs; {LAYOUT}")
    return Pairs([(a, b) for _, a, b in kept], str(file), [number for number, _, _ in kept])


def _of_lines(file: Path, source: str, target: str) -> Pairs:
    """The pairs of lines SOURCE<TAB>TARGET; a first line with the two languages is a header, and tells their order.

    Raises:
        UserError: a line has not two fields, or the first one seems to be a header of another kind.
    """
    rows = [line.split("\t") for line in lines_of(read_text(file))]
    if wrong := next((number for number, row in enumerate(rows, 1) if len(row) != 2), 0):
        raise UserError(f"{file}: line {wrong} has {len(rows[wrong - 1])} fields, where SOURCE<TAB>TARGET belongs")
    head = tuple(field.strip().lower() for field in rows[0])
    header = next(
        (names for names in ((source.lower(), target.lower()), ("source", "target")) if sorted(head) == sorted(names)),
        (),
    )
    swapped = bool(header) and head != header
    pairs = [(number, b, a) if swapped else (number, a, b) for number, (a, b) in enumerate(rows, 1)][bool(header) :]
    codes = all(map(CODE.fullmatch, head)) and {source.lower(), target.lower()} & {*head}
    if not header and (codes or all(map(HEADING.fullmatch, head))):
        raise UserError(
            f"{file}: the first line, {', '.join(rows[0])}, seems to be a header, which has to have the names of the languages, "
            f"data.source={source!r} and data.target={target!r}, or source and target; rename or remove it"
        )
    return _kept(file, pairs)


def pairs_in(part: Part, source: str, target: str) -> Pairs:
    """The pairs of rows of a table, with a key for each language, or with an object "translation" of them.

    Raises:
        UserError: a row is no pair, or all have an empty side.
    """
    pairs = []
    for number, row in part.numbered():
        given = row["translation"] if isinstance(row.get("translation"), dict) else row
        row = {str(name).lower(): text for name, text in given.items()}
        if len(row) < len(given):
            raise UserError(f"{part.file}: row {number} has one language twice: {', '.join(map(str, given))}")
        languages = (source.lower(), target.lower())  # as the names of columns
        keys = languages if any(language in row for language in languages) else ("source", "target")
        sides: Any = [row.get(key) for key in keys]
        if none := [key for key, side in zip(keys, sides, strict=True) if key in row and not isinstance(side, str)]:
            raise UserError(f"{part.file}: row {number} has {row[none[0]]!r} as its {none[0]!r}, which is not a text")
        if not all(isinstance(side, str) for side in sides):
            raise UserError(
                f"{part.file}: row {number} has {', '.join(map(str, row))}; texts {source!r} and {target!r} are needed: the "
                "languages are data.source and data.target"
            )
        pairs.append((number, sides[0], sides[1]))
    return _kept(part.file, pairs)
