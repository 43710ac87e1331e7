"""Files at URLs on this machine: whole in a bounded cache, or parts of them as they are needed."""

import contextlib
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from vitax.data.cached_copy import cache_folder
from vitax.data.urls import PIECE, at_the_start, is_remote, known, piece
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
ROOM = "VITAX_REMOTE_CACHE_GB"
DEFAULT_ROOM = 50.0  # GB


def read(url: str, offset: int, size: int) -> bytes:
    """A part of a file: from its copy in the cache, or from the server.

    Raises:
        UserError: it is not there or is forbidden.
        OSError: it could not be read, also not by several attempts.
    """
    copy = _copy(url)
    with contextlib.suppress(FileNotFoundError), open(copy, "rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
        if len(data) == size:
            return data
    return piece(url, offset, size)


def local(url: str) -> str:
    """The path of a whole file in the cache, which is fetched if it is not there.

    The files used least recently are deleted when the cache has more than VITAX_REMOTE_CACHE_GB (50).

    Raises:
        UserError: it is not there or is forbidden, it could not be read by several attempts, or the cache cannot be written.
    """
    path, size = _copy(url), known(url).size
    if path.is_file() and path.stat().st_size == size:
        with contextlib.suppress(OSError):
            os.utime(path, (time.time(), 0))  # a copy in another form is named by the time of its change
        return str(path)
    LOGGER.info("fetching %s (%.0f MB)", url, size / 1e6)
    room = _room()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            for start in range(0, size, PIECE):
                with at_the_start():
                    part = piece(url, start, min(PIECE, size - start))
                try:
                    stream.write(part)
                except OSError as error:
                    raise UserError(f"{url} cannot be kept in {path.parent}: {error}") from error
        os.utime(temporary, (time.time(), 0))
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _make_room(path, room)
    return str(path)


def near(path: str) -> str:
    """The path of a file on this machine: itself or, of a URL, see `local`."""
    return local(path) if is_remote(path) else path


def check_room(urls: Sequence[str]) -> None:
    """Refuses files that are needed together and do not fit into the cache.

    Raises:
        UserError: they are larger than it.
    """
    total, room = sum(known(url).size for url in urls), _room()
    if total > room:
        raise UserError(
            f"{urls[0]} and {len(urls) - 1} more have {total / 1e9:.1f} GB, and the cache has {room / 1e9:.1f}: set {ROOM} to more, "
            "or fetch them"
        )


def _copy(url: str) -> Path:
    """Where the copy of a file is, or would be."""
    about = known(url)
    digest = hashlib.blake2b(f"{url} {about.size} {about.version}".encode(), digest_size=12).hexdigest()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", url.partition("?")[0].rpartition("/")[2])[-100:]
    return cache_folder("remote") / f"{digest}-{name}"


def _room() -> float:
    """The size of the cache in bytes.

    Raises:
        UserError: the environment variable is no positive number.
    """
    given = os.environ.get(ROOM, str(DEFAULT_ROOM))
    try:
        room = float(given) * 1e9
    except ValueError:
        room = -1.0
    if not room > 0:
        raise UserError(f"{ROOM}={given!r} must be a positive number of GB")
    return room


def _make_room(kept: Path, room: float) -> None:
    """Deletes what was used least recently until the cache fits, but not the file that was just fetched."""
    files = []
    for file in kept.parent.iterdir():
        with contextlib.suppress(OSError):  # another process may delete it
            stat = file.stat()
            if file.suffix == ".part" and stat.st_mtime < time.time() - 86_400:  # of a process that was killed
                file.unlink()
            elif file.suffix != ".part":
                files.append((stat.st_atime, stat.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= room:
            return
        if file != kept:
            with contextlib.suppress(OSError):
                file.unlink()
            total -= size
