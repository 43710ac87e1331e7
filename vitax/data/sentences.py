"""Labelled texts or pairs of texts: from a table, or a task made from Python's own documentation."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.holdout import holdout
from vitax.data.prose import sentences, topic_texts
from vitax.data.source import Splits
from vitax.data.tables import LABELS, column_in, has_column, label_in, read_rows, tables_of, text_in
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
    """Labelled texts in memory; an example is {"texts": (first,) or (first, second), "label"}."""

    def __init__(self, texts: Sequence[tuple[str, ...]], labels: np.ndarray, names: Sequence[str], origin: str):
        self.texts, self.labels = list(texts), np.asarray(labels, np.int32)
        self.class_names, self.origin = tuple(names), origin

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"texts": self.texts[i], "label": self.labels[i]}

    def name(self, i: int) -> str:  # includes words, so that a changed text has another name
        return f"{self.origin}:{i + 1} {self.texts[i][0][:40]!r}"


def sentence_table(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Opens a table of labelled texts.

    Args:
        path: a table, or a folder with a table for each split.
        train, test: names of the tables in the folder, without extension.
        test_fraction: share of every class that is held back for the test if there is no test table.

    Raises:
        UserError: there is no table, it lacks the column "text" or "label", it has only one class, or the tables of
            the two splits do not match.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    train_file, test_file, validation_file = tables_of(root, train, test) if root.is_dir() else (root, None, None)
    if train_file is None:
        raise UserError(f"{path} holds no {train}.csv, .tsv, .jsonl or .parquet; {LAYOUT}")
    texts, labels = _read(train_file)
    names = sorted(set(labels))
    if len(names) < 2:
        raise UserError(f"{train_file} has only one class, {names[0]!r}, but at least two are needed; {LAYOUT}")
    learned = _sentences(train_file, texts, labels, names)
    if test_file is None:
        keep, held = holdout(learned.labels, test_fraction, names=names)
        splits = Splits.of(
            (
                Sentences([texts[i] for i in index], learned.labels[index], names, str(train_file))
                for index in (keep, held)
            ),
            f"{train_file}, {test_fraction:.0%} of every class held back for the test",
        )
    else:
        splits = Splits(learned, _matching(test_file, learned), f"{train_file} and {test_file}")
    if validation_file is None:
        return splits
    return splits._replace(
        validation=_matching(validation_file, learned), origin=f"{splits.origin}, the best by {validation_file}"
    )


def _sentences(file: Path, texts: Sequence[tuple[str, ...]], labels: Sequence[str], names: Sequence[str]) -> Sentences:
    numbers = {name: number for number, name in enumerate(names)}
    return Sentences(texts, np.asarray([numbers[label] for label in labels], np.int32), names, str(file))


def _matching(file: Path, learned: Sentences) -> Sentences:
    """The texts of another table, with the classes of the training split.

    Raises:
        UserError: it has other classes, or only one of the tables has pairs of texts.
    """
    texts, labels = _read(file)
    if unknown := sorted(set(labels) - set(learned.class_names)):
        raise UserError(
            f"{file} holds classes that {learned.origin} does not: {', '.join(unknown[:5])}; "
            "remove these rows, or add texts of these classes to the training table"
        )
    if len(learned.texts[0]) != len(texts[0]):
        raise UserError(f"either both or neither of {learned.origin} and {file} must have a column 'text_pair'")
    return _sentences(file, texts, labels, learned.class_names)


def _read(file: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    rows = read_rows(file)
    if not rows:
        raise UserError(f"{file} holds no rows; {LAYOUT}")
    columns = [column_in(file, rows, TEXTS, "texts")]
    columns += [name for name in PAIRS if has_column(rows, name)][:1]
    label = column_in(file, rows, LABELS, "labels")
    texts = [tuple(text_in(file, n, row, column) for column in columns) for n, row in enumerate(rows, 1)]
    labels = [label_in(file, n, row, label) for n, row in enumerate(rows, 1)]
    if len(distinct := set(labels)) > 10 and all(re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", label) for label in distinct):
        LOGGER.warning(
            "%s has %d different labels, all of them fractions, such as %s: each is taken for a class of its own",
            file,
            len(distinct),
            labels[0],
        )
    return texts, labels


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
