"""Passages of running text, cut on the fly: one or two in an example, or several documents packed into a row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vitax.data.tokens import Vocabulary

LEAST = 8  # tokens of a document that are worth a place at the end of a packed row


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


def padding(passages: Passages, sample: int = 200) -> float:
    """The share of padding in some examples, spread over a text, 0..1."""
    lines = np.unique(np.linspace(0, len(passages.lines) - 1, sample).astype(int))
    rows = [passages(int(line), np.random.default_rng(0))["tokens"] for line in lines]
    return float((np.stack(rows) == passages.vocab.pad).mean())
