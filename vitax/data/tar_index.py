"""The members of tar files in the layout of WebDataset, and an index of them that is kept between runs."""

import contextlib
import hashlib
import json
import logging
import os
import tarfile
from collections import Counter
from pathlib import Path

from vitax.data.decode import EXTENSIONS
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
RULES = 1  # version of the rules by which members are paired; older indices are not used
Members = dict[str, dict[str, tuple[int, int]]]
TAR_LAYOUT = (
    "expected tar files with pairs KEY.jpg and KEY.txt next to each other, as FILE.tar, as DIR/*.tar, or as "
    "DIR/train/*.tar and DIR/test/*.tar"
)


def indexed(file: str, aside: Counter[str]) -> Members:
    """The result of `members`, from an index if the file has not changed since it was read.

    Reading the headers takes some 0.2 ms for each pair, which is hours for hundreds of millions. The index is in the
    user's cache; where that cannot be written, the headers are read each time.
    """
    stat = os.stat(file)
    name = f"{RULES} {os.path.abspath(file)} {stat.st_size} {stat.st_mtime_ns} {sorted(EXTENSIONS)}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "vitax" / "tars"
    path = cache / f"{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = {key: {kind: (a, b) for kind, (a, b) in parts.items()} for key, parts in stored["members"].items()}
        aside.update(Counter(stored["aside"]))
        return found
    other: Counter[str] = Counter()
    found, whole = members(file, other)
    aside.update(other)
    if whole:
        with contextlib.suppress(OSError, ValueError):
            cache.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps({"members": found, "aside": other}), encoding="utf-8")
            temporary.replace(path)
    return found


def members(file: str, aside: Counter[str]) -> tuple[Members, bool]:
    """The members of a tar file as {key: {"image" or "caption": (offset, size)}}, and whether it is whole.

    As in WebDataset, the key ends at the first dot: "a.seg.png" is another part of the example "a". Where that gives no
    image or caption, it ends at the last dot, so that "photo.1.jpg" and "photo.1.txt" are a pair.

    Args:
        file: path of the tar file.
        aside: counter of the extensions of further members, to which those of this file are added.

    Raises:
        UserError: the file is not a tar file, or has two images or two captions of one key.
    """
    found: Members = {}
    whole = True
    later: list[tuple[str, str, str, tuple[int, int]]] = []
    end = os.path.getsize(file)
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                folder, name = os.path.split(member.name)
                if not member.isfile() or name[:1] == ".":
                    continue
                stem, _, extensions = name.partition(".")
                kind = _kind(f".{extensions.lower()}")
                place = (member.offset_data, member.size)
                if kind:
                    _add(found, file, os.path.join(folder, stem), kind, place)
                else:
                    longer, extension = os.path.splitext(name)
                    later.append((os.path.join(folder, longer), _kind(extension.lower()), extension.lower(), place))
    except (tarfile.TarError, OSError) as error:
        if not found and not later:
            raise UserError(f"{file} cannot be read as a tar file: {error}; {TAR_LAYOUT}") from error
        whole = False
        LOGGER.warning("%s is truncated, or damaged after %d examples: %s", file, len(found), error)
    kinds: dict[str, set[str]] = {}
    for key, kind, _, _ in later:
        kinds.setdefault(key, set()).add(kind)
    for key, kind, extension, place in later:
        if kinds[key] >= {"image", "caption"} and kind:
            _add(found, file, key, kind, place)
        else:
            aside[extension or "without extension"] += 1
    for parts in found.values():
        for kind in [kind for kind, (offset, size) in parts.items() if offset + size > end]:
            whole = False
            LOGGER.warning("%s is truncated: it ends inside its last member", file)
            del parts[kind]
    return found, whole


def _kind(extension: str) -> str:
    return "caption" if extension == ".txt" else "image" if extension in EXTENSIONS else ""


def _add(found: Members, file: str, key: str, kind: str, place: tuple[int, int]) -> None:
    if kind in found.setdefault(key, {}):
        raise UserError(f"{file} holds two files of the kind {kind!r} for {key}; {TAR_LAYOUT}")
    found[key][kind] = place
