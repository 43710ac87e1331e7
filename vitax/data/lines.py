"""The lines of texts, by number: of files, which are read on demand, or in memory."""

import copy
import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitax.data.textfile import check_utf8


class Lines:
    """The lines of text files, by number; only their positions are kept in memory (24 bytes per line).

    Args:
        files: paths of UTF-8 files; an empty line ends a document, and so does the end of a file.
        names: names of the files in messages and in the names of examples; None = their paths.

    Attributes:
        document: [n] int32, number of the document of each line; ascending.
    """

    def __init__(self, files: Sequence[str], names: Sequence[str] | None = None):
        self.class_names, self.labels, self.files = (), None, list(files)
        self.names = list(names or files)
        self.maps: dict[int, mmap.mmap] = {}
        indexes = [_index(file, name) for file, name in zip(self.files, self.names, strict=True)]
        first = np.cumsum([0] + [int(d[-1]) + 1 if len(d) else 0 for _, _, d in indexes])
        self.starts, self.ends = (np.concatenate([f[i] for f in indexes]) for i in (0, 1))
        self.last = np.ones(len(self.starts), bool)  # whether an entry is the end of its line
        self.line: np.ndarray | None = None  # the line of each entry, if some lines are in pieces
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
        pieces.line = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        for i, starts in cuts.items():
            place = slice(first[i], first[i] + len(starts))
            pieces.starts[place], pieces.ends[place] = starts, [*starts[1:], self.ends[i]]
            pieces.last[first[i] : first[i] + len(starts) - 1] = False
        return pieces

    def _cuts(self, i: int, size: int) -> list[int]:
        """Positions at which the pieces of a line begin: at a space or, if there is none, between two characters.

        The space begins a piece, because tokenizers join it to the word after it.
        """
        data, place, end, starts = self._map(int(self.file[i])), int(self.starts[i]), int(self.ends[i]), []
        while True:
            starts.append(place)
            if end - place <= size:
                return starts
            cut = data.rfind(b" ", place + 1, place + size)
            if cut < 0:
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
        return f"{self.names[self.file[i]]}@{self.starts[i]}"

    def __getstate__(self) -> dict:  # a memory map cannot be sent to worker processes
        return {**self.__dict__, "maps": {}}


def _index(file: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin, end and document of each line that is not empty; positions are in bytes, documents count from 0."""
    if not Path(file).stat().st_size:
        return (np.zeros(0, np.int64),) * 3
    data = np.memmap(file, np.uint8, mode="r")
    parts, step = ([], 1 << 26)  # one part at a time, because comparing a whole file would fill the memory
    for begin in range(0, len(data), step):
        parts.append(np.flatnonzero(data[begin : begin + step] == 10) + begin)
    ends = np.concatenate(parts)
    check_utf8(name, data, ends)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = ends == starts
    spaced = np.isin(data[np.minimum(starts, len(data) - 1)], (9, 11, 12, 13, 32))
    for i in np.flatnonzero(((ends - starts <= 16) | spaced) & ~blank):  # spaces, or a lone carriage return
        blank[i] = not bytes(data[starts[i] : ends[i]]).decode(errors="replace").strip()
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
