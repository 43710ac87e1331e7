"""Running text: documents made of lines, which are read from their files on demand."""

import copy
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.source import Splits
from vitax.data.textfile import check_utf8
from vitax.errors import UserError

LAYOUT = (
    "expected text files with one sentence or paragraph per line and an empty line between documents, as FILE.txt, "
    "as DIR/*.txt, or as DIR/train*.txt and DIR/test*.txt"
)


class Lines:
    """The lines of text files, by number; only their positions are kept in memory (24 bytes per line).

    Args:
        files: paths of UTF-8 files; an empty line ends a document, and so does the end of a file.

    Attributes:
        document: [n] int32, number of the document of each line; ascending.
    """

    def __init__(self, files: Sequence[str]):
        self.class_names, self.labels, self.files = (), None, list(files)
        self.maps: dict[int, mmap.mmap] = {}
        indexes = [_index(file) for file in self.files]
        first = np.cumsum([0] + [int(d[-1]) + 1 if len(d) else 0 for _, _, d in indexes])
        self.starts, self.ends = (np.concatenate([f[i] for f in indexes]) for i in (0, 1))
        self.last = np.ones(len(self.starts), bool)  # whether an entry is the end of its line
        self.file = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(f[0]) for f in indexes])
        self.document = np.concatenate([d + start for (_, _, d), start in zip(indexes, first, strict=False)]).astype(
            np.int32
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> str:
        return self.raw(i).strip()

    def raw(self, i: int) -> str:
        """Line i with its indentation and the newline at its end."""
        data = self._map(int(self.file[i]))[self.starts[i] : self.ends[i]]
        text = data.decode("utf-8").lstrip("\ufeff").rstrip("\r")
        return f"{text}\n" if self.last[i] else text

    def in_pieces(self, limit: int, size: int) -> "Lines":
        """The same text with each line of more than ``limit`` bytes in pieces of up to ``size`` bytes, cut at spaces.

        An example begins at a piece then, and reads on into the next ones, so that no part of a long line is out of
        reach, and none is read whole for each example.
        """
        long = np.flatnonzero(self.ends - self.starts > limit)
        if not len(long):
            return self
        cuts = {int(i): self._cuts(int(i), size) for i in long}
        counts = np.ones(len(self.starts), np.int64)
        counts[long] = [len(cuts[int(i)]) for i in long]
        pieces = copy.copy(self)
        pieces.maps = {}
        pieces.starts, pieces.ends, pieces.file, pieces.document, pieces.last = (
            np.repeat(x, counts) for x in (self.starts, self.ends, self.file, self.document, self.last)
        )
        first = np.cumsum(counts) - counts
        for i, starts in cuts.items():
            place = slice(first[i], first[i] + len(starts))
            pieces.starts[place], pieces.ends[place] = starts, [*starts[1:], self.ends[i]]
            pieces.last[first[i] : first[i] + len(starts) - 1] = False
        return pieces

    def _cuts(self, i: int, size: int) -> list[int]:
        """Positions at which the pieces of a line begin: after a space or, if there is none, between two characters."""
        data, place, end, starts = self._map(int(self.file[i])), int(self.starts[i]), int(self.ends[i]), []
        while True:
            starts.append(place)
            if end - place <= size:
                return starts
            cut = data.rfind(b" ", place + 1, place + size) + 1
            if not cut:
                cut = place + size
                while data[cut] & 0xC0 == 0x80:  # inside a character
                    cut -= 1
            place = cut

    def _map(self, number: int) -> mmap.mmap:
        if number not in self.maps:
            with open(self.files[number], "rb") as stream:
                self.maps[number] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self.maps[number]

    def name(self, i: int) -> str:
        return f"{self.files[self.file[i]]}@{self.starts[i]}"

    def __getstate__(self) -> dict:  # a memory map cannot be sent to worker processes
        return {**self.__dict__, "maps": {}}


def _index(file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin, end and document of each line that is not empty; positions are in bytes, documents count from 0."""
    if not Path(file).stat().st_size:
        return (np.zeros(0, np.int64),) * 3
    data = np.memmap(file, np.uint8, mode="r")
    parts, step = ([], 1 << 26)  # one part at a time, because comparing a whole file would fill the memory
    for begin in range(0, len(data), step):
        parts.append(np.flatnonzero(data[begin : begin + step] == 10) + begin)
    ends = np.concatenate(parts)
    check_utf8(file, data, ends)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = ends == starts
    for i in np.flatnonzero((ends - starts <= 16) & ~blank):  # a few spaces, or a lone carriage return
        blank[i] = not bytes(data[starts[i] : ends[i]]).strip()
    document = np.cumsum(blank)[~blank]
    _, document = np.unique(document, return_inverse=True)
    return starts[~blank], ends[~blank], document


class Memory:
    """The lines of texts that are in memory: a list of documents, each a list of lines."""

    def __init__(self, documents: Sequence[Sequence[str]], origin: str):
        self.class_names, self.labels, self.origin = (), None, origin
        self.lines = [line for document in documents for line in document]
        sizes = [len(document) for document in documents]
        self.document = np.repeat(np.arange(len(documents), dtype=np.int32), sizes)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, i: int) -> str:
        return self.lines[i]

    def raw(self, i: int) -> str:
        """Line i with the newline at its end."""
        return f"{self.lines[i]}\n"

    def in_pieces(self, limit: int, size: int) -> "Memory":
        """Itself: the texts that are built in have short lines."""
        return self

    def name(self, i: int) -> str:
        return f"{self.origin}:{self.lines[i]}"


class Part:
    """Some documents of a text."""

    def __init__(self, whole: Lines | Memory, keep: np.ndarray):
        self.whole, self.class_names, self.labels, self.keep = whole, (), None, keep
        self.index = np.flatnonzero(keep[whole.document])
        self.document = whole.document[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> str:
        return self.whole[int(self.index[i])]

    def raw(self, i: int) -> str:
        """Line i with its indentation and the newline at its end."""
        return self.whole.raw(int(self.index[i]))

    def in_pieces(self, limit: int, size: int) -> "Part":
        """The same documents with long lines in pieces, see `Lines.in_pieces`."""
        return Part(self.whole.in_pieces(limit, size), self.keep)

    def name(self, i: int) -> str:
        return self.whole.name(int(self.index[i]))


def split_documents(whole: Lines | Memory, fraction: float, origin: str) -> Splits:
    """Holds back a share of the documents, at least one; a text of one document is cut in two.

    Raises:
        UserError: ``fraction`` is not in (0, 1), or there are fewer than two lines.
    """
    count = int(whole.document[-1]) + 1 if len(whole) else 0
    if not 0 < fraction < 1:
        raise UserError(f"config.data.test_fraction={fraction} must lie in (0, 1)")
    if count < 2:
        if len(whole) < 2:
            raise UserError(f"{origin} holds {len(whole)} lines, but at least two are needed; {LAYOUT}")
        cut = len(whole) - max(1, round(fraction * len(whole)))
        whole.document = np.where(np.arange(len(whole)) < cut, 0, 1).astype(np.int32)
        count = 2
        held = np.array([False, True])
    else:
        held = np.zeros(count, bool)
        order = np.random.default_rng(0).permutation(count)
        held[order[: min(count - 1, max(1, round(fraction * count)))]] = True
    description = f"{origin}, {int(held.sum())} of {count:,} documents held back for the test"
    return Splits(Part(whole, ~held), Part(whole, held), description)


def text_files(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Opens text files: ``path/train*.txt`` and ``path/test*.txt``, or all .txt files of a folder, or one file.

    Args:
        path: a text file, or a folder with text files.
        train, test: prefixes of the names of the files of each split.
        test_fraction: share of the documents that is held back if there are not files for both splits.

    Raises:
        UserError: ``path`` does not exist or holds no text.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    if root.is_dir():
        parts = [sorted(map(str, root.glob(f"{split}*.txt"))) for split in (train, test)]
        if all(parts):
            train_lines, test_lines = (Lines(files) for files in parts)
            for split, lines in ((train, train_lines), (test, test_lines)):
                if not len(lines):
                    raise UserError(f"the files {split}*.txt of {path} hold no text; {LAYOUT}")
            return Splits(train_lines, test_lines, f"{len(parts[0])} text files of {path}")
        files = sorted(map(str, root.glob("*.txt")))
    else:
        files = [str(root)]
    if not files:
        raise UserError(f"{path} holds no .txt files; {LAYOUT}")
    return split_documents(Lines(files), test_fraction, path)


def topics(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """English prose that comes with Python: the language reference, as ``help()`` shows it; a topic is a document.

    The text differs slightly between versions of Python.

    Args:
        path: must be empty, because the data are built in.
        train, test: not used.
        test_fraction: share of the documents that is held back.

    Raises:
        UserError: a path is given.
    """
    if path:
        raise UserError(f"data.path={path!r} is given but data.name is 'topics', which is built in")
    documents = [sentences(text) for text in topic_texts().values()]
    origin = "the language reference in pydoc_data.topics"
    return split_documents(Memory([d for d in documents if d], origin), test_fraction, origin)


def topic_texts() -> dict[str, str]:
    """The language reference that comes with Python, as {topic: text}."""
    from pydoc_data.topics import topics as found

    return dict(sorted(found.items()))


def sentences(text: str) -> list[str]:
    """The sentences of a text that are prose in paragraphs; code examples, tables and headlines are left out."""
    prose = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if paragraph.startswith("   ") or len(words) < 40 or "::=" in words or not words[0].isalpha():
            continue
        for sentence in words.replace(".  ", ". ").split(". "):
            if len(sentence) > 20:
                prose.append(sentence.rstrip(".") + ".")
    return prose


def number_lines(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Lines such as "217 = two hundred and seventeen", each a document; no number is in both splits.

    Args:
        path: must be empty, because the data are generated.
        train, test: names of the splits.
        test_fraction: not used.

    Raises:
        UserError: a path is given.
    """
    from vitax.data.bitext import number_names

    pairs: Any = number_names(path=path, train=train, test=test, source="digits", target="en")
    parts = [Memory([[f"{a} = {b}"] for a, b in part.pairs], pairs.origin) for part in pairs[:2]]
    return Splits.of(parts, pairs.origin)


TEXTS = {"text": text_files, "topics": topics, "number_lines": number_lines}
