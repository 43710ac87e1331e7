"""Texts with their translations."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vitax.data.bitext import open_pairs
from vitax.data.source import Source, Splits
from vitax.data.tokens import Vocabulary, check_lengths, counted, framed, from_json, vocabulary
from vitax.data.validation import validated, with_named
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.pipelines.texts import LEARN_FROM, text_spec


def open_bitext(
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    source: str = "en",
    target: str = "de",
    test_fraction: float = 0.05,
) -> Splits:
    """Opens the sources of pairs.

    Args:
        name: "bitext" for your own files, "number_names", or the name of a TFDS dataset.
        path: path of the folder with the files, or of one table of pairs, or TFDS's data_dir.
        train, test: names of the splits.
        validation: see `vitax.data.validation.validated`.
        source, target: languages, with which the names of the files end.
        test_fraction: share of the pairs that is held back if the data are one table.
    """
    options = dict(path=path, train=train, source=source, target=target, test_fraction=test_fraction)
    return with_named(lambda test: open_pairs(name, test=test, **options), test, validation)


def translation_length(*, length: int, truncate: bool = False) -> tuple[int, bool]:
    """The largest length of a text, and the treatment of longer ones.

    Args:
        length: number of tokens of a source and of a target, special ones included.
        truncate: cut longer texts instead of leaving them out; if they are left out, the run stops when they are more
            than ``max_corrupt`` of the data.

    Raises:
        ValueError: ``length`` is too short for any text.
    """
    if length < 4:
        raise ValueError(f"length={length} is too short for a text; choose at least 4")
    return length, truncate


def target_language(*, target: str = "de") -> str:
    """The language of the translations.

    Args:
        target: its code, such as "de"; BLEU chooses its tokenizer by it.
    """
    return target


class Encoded:
    """A source of token ids; a pair that is too long is an unreadable example, unless it may be cut."""

    def __init__(self, source: Source, vocab: Vocabulary, length: int, truncate: bool):
        self.source, self.vocab, self.length, self.truncate = source, vocab, length, truncate
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        sides = zip(("source", "target"), self.source[i], strict=True)
        return {name: self.encode(text) for name, text in sides}

    def encode(self, text: str) -> np.ndarray:
        return framed(self.vocab, self.vocab.encode(text), self.length, self.truncate, text, self.vocab.pad)

    def name(self, i: int) -> str:
        return self.source.name(i)

    def sizes(self) -> np.ndarray:
        """The number of tokens of the longer side of each pair, special ones included, [n] int; at most ``length``."""
        extra = (self.vocab.begin >= 0) + (self.vocab.end >= 0)
        counts = counted(self.vocab, (text for pair in pairs_of(self.source) for text in pair))
        return np.minimum(counts.reshape(-1, 2).max(axis=1) + extra, self.length)

    def reference(self, i: int) -> str:
        """The translation of example i, as the text in the data."""
        return self.source[i][1]


def pairs_of(source: Source) -> Iterator[tuple[str, str]]:
    """The pairs of a source, in order; two empty texts for a pair that cannot be read."""
    for i in range(len(source)):
        try:
            yield source[i]
        except (ValueError, OSError):
            yield "", ""


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of texts to translate; see `vitax.pipelines.pipeline.Kind`."""
    length, _ = take(translation_length)
    vocab = from_json(record["tokenizer"])
    spec = text_spec(vocab, length)
    row = np.full(length, vocab.pad, np.int32)
    blank = {"source": row, "target": row}
    return Reader(spec, {"vocab_size": vocab.size}, lambda example, rng: example, record, blank)


def open_translation(take: Take) -> Pipeline:
    """Opens texts with their translations; see `vitax.pipelines.pipeline.Kind`."""
    length, truncate = take(translation_length)
    splits = take(validated, take(open_bitext))

    def texts() -> Iterator[str]:
        for i in range(0, len(splits.train), max(1, len(splits.train) // LEARN_FROM)):
            yield from splits.train[i]

    vocab = take(vocabulary, texts)
    remarks = []
    for part, what in zip(splits.sources(), ("training", "test", "validation"), strict=False):
        sample = [text for i in range(min(len(part), 10_000)) for text in part[i]]
        remarks += [check_lengths(vocab, sample, length, truncate, 0.01, f"{what} texts of {splits.origin}")]
    target = take(target_language)
    reader = read(take, {"class_names": [], "tokenizer": vocab.to_json(), "target": target})
    return Pipeline(
        splits.map(lambda part: Encoded(part, vocab, length, truncate)),
        reader.transform,
        reader,
        unit="pairs",
        about=f"up to {length} tokens from a vocabulary of {vocab.size:,}{remarks[0]}",
    )


FUNCTIONS = (open_bitext, validated, translation_length, vocabulary, target_language)
BITEXT = Kind(FUNCTIONS, open_translation, read)
