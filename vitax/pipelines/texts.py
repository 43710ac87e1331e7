"""Running text, cut into passages on the fly, for masked words and for language models.

A passage for masked words comes with or without a second passage. An example begins at a line; no passage is prepared
or stored.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vitax.data.source import Splits
from vitax.data.texts import TEXTS, held_back
from vitax.data.tokens import NAMES, Vocabulary, from_json, vocabulary
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import TextSpec

LEAST = 8  # tokens of a document that are worth a place at the end of a packed row
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


class Layout(NamedTuple):
    """The layout of an example.

    Attributes:
        length: number of tokens, special ones included.
        pairs: an example is two passages.
        newlines: lines keep their indentation and end with a newline.
        packed: a row is filled with further documents.
    """

    length: int
    pairs: bool
    newlines: bool
    packed: bool


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


class Starts:
    """The examples of a text; each line, or each piece of a long line, begins one."""

    def __init__(self, lines: Any, split: str):
        self.lines, self.split, self.class_names, self.labels = lines, split, (), None

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"line": np.int64(i), "split": self.split}

    def name(self, i: int) -> str:
        return self.lines.name(i)


class Passages:
    """Passages of a text: a line and a generator to {"tokens" and "segments", each [L] int32, "next" int32}.

    "next" is 1 if the second passage is from elsewhere. A packed example has "documents" [L] int32 too: the number of the
    document of each token, from 1; 0 = padding.

    Args:
        lines: lines of the text.
        vocab: vocabulary that encodes them.
        layout: see `passages`.
        random: draw from the given rng; False = for tests, draws depend on the line alone.
    """

    def __init__(self, lines: Any, vocab: Vocabulary, layout: Layout, random: bool):
        self.lines, self.vocab, self.random = lines, vocab, random
        self.length, self.pairs, self.newlines, self.packed = layout

    def __call__(self, line: int, rng: np.random.Generator) -> dict[str, Any]:
        rng = rng if self.random else np.random.default_rng(line)
        if not self.pairs:
            return self._single(line, rng)
        budget = self.length - 3
        parts = self._around(line, budget)
        if len(parts) == 1 and len(parts[0]) > 1:  # a paragraph or a document of one line is cut at a random place
            ids = _window(parts[0], budget, rng)
            middle = int(rng.integers(1, len(ids)))
            parts = [ids[:middle], ids[middle:]]
        cut = int(rng.integers(1, len(parts))) if len(parts) > 1 else 1
        first, second = _joined(parts[:cut]), _joined(parts[cut:])
        elsewhere = len(parts) == 1 or rng.random() < 0.5
        if elsewhere:
            other_line = self._other(line, rng)
            second = _joined(self._forward(other_line, max(1, budget - len(first))))
        first, second = _fit(first, second, budget, rng)
        begin, end = [self.vocab.begin], [self.vocab.end]
        ids = begin + first + end + second + end
        segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return self._filled(ids, segments, elsewhere)

    def _single(self, line: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """A passage of begin, the lines from ``line`` on and, if the document ends before it is full, end."""
        parts = self._forward(line, self.length - 1)
        if len(parts[0]) > self.length - 1:
            ids = [self.vocab.begin, *_window(parts[0], self.length - 1, rng)]
            row = self._filled(ids, [0] * len(ids), False)
            return row | ({"documents": np.ones(self.length, np.int32)} if self.packed else {})
        ids = [self.vocab.begin, *_joined(parts)]
        last = line + len(parts) - 1
        ids = [*ids, self.vocab.end] if self._ends(last) else ids
        if self.packed:
            return self._packed(ids, last)
        return self._filled(ids[: self.length], [0] * min(len(ids), self.length), False)

    def _ends(self, line: int) -> bool:
        """Whether a line is the last one of its document."""
        return line + 1 == len(self.lines) or self.lines.document[line + 1] != self.lines.document[line]

    def _packed(self, ids: list[int], last: int) -> dict[str, Any]:
        """A row of a passage that ends at the line ``last``, and of the documents after it, as far as they fit."""
        documents, number = [1] * len(ids), 1
        while len(ids) + LEAST <= self.length and self._ends(last) and last + 1 < len(self.lines):
            parts = self._forward(last + 1, self.length - len(ids) - 1)
            last, number = last + len(parts), number + 1
            more = [self.vocab.begin, *_joined(parts), *([self.vocab.end] if self._ends(last) else [])]
            ids, documents = ids + more, documents + [number] * len(more)
        row = self._filled(ids[: self.length], [0] * min(len(ids), self.length), False)
        row["documents"] = np.zeros(self.length, np.int32)
        row["documents"][: len(documents)] = documents[: self.length]
        return row

    def _filled(self, ids: list[int], segments: list[int], elsewhere: bool) -> dict[str, Any]:
        tokens, kinds = (np.full(self.length, self.vocab.pad, np.int32), np.zeros(self.length, np.int32))
        tokens[: len(ids)], kinds[: len(ids)] = ids, segments
        return {"tokens": tokens, "segments": kinds, "next": np.int32(elsewhere)}

    def _forward(self, line: int, budget: int) -> list[list[int]]:
        """Token ids of a line and of the lines after it in its document, until there are ``budget`` or more."""
        parts, total = [], 0
        document = self.lines.document[line]
        while line < len(self.lines) and self.lines.document[line] == document and total < budget:
            parts.append(self.vocab.encode(self.lines.raw(line) if self.newlines else self.lines[line]))
            total, line = total + len(parts[-1]), line + 1
        return parts

    def _around(self, line: int, budget: int) -> list[list[int]]:
        """Token ids as in `_forward`; if the document ends too early, the lines before it are added."""
        parts = self._forward(line, budget)
        total, document = sum(map(len, parts)), self.lines.document[line]
        while total < budget and line and self.lines.document[line - 1] == document:
            line -= 1
            parts.insert(0, self.vocab.encode(self.lines[line]))
            total += len(parts[0])
        return parts

    def _other(self, line: int, rng: np.random.Generator) -> int:
        """A random line, of another document if ten tries find one."""
        for _ in range(10):
            candidate = int(rng.integers(len(self.lines)))
            if self.lines.document[candidate] != self.lines.document[line]:
                break
        return candidate


class Cut:
    """Transform of {"line", "split"} to the passage that begins at the line.

    Args:
        passages: {split: its passages}.
    """

    def __init__(self, passages: Mapping[str, Passages]):
        self.passages = passages

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return self.passages[example["split"]](int(example["line"]), rng)


def _window(ids: list[int], size: int, rng: np.random.Generator) -> list[int]:
    """``size`` consecutive tokens, from a random place on; all tokens if there are not more."""
    if len(ids) <= size:
        return ids
    start = int(rng.integers(len(ids) - size + 1))
    return ids[start : start + size]


def _joined(parts: list[list[int]]) -> list[int]:
    return [token for part in parts for token in part]


def _fit(first: list[int], second: list[int], budget: int, rng: np.random.Generator):
    """Cuts tokens from the longer passage, at a random end each time, until both fit in ``budget``."""
    first, second = first[:budget], second[:budget]
    while len(first) + len(second) > budget:
        longer = first if len(first) > len(second) else second
        longer.pop(0 if rng.random() < 0.5 else -1)
    return first, second


def text_spec(vocab: Vocabulary, length: int, pairs: bool = False, truncate: bool = False) -> TextSpec:
    """The spec of texts.

    Args:
        vocab: vocabulary with the special tokens.
        length: number of tokens of a text.
        pairs: an example has two texts.
        truncate: texts that are too long are cut.

    Raises:
        UserError: the tokenizer has no token for the begin or the end of a text.
    """
    for kind in ("begin", "end"):
        if getattr(vocab, kind) < 0:
            raise UserError(
                f"the tokenizer has no token for the {kind} of a text ({', '.join(NAMES[kind])}); choose another, or "
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


def padding(passages: Passages, sample: int = 200) -> float:
    """The share of padding in some examples, spread over a text, 0..1."""
    lines = np.unique(np.linspace(0, len(passages.lines) - 1, sample).astype(int))
    rows = [passages(int(line), np.random.default_rng(0))["tokens"] for line in lines]
    return float((np.stack(rows) == passages.vocab.pad).mean())


TEXT = Kind((open_texts, validated, passages, vocabulary), open_text, read)
