"""Running text, cut into passages on the fly, for masked words and for language models.

A passage for masked words comes with or without a second passage. An example begins at a line; no passage is prepared
or stored.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vitax.data.passages import Cut, Layout, Passages, Starts, padding
from vitax.data.source import Splits
from vitax.data.texts import TEXTS, held_back
from vitax.data.tokens import NAMES, Vocabulary, from_json, vocabulary
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import TextSpec

LEARN_FROM = 1_000_000  # a tokenizer is trained on evenly spaced lines, fewer than twice this number


def open_texts(
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.05,
) -> Splits:
    """Opens the sources of lines.

    Args:
        name: "text" for your own files; "topics" and "number_lines" are built in.
        path: path of a file or of a folder.
        train, test: prefixes of the names of the files.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the documents that is held back if there are no files for the test.

    Raises:
        UserError: the name is unknown.
    """
    if name not in TEXTS:
        raise UserError(f"data.name={name!r} is not one of {', '.join(TEXTS)}")
    options: Any = dict(path=path, train=train, test_fraction=test_fraction)
    return with_named(lambda test: TEXTS[name](test=test, **options), test, validation)


def passages(*, length: int, sentence_pairs: bool = True, newlines: bool = True, packed: bool = False) -> Layout:
    """The layout of an example.

    Args:
        length: number of tokens, special ones included.
        sentence_pairs: an example is begin, passage, end, second passage, end; in half of the examples the second
            passage follows the first, in the others it is from elsewhere (arXiv:1810.04805, appendix A.2). False = an
            example is one passage.
        newlines: if an example is one passage, lines keep their indentation and end with a newline; False = they are
            joined, as prose.
        packed: if an example is one passage, and its document ends, the next documents follow in the same row: attention
            does not cross from one to another, and places count from the start of each. False = the row is filled up
            with padding.

    Raises:
        ValueError: ``length`` is too short for any passage, or pairs are to be packed.
    """
    if length < 8:
        raise ValueError(f"length={length} is too short for a passage; choose at least 8")
    if packed and sentence_pairs:
        raise ValueError("packed=True is for examples of one passage: set sentence_pairs=False")
    return Layout(length, sentence_pairs, newlines and not sentence_pairs, packed)


def text_spec(vocab: Vocabulary, length: int, pairs: bool = False, truncate: bool = False) -> TextSpec:
    """The spec of texts.

    Args:
        vocab: vocabulary with the special tokens.
        length: number of tokens of a text.
        pairs: an example has two texts.
        truncate: texts that are too long are cut.

    Raises:
        UserError: the tokenizer has no start-of-text or end-of-text token.
    """
    for kind in ("begin", "end"):
        if getattr(vocab, kind) < 0:
            raise UserError(
                f"the tokenizer has no {'start' if kind == 'begin' else 'end'}-of-text token ({', '.join(NAMES[kind])}); choose another, or "
                "leave data.tokenizer empty to train one"
            )
    return TextSpec(length, vocab.size, vocab.pad, vocab.begin, vocab.end, vocab.mask, pairs, truncate)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of passages; see `vitax.pipelines.pipeline.Kind`."""
    length, pairs, _, packed = take(passages)
    vocab = from_json(record["tokenizer"])
    spec = text_spec(vocab, length, pairs)
    row = np.full(length, vocab.pad, np.int32)
    blank = {"tokens": row, "segments": np.zeros(length, np.int32), "next": np.int32(0)}
    blank |= {"documents": np.zeros(length, np.int32)} if packed else {}
    return Reader(spec, {"vocab_size": vocab.size}, lambda example, rng: example, record, blank)


def open_text(take: Take) -> Pipeline:
    """Opens running text; see `vitax.pipelines.pipeline.Kind`.

    Raises:
        UserError: a split has no text.
    """
    layout = take(passages)
    length, _, newlines, _ = layout
    splits: Any = take(validated, take(open_texts), held_back)  # whose sources hold lines, not examples
    # A token has some four bytes: a line that is longer than an example begins several of them. Where a piece has more
    # tokens than an example, training draws its place; a test draws nothing, and its pieces have few bytes.
    size = lambda lines: 2 * length if lines is splits.train else length - 3
    pieces = splits.map(lambda lines: lines.in_pieces(4 * length, size(lines)))
    names = dict(zip(("training", "test", "validation"), pieces.sources(), strict=False))
    for split, lines in names.items():
        if not len(lines):
            raise UserError(f"the {split} split of {splits.origin} holds no text")

    def texts() -> Iterator[str]:
        train: Any = pieces.train
        stride = max(1, len(train) // LEARN_FROM)
        line = train.raw if newlines else train.__getitem__
        return (line(i) for i in range(0, len(train), stride))

    vocab = take(vocabulary, texts)
    passages_of = lambda lines, random: Passages(lines, vocab, layout, random)
    learned = passages_of(pieces.train, True)
    reader = read(take, {"class_names": [], "tokenizer": vocab.to_json()})
    starts = [Starts(lines, split) for split, lines in names.items()]
    return Pipeline(
        Splits(starts[0], starts[1], splits.origin, *starts[2:]),
        Cut({"training": learned}),
        reader._replace(transform=Cut({split: passages_of(lines, False) for split, lines in names.items()})),
        unit="texts",
        about=f"passages of {length} tokens, {padding(learned):.0%} of them padding, from a vocabulary of {vocab.size:,}",
    )


TEXT = Kind((open_texts, validated, passages, vocabulary), open_text, read)
