"""Labelled texts or pairs of texts: from a table, or a task made from Python's own documentation."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitax.data.holdout import holdout
from vitax.data.prose import sentences, topic_texts
from vitax.data.source import Splits
from vitax.data.table_splits import Part, split_parts
from vitax.data.tables import LABELS, column_in, has_column, label_in, text_in
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
# Usual names of the columns, in any capitals; the first that a table has is taken.
TEXTS = ("text", "sentence", "sentence1", "text_a", "premise", "question1", "question", "content", "review")
PAIRS = ("text_pair", "sentence2", "text_b", "hypothesis", "question2")
LAYOUT = (
    "expected a .csv, .tsv, .jsonl or .parquet with the columns 'text', 'label' and, for pairs, 'text_pair', as FILE, or "
    "as DIR/train.csv and DIR/test.csv (and DIR/val.csv)"
)


class Sentences:
    """Labelled texts in memory; an example is {"texts": (first,) or (first, second), "label"}.

    ``numbers`` are those of the rows in their table, for names; () = 1, 2, ...
    """

    def __init__(
        self,
        texts: Sequence[tuple[str, ...]],
        labels: np.ndarray,
        names: Sequence[str],
        origin: str,
        numbers: Sequence[int] = (),
    ):
        self.numbers = numbers or range(1, len(texts) + 1)
        self.texts, self.labels = list(texts), np.asarray(labels, np.int32)
        self.class_names, self.origin = tuple(names), origin

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"texts": self.texts[i], "label": self.labels[i]}

    def name(self, i: int) -> str:  # includes words, so that a changed text has another name
        return f"{self.origin}:{self.numbers[i]} {self.texts[i][0][:40]!r}"


def sentence_table(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Opens a table of labelled texts.

    Args:
        path: a table, or its folder.
        train, test: names of the splits, see `vitax.data.table_splits.split_parts`.
        test_fraction: share of every class that is held back for the test if nothing says what is for the test.

    Raises:
        UserError: there is no table, it lacks a column of texts or labels, it has only one class, or the splits do not
            match.
    """
    parts, origin = split_parts(path, train, test, LAYOUT)
    read = [(texts_in(part), _labels(part)) for part in parts]
    names = sorted(set(read[0][1]))
    if len(names) < 2:
        raise UserError(f"{parts[0].file} has only one class, {names[0]!r}, but at least two are needed; {LAYOUT}")
    if len({len(texts[0]) for texts, _ in read}) > 1:
        raise UserError(f"either both or neither of {origin} must have a column 'text_pair'")
    sources = [_sentences(part, *both, names) for part, both in zip(parts, read, strict=True)]
    if len(sources) > 1:
        return Splits(sources[0], sources[1], origin, *sources[2:])
    (whole,) = sources
    held_back = [
        Sentences(
            [whole.texts[i] for i in index], whole.labels[index], names, whole.origin, [whole.numbers[i] for i in index]
        )
        for index in holdout(whole.labels, test_fraction, names=names)
    ]
    return Splits.of(held_back, f"{origin}, {test_fraction:.0%} of every class held back for the test")


def _sentences(part: Part, texts: Sequence[tuple[str, ...]], labels: Sequence[str], names: list[str]) -> Sentences:
    """The texts of some rows, with the numbers of the classes.

    Raises:
        UserError: a row has a class that the training lacks.
    """
    numbers = {name: number for number, name in enumerate(names)}
    if unknown := sorted(set(labels) - set(names)):
        raise UserError(
            f"{part.file} holds classes that the training does not: {', '.join(unknown[:5])}; remove these rows, or add "
            "texts of these classes to the training"
        )
    return Sentences(
        texts, np.asarray([numbers[label] for label in labels], np.int32), names, str(part.file), part.numbers
    )


def texts_in(part: Part) -> list[tuple[str, ...]]:
    """The text, or the pair of texts, in each row of a table.

    Raises:
        UserError: the table has no column of texts, or a value is no text, or empty.
    """
    columns = [column_in(part.file, part.rows, TEXTS, "texts")]
    columns += [name for name in PAIRS if has_column(part.rows, name)][:1]
    return [tuple(text_in(part.file, number, row, column) for column in columns) for number, row in part.numbered()]


def _labels(part: Part) -> list[str]:
    """The label in each row of a table."""
    column = column_in(part.file, part.rows, LABELS, "labels")
    labels = [label_in(part.file, number, row, column) for number, row in part.numbered()]
    if len(distinct := set(labels)) > 10 and all(re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", label) for label in distinct):
        LOGGER.warning(
            "%s has %d different labels, all of them fractions, such as %s: each is taken for a class of its own; numbers to "
            "predict are for task.name=text_regression",
            part.file,
            len(distinct),
            labels[0],
        )
    return labels


def topic_sentences(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Sentences of Python's language reference, labelled with their chapter: the ten with the most sentences.

    Args:
        path: must be empty, because the data are built in.
        train, test: not used.
        test_fraction: share of every class that is held back.

    Raises:
        UserError: a path is given.
    """
    if path:
        raise UserError(f"data.path={path!r} is given but data.name is 'topics', which is built in")
    # A sentence that occurs in several chapters is left out.
    chapters = {name: sentences(text) for name, text in topic_texts().items()}
    places: dict[str, set[str]] = {}
    for name, lines in chapters.items():
        for line in lines:
            places.setdefault(line, set()).add(name)
    unique = {n: sorted({s for s in lines if len(places[s]) == 1}) for n, lines in chapters.items()}
    names = sorted(sorted(unique, key=lambda name: (-len(unique[name]), name))[:10])
    texts = [(line,) for name in names for line in unique[name]]
    labels = np.repeat(np.arange(len(names)), [len(unique[name]) for name in names]).astype(np.int32)
    parts = [
        Sentences([texts[i] for i in indices], labels[indices], names, f"topics/{split}")
        for split, indices in zip(("train", "test"), holdout(labels, test_fraction), strict=True)
    ]
    return Splits.of(parts, "sentences of ten chapters in pydoc_data.topics")


LABELLED = {"table": sentence_table, "topics": topic_sentences}
