"""Labelled texts or pairs of texts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vitax.data.sentences import LABELLED
from vitax.data.source import Source, Splits, class_counts, folded, reduced, without_classes
from vitax.data.tokens import Vocabulary, check_lengths, counted, from_json, vocabulary
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.pipelines.texts import text_spec


def open_sentences(
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
) -> Splits:
    """Opens the sources of labelled texts.

    Args:
        name: "table" for your own data; "topics" is built in.
        path: path of a table, or of a folder with a table for each split.
        train, test: names of the tables.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of every class that is held back for the test if there is no test table.

    Raises:
        UserError: the name is unknown.
    """
    if name not in LABELLED:
        raise UserError(f"data.name={name!r} is not one of {', '.join(LABELLED)}")
    options: Any = dict(path=path, train=train, test_fraction=test_fraction)
    return with_named(lambda test: LABELLED[name](test=test, **options), test, validation)


def text_length(*, length: int, truncate: bool = True) -> tuple[int, bool]:
    """The largest length of a text, and the treatment of longer ones.

    Args:
        length: number of tokens, special ones included.
        truncate: cut longer texts at their end (in a pair, the longer text) instead of rejecting them.

    Raises:
        ValueError: ``length`` is too short for any text.
    """
    if length < 4:
        raise ValueError(f"length={length} is too short for a text; choose at least 4")
    return length, truncate


class Encoded:
    """A source of token ids; a text that is too long is an unreadable example, unless it may be cut."""

    def __init__(self, source: Source, vocab: Vocabulary, length: int, truncate: bool):
        self.source, self.vocab, self.length, self.truncate = source, vocab, length, truncate
        self.class_names, self.labels = source.class_names, source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        example = self.source[i]
        row = encode_pair(self.vocab, example["texts"], self.length, self.truncate)
        return {**row, "target": example["target"]} if "target" in example else {**row, "label": example["label"]}

    def name(self, i: int) -> str:
        return self.source.name(i)

    def sizes(self) -> np.ndarray:
        """The number of tokens of each text or pair, special ones included, [n] int; at most ``length``."""
        texts = [self.source[i]["texts"] for i in range(len(self.source))]
        parts = np.asarray([len(text) for text in texts])
        counts = counted(self.vocab, (part for text in texts for part in text))
        totals = np.add.reduceat(counts, np.concatenate([[0], np.cumsum(parts)[:-1]]))
        return np.minimum(totals + 1 + parts, self.length)


def encode_pair(
    vocab: Vocabulary,
    texts: tuple[str, ...],
    length: int,
    truncate: bool,
    encode: Callable[[str], list[int]] | None = None,
) -> dict[str, np.ndarray]:
    """The rows of a text or a pair of texts, "tokens" and "segments", each [L] int32.

    The tokens are begin, text, end and, for a pair, the second text and another end. They belong to segment 0, or to
    segment 1 from the second text on; the padding belongs to segment 0.

    Args:
        vocab: the vocabulary.
        texts: a text, or two.
        length: number of tokens L.
        truncate: the longer text is cut until both fit; of two of one length, the second.
        encode: function from a text to its tokens; None = that of the vocabulary.

    Raises:
        ValueError: the texts are too long and must not be cut.
    """
    parts = [(encode or vocab.encode)(text) for text in texts]
    budget = length - 1 - len(parts)
    while sum(map(len, parts)) > budget:
        if not truncate:
            raise ValueError(
                f"{texts[0][:60]!r} has {sum(map(len, parts)) + 1 + len(parts)} tokens, more than data.length={length}"
            )
        longest = max(reversed(parts), key=len)  # of two of one length the second, as in BERT's own code
        del longest[-min(len(longest), max(1, sum(map(len, parts)) - budget if len(parts) == 1 else 1)) :]
    tokens, segments = np.full(length, vocab.pad, np.int32), np.zeros(length, np.int32)
    place = 1
    tokens[0] = vocab.begin
    for number, part in enumerate(parts):
        tokens[place : place + len(part) + 1] = [*part, vocab.end]
        segments[place : place + len(part) + 1] = number
        place += len(part) + 1
    return {"tokens": tokens, "segments": segments}


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of texts or pairs of texts; see `vitax.pipelines.pipeline.Kind`."""
    length, truncate = take(text_length)
    vocab = from_json(record["tokenizer"])
    spec = text_spec(vocab, length, record["pairs"], truncate)
    spec = spec._replace(class_counts=tuple(record.get("class_counts", ())))
    fields = {"vocab_size": vocab.size, "num_classes": len(record["class_names"])}
    row = np.full(length, vocab.pad, np.int32)
    blank = {"tokens": row, "segments": np.zeros(length, np.int32), "label": np.int32(0)}
    return Reader(spec, fields, lambda example, rng: example, record, blank)


def open_labelled(take: Take) -> Pipeline:
    """Opens labelled texts or pairs of texts; see `vitax.pipelines.pipeline.Kind`."""
    splits = take(reduced, take(validated, take(folded, take(without_classes, take(open_sentences)))))
    names = list(splits.train.class_names)
    record = {"class_names": names, "class_counts": class_counts(splits.train)}
    return encoded(take, splits, record, read, f"{len(names)} classes")


def encoded(
    take: Take, splits: Splits, record: dict[str, Any], read: Callable[[Take, dict[str, Any]], Reader], what: str
) -> Pipeline:
    """The pipeline of texts or pairs of texts: they become token ids.

    Args:
        take: see `vitax.pipelines.pipeline.Take`.
        splits: sources of {"texts", "label" or "target"}.
        record: the metadata that the labels or targets need; those of the texts are added.
        read: see `vitax.pipelines.pipeline.Kind`.
        what: the labels or targets, for a person.
    """
    length, truncate = take(text_length)
    all_texts = [" ".join(s[i]["texts"]) for s in splits.sources() for i in range(len(s))]
    vocab = take(vocabulary, lambda: all_texts[: len(splits.train)])
    cut = check_lengths(vocab, all_texts, length, truncate, 0.01, f"texts of {splits.origin}")
    reader = read(take, {**record, "tokenizer": vocab.to_json(), "pairs": len(splits.train[0]["texts"]) > 1})
    return Pipeline(
        splits.map(lambda source: Encoded(source, vocab, length, truncate)),
        reader.transform,
        reader,
        unit="texts",
        about=f"{what}, up to {length} tokens from a vocabulary of {vocab.size:,}{cut}",
    )


FUNCTIONS = (open_sentences, without_classes, folded, validated, reduced, text_length, vocabulary)
SENTENCES = Kind(FUNCTIONS, open_labelled, read)
