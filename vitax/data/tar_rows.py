"""Rows of many tar files, whose places are kept in the user's cache: 40,000 files with 400 million pairs open within seconds.

Reading the headers takes some 0.2 ms for each pair, which is a day for hundreds of millions. They are read once, into an
Arrow file for each tar file, which is mapped into memory when one of its rows is asked for. What opening needs, the number of
rows in each tar file, is in one small file for all of them.
"""

import contextlib
import copy
import functools
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data import remote, urls
from vitax.data.cached_copy import cache_folder
from vitax.data.decode import EXTENSIONS
from vitax.data.tar_index import Members, members
from vitax.errors import UserError

RULES = 4  # version of the rules by which members are paired; indices of older rules are not used
MAPPED = 256  # indices that are mapped at the same time; each is an open file
COLUMNS = ("image", "image_size", "caption", "caption_size", "label")


class Row(NamedTuple):
    """An example in a tar file.

    Attributes:
        file: path of the tar file.
        key: name that its members share.
        image: offset and size of the image in bytes; the offset is -1 if there is none.
        caption: the same of the caption.
        label: number of its class; -1 = none.
    """

    file: str
    key: str
    image: tuple[int, int]
    caption: tuple[int, int]
    label: int


class Index(NamedTuple):
    """The index of a tar file.

    Attributes:
        keys: Arrow array of the names of its examples, in order.
        places: {column: [n] int64}, see COLUMNS.
        aside: numbers of members that belong to no example, by their extension.
        whole: False if the tar file is truncated.
    """

    keys: Any
    places: dict[str, np.ndarray]
    aside: Counter[str]
    whole: bool


class TarRows:
    """The examples of many tar files that have an image or a caption, or those that have a label.

    Args:
        files: paths or URLs of the tar files.
        labelled: take the examples with a label, which may lack an image; otherwise those with an image or a caption.

    Raises:
        UserError: a file cannot be read as a tar file, or holds two members of a kind for one example.
    """

    def __init__(self, files: Sequence[str], labelled: bool):
        self.files, self.labelled = list(files), labelled
        self.states = [_state(file) for file in self.files]
        self.aside: Counter[str] = Counter()
        self.ends = np.cumsum(self._counts(), dtype=np.int64)
        self.first, self.last = 0, int(self.ends[-1]) if files else 0

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, i: int) -> Row:
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        i += self.first
        number = int(np.searchsorted(self.ends, i, side="right"))
        index, chosen = self._index(number)
        row = int(chosen[i - int(self.ends[number] - len(chosen))])
        image, image_size, caption, caption_size, label = (int(index.places[name][row]) for name in COLUMNS)
        return Row(self.files[number], index.keys[row].as_py(), (image, image_size), (caption, caption_size), label)

    def labels(self) -> np.ndarray:
        """The numbers of the classes of all rows, [n] int32."""
        parts = [index.places["label"][chosen] for index, chosen in map(self._index, range(len(self.files)))]
        return np.concatenate([np.zeros(0, np.int64), *parts])[self.first : self.last].astype(np.int32)

    def part(self, first: int, last: int) -> "TarRows":
        """The rows first..last-1 of these."""
        part = copy.copy(self)
        part.first, part.last = self.first + first, self.first + last
        return part

    def _index(self, number: int) -> tuple[Index, np.ndarray]:
        return _mapped(self.files[number], self.states[number], self.labelled)

    def _counts(self) -> list[int]:
        """The number of rows in each file; what belongs to no row is added to ``aside``."""
        digest = hashlib.blake2b(digest_size=16)
        for state in self.states:
            digest.update(os.fsencode(state) + b"\0")
        place = _cache(f"{digest.hexdigest()}-{'labels' if self.labelled else 'pairs'}.json")
        with contextlib.suppress(OSError, ValueError, KeyError):
            about = json.loads(place.read_text(encoding="utf-8"))
            self.aside.update(about["aside"])
            return about["counts"]
        counts, whole = [], True
        for number in range(len(self.files)):
            index, chosen = self._index(number)
            counts.append(len(chosen))
            whole = whole and index.whole
            self.aside.update(index.aside)
            self.aside.update(self._left_out(index))
        if whole:  # a truncated file is told each time
            _write(place, lambda path: path.write_text(json.dumps({"counts": counts, "aside": self.aside}), "utf-8"))
        return counts

    def _left_out(self, index: Index) -> Counter[str]:
        """What an index holds besides the rows that are asked for."""
        image, caption, label = (index.places[name] >= 0 for name in ("image", "caption", "label"))
        found = {".txt": caption, "image without .cls": image & ~label} if self.labelled else {".cls": label}
        return Counter({kind: int(which.sum()) for kind, which in found.items() if which.any()})


@functools.lru_cache(MAPPED)
def _mapped(file: str, state: str, labelled: bool) -> tuple[Index, np.ndarray]:
    """The index of a tar file in a given state, and which of its examples are asked for, [n] int64.

    Raises:
        UserError: the file has changed since it was opened.
    """
    index = indexed(file, state)
    image, caption, label = (index.places[name] >= 0 for name in ("image", "caption", "label"))
    return index, np.flatnonzero(label if labelled else image | caption)


def indexed(file: str, state: str) -> Index:
    """The index of a tar file: the one that is kept or, where there is none, a new one from its headers.

    Args:
        file: path or URL of the file.
        state: its name, size and time of change, see `_state`.

    Raises:
        UserError: it cannot be read as a tar file, holds two members of a kind for one example, or has changed.
    """
    import pyarrow as pa

    place = _cache(f"{hashlib.blake2b(os.fsencode(state), digest_size=16).hexdigest()}.arrow")
    with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowInvalid):
        return _opened(pa.ipc.open_file(pa.memory_map(str(place))).read_all(), whole=True)
    if _state(file) != state:
        raise UserError(f"{file} has changed since this run opened it; start again")
    aside: Counter[str] = Counter()
    found, whole = members(remote.near(file), aside)
    table = _table(found, aside)
    if whole:
        _write(place, lambda path: _write_table(path, table))
    return _opened(table, whole)


def _opened(table: Any, whole: bool) -> Index:
    """The index in an Arrow table, of which nothing is copied."""
    places = {name: table[name].chunk(0).to_numpy(zero_copy_only=True) for name in COLUMNS}
    return Index(table["key"].chunk(0), places, Counter(json.loads(table.schema.metadata[b"aside"])), whole)


def _table(found: Members, aside: Counter[str]) -> Any:
    """An index as an Arrow table of one chunk."""
    import pyarrow as pa

    nothing, parts = (-1, 0), list(found.values())
    image, caption = (np.array([part.get(kind, nothing) for part in parts], np.int64) for kind in ("image", "caption"))
    label = np.array([part.get("label", nothing)[0] for part in parts], np.int64)
    image, caption = image.reshape(-1, 2), caption.reshape(-1, 2)
    columns = (image[:, 0], image[:, 1], caption[:, 0], caption[:, 1], label)
    keys = [key.encode("utf-8", "replace").decode("utf-8") for key in found]  # bytes that are no UTF-8
    table = pa.table(
        {"key": pa.chunked_array([pa.array(keys, pa.large_string())])}
        | {
            name: pa.chunked_array([pa.array(np.ascontiguousarray(column))])
            for name, column in zip(COLUMNS, columns, strict=True)
        }
    )
    return table.replace_schema_metadata({"aside": json.dumps(aside)})


def _write_table(path: Path, table: Any) -> None:
    import pyarrow as pa

    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table)))
        if not len(table):  # one empty chunk, so that there is one
            writer.write_batch(pa.RecordBatch.from_pylist([], schema=table.schema))


def _write(place: Path, write: Callable[[Path], object]) -> None:
    """Writes a file of the cache as a whole; where the cache cannot be written, nothing is kept."""
    temporary = place.with_suffix(f".{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def _state(file: str) -> str:
    """A file's path, size and time of change, and the rules by which it is read.

    Raises:
        UserError: it is not there.
    """
    if urls.is_remote(file):
        state = "{} {} {}".format(file, *urls.known(file))
    else:
        try:
            stat = os.stat(file)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error}") from error
        state = f"{os.path.abspath(file)} {stat.st_size} {stat.st_mtime_ns}"
    return f"{RULES} {state} {_KINDS}"


_KINDS = str(sorted(EXTENSIONS))


def _cache(name: str) -> Path:
    return cache_folder("tars") / name
