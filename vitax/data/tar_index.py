"""Tar files in the layout of WebDataset: which there are, and their members."""

import logging
import os
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vitax.data import remote, urls
from vitax.data.decode import EXTENSIONS
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
Members = dict[str, dict[str, tuple[int, int]]]
Later = tuple[str, str, str, tuple[int, int]]  # key up to the last dot, kind, extension, place
TAR_LAYOUT = (
    "expected tar files with pairs KEY.jpg and KEY.txt (captions) or KEY.cls (numbers of classes) next to each other, as "
    "FILE.tar, as DIR/NAME-{000..123}.tar, as DIR/*.tar, or as DIR/train/*.tar and DIR/test/*.tar; a URL will do"
)


def tar_files(
    path: str, train: str, test: str, validation: Sequence[str], test_fraction: float
) -> tuple[list[list[str]], list[str]]:
    """The tar files of the training and the test split, and those of the validation split.

    Args:
        path: a tar file, also at a URL, a pattern such as "data-{000..123}.tar", a folder with tar files, or one with a folder of them
            for each split.
        train, test: names of the folders of the splits.
        validation: usual names of the folder of the validation split.
        test_fraction: share of the files, at least one, that is held back where there is no folder for each split.

    Returns:
        [files to learn from, files to test]; the second is empty if there is only one file. The files of the validation;
        [] = there are none.

    Raises:
        UserError: there are no tar files.
    """
    listed = expanded(path)
    if urls.is_remote(path):
        return _remote_files(path, listed, train, test, validation, test_fraction)
    root = Path(path).expanduser()
    if len(listed) == 1 and (not path or not root.exists()):
        raise UserError(f"data.path={path!r} does not exist; {TAR_LAYOUT}")
    found = lambda split: sorted(map(str, (root / split).glob("*.tar")))
    parts = [found(train), found(test)]
    if root.is_dir():
        _tell_others(root, {*parts[0], *parts[1]} if all(parts) else set(found(".")), validation)
    if not all(parts):
        files = listed if len(listed) > 1 or root.is_file() else sorted(map(str, root.glob("*.tar")))
        if not files:
            raise UserError(f"{path} holds no tar files; {TAR_LAYOUT}")
        if missing := [file for file in files if not os.path.isfile(file)]:
            raise UserError(f"{path} names {len(missing)} tar files that are not there, for example {missing[0]}")
        parts = _held_back(files, test_fraction)
    return parts, next((files for name in validation if name != test and (files := found(name))), [])


def _tell_others(root: Path, used: set[str], validation: Sequence[str]) -> None:
    """Warns of further tar files in and below a folder, which are not read."""
    used = {os.path.realpath(file) for file in used}
    others = [
        str(file.relative_to(root))
        for file in sorted(root.rglob("*"))
        if re.search(r"\.(tar|tgz)(\.\w+)?$", file.name.lower())
        and os.path.realpath(file) not in used
        and file.parent.name not in validation
    ]
    if others:
        LOGGER.warning(
            "%s: left aside, %d further tar files, such as %s; %s", root, len(others), ", ".join(others[:3]), TAR_LAYOUT
        )


def _held_back(files: list[str], fraction: float) -> list[list[str]]:
    """Files to learn from, and a share of them, at least one, for the test; of one file, none.

    Raises:
        UserError: the share is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UserError(f"config.data.test_fraction={fraction} must lie between 0 and 1")
    held = min(max(1, round(fraction * len(files))), len(files) - 1)
    return [files[: len(files) - held], files[len(files) - held :]]


def _remote_files(
    path: str, listed: list[str], train: str, test: str, validation: Sequence[str], test_fraction: float
) -> tuple[list[list[str]], list[str]]:
    """`tar_files` at a URL: a file, a pattern or, where the server lists its files, a folder."""
    if len(listed) > 1 or path.endswith(".tar"):
        return _held_back(listed, test_fraction), []
    found = lambda split: urls.listed(f"{path.rstrip('/')}/{split}", ".tar")
    parts = [found(train), found(test)]
    if all(parts):
        return parts, next((files for name in validation if name != test and (files := found(name))), [])
    files = urls.listed(path.rstrip("/"), ".tar")
    if not files:
        raise UserError(f"{path} holds no tar files; {TAR_LAYOUT}")
    return _held_back(files, test_fraction), []


def expanded(path: str) -> list[str]:
    """The paths for which "NAME-{000..123}.tar" stands; the path itself if it has no such range.

    Raises:
        UserError: the range counts backwards.
    """
    matched = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", path)
    if not matched:
        return [os.path.expanduser(path)]
    before, first, last, after = matched.groups()
    if int(first) > int(last):
        raise UserError(f"{path}: {{{first}..{last}}} counts backwards")
    names = [f"{before}{number:0{len(first)}}{after}" for number in range(int(first), int(last) + 1)]
    return [os.path.expanduser(name) for name in names]


def members(file: str, aside: Counter[str]) -> tuple[Members, bool]:
    """The members of a tar file as {key: {"image" or "caption": (offset, size)}}, and whether it is whole.

    The number of a class, from a member KEY.cls, is {"label": (number, 0)}: it is kept, so that it is not read again.

    As in WebDataset, the key ends at the first dot: "a.seg.png" is another part of the example "a". Where that gives no
    image or caption, it ends at the last dot, so that "photo.1.jpg" and "photo.1.txt" are a pair.

    Args:
        file: path of the tar file.
        aside: counter of the extensions of further members, to which those of this file are added.

    Raises:
        UserError: the file is not a tar file, has two images, captions or labels of one key, a label is no number, a member is
            a link or a sparse file, or another tar file follows.
    """
    found: Members = {}
    whole = True
    later: list[Later] = []
    end = os.path.getsize(file)
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                folder, name = os.path.split(member.name)
                _check_stored(file, member)
                if not member.isfile() or name[:1] == ".":
                    continue
                stem, _, extensions = name.partition(".")
                kind = _kind(f".{extensions.lower()}")
                place = (member.offset_data, member.size)
                if kind == "label":
                    place = (_number(file, member.name, archive.extractfile(member)), 0)
                if kind:
                    _add(found, file, os.path.join(folder, stem), kind, place)
                else:
                    longer, extension = os.path.splitext(name)
                    kind = _kind(extension.lower())
                    if kind == "label":
                        place = (_number(file, member.name, archive.extractfile(member)), 0)
                    later.append((os.path.join(folder, longer), kind, extension.lower(), place))
            if not _ends(file, archive.offset):
                whole = False
                LOGGER.warning("%s is truncated: it ends inside the header of a member", file)
    except (tarfile.TarError, OSError) as error:
        if not found and not later:
            raise UserError(f"{file} cannot be read as a tar file: {error}; {TAR_LAYOUT}") from error
        whole = False
        LOGGER.warning("%s is truncated, or damaged after %d examples: %s", file, len(found), error)
    _sort_in(found, file, later, aside)
    for parts in found.values():
        for kind in [kind for kind, (offset, size) in parts.items() if kind != "label" and offset + size > end]:
            whole = False
            LOGGER.warning("%s is truncated: it ends inside its last member", file)
            del parts[kind]
    return found, whole


def _check_stored(file: str, member: tarfile.TarInfo) -> None:
    """Raises an error for a member whose bytes are not in the tar file one after another."""
    if member.islnk() or member.issym():
        raise UserError(
            f"{file}: {member.name} is a link to {member.linkname}; write the files themselves (tar --hard-dereference -h)"
        )
    if member.issparse():
        raise UserError(f"{file}: {member.name} is stored as a sparse file; write it again without tar --sparse")


def _sort_in(found: Members, file: str, later: list[Later], aside: Counter[str]) -> None:
    """Adds the members of which the key ends at the last dot to those found, or to the counter."""
    kinds: dict[str, set[str]] = {}
    for key, kind, _, _ in later:
        kinds.setdefault(key, set()).add(kind)
    for key, kind, extension, place in later:
        if "image" in kinds[key] and len(kinds[key] - {""}) > 1 and kind:
            _add(found, file, key, kind, place)
        else:
            aside[extension or "without extension"] += 1


def _ends(file: str, end: int) -> bool:
    """Whether a tar file ends properly after its last member, and not in the middle of a header.

    Args:
        file: the tar file.
        end: the byte at which its last member ends.

    Raises:
        UserError: another tar file follows, as where several were joined by ``cat``.
    """
    with open(file, "rb") as stream:
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            return False
        while block := stream.read(1 << 20):
            if block.strip(b"\0"):
                raise UserError(
                    f"{file}: another tar file follows in the same file, which would not be read; keep them apart"
                )
    return True


def _kind(extension: str) -> str:
    return {".txt": "caption", ".cls": "label"}.get(extension, "image" if extension in EXTENSIONS else "")


def _number(file: str, name: str, member: IO[bytes] | None) -> int:
    text = member.read(64).decode("ascii", "replace").strip() if member else ""
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise UserError(f"{file}: {name} holds {text!r}, not the number of a class")
    return int(text)


def _add(found: Members, file: str, key: str, kind: str, place: tuple[int, int]) -> None:
    if kind in found.setdefault(key, {}):
        raise UserError(f"{file} holds two files of the kind {kind!r} for {key}; {TAR_LAYOUT}")
    found[key][kind] = place


def read_member(file: str, offset: int, size: int) -> bytes:
    """The bytes of a member at its place in a tar file, which may be at a URL.

    Raises:
        OSError: they cannot be read.
        UserError: a file at a URL is not there any more.
    """
    if urls.is_remote(file):
        return remote.read(file, offset, size)
    with open(file, "rb") as stream:  # opened for each read, because threads must not share a position
        stream.seek(offset)
        return stream.read(size)
