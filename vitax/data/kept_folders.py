"""Large folders of labelled images: what a folder holds, kept in the user's cache, so that it opens within seconds.

Listing 14 million files takes minutes and, as Python objects, gigabytes. The kept list is an Arrow file that every
process maps into its memory, and it holds as long as no folder below has changed since.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from vitax.data.cached_copy import cache_folder
from vitax.data.decode import EXTENSIONS

RULES = 1  # version of the rules by which images are found; lists of older rules are not used
LEAST = 100_000  # images from which on a list is kept; fewer are found within a second
SETTLED = 2.0  # seconds for which a folder must be unchanged, because some file systems count time in such steps


class Paths(Sequence[str]):
    """Paths below a folder in an Arrow array, which may lie in a file: only those that are read are in memory."""

    def __init__(self, root: str, inside: Any):
        self.root, self.inside = root, inside

    def __len__(self) -> int:
        return len(self.inside)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice | np.ndarray) -> "Paths": ...
    def __getitem__(self, i: int | slice | np.ndarray) -> "str | Paths":
        if isinstance(i, slice):
            return Paths(self.root, self.inside[i])
        if isinstance(i, np.ndarray):
            return Paths(self.root, self.inside.take(i))
        return os.path.join(self.root, self.inside[int(i)].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 65_536):
            yield from (os.path.join(self.root, path) for path in self.inside[start : start + 65_536].to_pylist())


class Listing(NamedTuple):
    """The images of a folder.

    Attributes:
        class_names: names of the classes, sorted.
        paths: paths of the images, class by class.
        labels: [n] int32, their classes.
        aside: numbers of other files by their extension.
    """

    class_names: list[str]
    paths: Sequence[str]
    labels: np.ndarray
    aside: Counter[str]


def kept(root: Path) -> Listing | None:
    """What was kept of a folder; None = nothing, or the folder has changed."""
    import pyarrow as pa

    with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowInvalid):
        # Arrow reads the numbers from the mapped file; nothing is copied.
        table = pa.ipc.open_file(pa.memory_map(str(_place(root)))).read_all()
        about = json.loads(table.schema.metadata[b"about"])
        if all(os.stat(folder).st_mtime_ns == at for folder, at in about["folders"].items()):
            labels = table["label"].chunk(0).to_numpy(zero_copy_only=True)
            paths = Paths(_written(root), table["path"].chunk(0))
            return Listing(about["classes"], paths, labels, Counter(about["aside"]))
    return None


def keep(root: Path, found: Listing, folders: dict[str, int], begun: int) -> None:
    """Keeps what was found in a folder if it is large and settled; where the cache cannot be written, nothing is kept.

    Args:
        root: the folder.
        found: what it holds.
        folders: {folder that was listed: time of its last change in ns}, itself among them.
        begun: time at which the listing began, in ns: what has changed since may be on the list or not.
    """
    if len(found.paths) < LEAST or max(folders.values()) > begun - SETTLED * 1e9:
        return
    import pyarrow as pa

    times = {os.path.abspath(folder): at for folder, at in folders.items()}
    about = {"classes": found.class_names, "aside": found.aside, "folders": times}
    place = _place(root)
    temporary = place.with_suffix(f".{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError, UnicodeEncodeError):  # a name that is no UTF-8
        start = len(os.path.join(_written(root), ""))
        inside = pa.array((path[start:] for path in found.paths), pa.large_string(), size=len(found.paths))
        table = pa.table({"path": inside, "label": pa.array(found.labels, pa.int32())})
        table = table.replace_schema_metadata({"about": json.dumps(about)})
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pa.ipc.new_file(str(temporary), table.schema) as writer:
                writer.write_table(table.combine_chunks(), max_chunksize=len(table))
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def _written(root: Path) -> str:
    """The folder as it is written at the beginning of the paths below it."""
    return "" if root == Path() else str(root)


def _place(root: Path) -> Path:
    name = f"{RULES} {os.path.abspath(root)} {sorted(EXTENSIONS)}"
    return cache_folder("folders") / f"{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.arrow"
