"""Files at a URL (https://, s3://, gs://, and whatever fsspec knows): whole in a bounded cache, or parts of them.

A file is read in pieces by range requests. A piece that fails, stalls or comes short is asked for again; what is read is always
as long as the server said.
"""

import contextlib
import functools
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vitax.errors import UserError, in_one_line

LOGGER = logging.getLogger("vitax")
T = TypeVar("T")
PIECE = 8 * 2**20  # bytes of a request
ATTEMPTS, PAUSE = 6, 0.5  # of each request; seconds before the second one, twice as many before each further one
STALL = 30.0  # seconds without a byte, after which a request has failed
ROOM = "VITAX_REMOTE_CACHE_GB"
DEFAULT_ROOM = 50.0  # GB
PACKAGES = {"http": "fsspec[http]", "https": "fsspec[http]", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
VERSIONS = ("ETag", "etag", "generation", "LastModified", "mtime", "updated")


class Known(NamedTuple):
    """What a server says about a file: its size in bytes, and a mark that changes with its content ("" = none)."""

    size: int
    version: str


def is_remote(path: str) -> bool:
    """True for a URL with a scheme, such as https://host/file.tar or s3://bucket/file.tar."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


@functools.cache
def known(url: str) -> Known:
    """Size and version of a file; asked once in a process.

    Raises:
        UserError: it is not there or is forbidden, the server does not answer or tells no size, or a package is missing.
    """
    with _at_the_start():
        info = _persistently(lambda: _system(url).info(url), url, "size")
    if not isinstance(info.get("size"), int):
        raise UserError(f"{url}: the server does not tell its size, so that it cannot be read in pieces")
    return Known(info["size"], next((str(info[key]) for key in VERSIONS if info.get(key)), ""))


def exists(url: str) -> bool:
    """True if there is such a file that can be read."""
    try:
        return known(url).size >= 0
    except UserError:
        return False


def listed(folder: str, ending: str) -> list[str]:
    """The URLs of the files in a folder whose names end so, in order; [] = none, or no such folder.

    Raises:
        UserError: files of this scheme cannot be listed, or the server does not answer.
    """
    scheme = folder.partition("://")[0]
    if scheme in ("http", "https"):
        raise UserError(f"{folder}: a web server has no list of its files; name them, as NAME-{{000..123}}{ending}")
    system = _system(folder)
    with _at_the_start():
        if not _persistently(lambda: system.isdir(folder), folder, "list"):
            return []
        found = _persistently(lambda: system.ls(folder, detail=False), folder, "list")
    names = sorted(str(name) for name in found if str(name).endswith(ending))
    return [name if is_remote(name) else f"{scheme}://{name}" for name in names]


def read(url: str, offset: int, size: int) -> bytes:
    """A part of a file: from its copy in the cache, or from the server.

    Raises:
        UserError: it is not there or is forbidden.
        OSError: it could not be read, also not by several attempts.
    """
    copy = _copy(url)
    with contextlib.suppress(FileNotFoundError), open(copy, "rb") as stream:
        stream.seek(offset)
        return stream.read(size)
    return _piece(url, offset, size)


def local(url: str) -> str:
    """The path of a whole file in the cache, which is fetched if it is not there.

    The files used least recently are deleted when the cache has more than VITAX_REMOTE_CACHE_GB (50).

    Raises:
        UserError: it is not there or is forbidden, it could not be read by several attempts, or the cache cannot be written.
    """
    path, size = _copy(url), known(url).size
    if path.is_file():
        with contextlib.suppress(OSError):
            os.utime(path)
        return str(path)
    LOGGER.info("fetching %s (%.0f MB)", url, size / 1e6)
    room = _room()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            for start in range(0, size, PIECE):
                with _at_the_start():
                    piece = _piece(url, start, min(PIECE, size - start))
                try:
                    stream.write(piece)
                except OSError as error:
                    raise UserError(f"{url} cannot be kept in {path.parent}: {error}") from error
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _make_room(path, room)
    return str(path)


def near(path: str) -> str:
    """The path of a file on this machine: itself or, of a URL, see `local`."""
    return local(path) if is_remote(path) else path


@contextlib.contextmanager
def _at_the_start() -> Iterator[None]:
    """Where a run cannot begin without a file, an error of the network is one of the user's data."""
    try:
        yield
    except OSError as error:
        raise UserError(str(error)) from error


def _copy(url: str) -> Path:
    """Where the copy of a file is, or would be."""
    about = known(url)
    digest = hashlib.blake2b(f"{url} {about.size} {about.version}".encode(), digest_size=12).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "vitax" / "remote"
    return cache / f"{digest}-{re.sub(r'[^A-Za-z0-9._-]', '_', url.rpartition('/')[2])[-100:]}"


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
                files.append((stat.st_mtime, stat.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= room:
            return
        if file != kept:
            with contextlib.suppress(OSError):
                file.unlink()
            total -= size


def _piece(url: str, offset: int, size: int) -> bytes:
    """A part of a file from the server, of exactly this size."""

    def ask() -> bytes:
        data = _system(url).cat_file(url, start=offset, end=offset + size)
        if len(data) > size:
            raise UserError(f"{url}: the server sends the whole file where a part is asked for (no range requests)")
        if len(data) < size:
            raise OSError(f"{len(data):,} bytes came instead of {size:,}")
        return data

    return _persistently(ask, url, f"bytes from {offset:,}") if size else b""


def _persistently(ask: Callable[[], T], url: str, what: str) -> T:
    """The answer to a request, which is repeated if it fails for a reason that may pass.

    Raises:
        UserError: the file is not there or is forbidden.
        OSError: all attempts failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return ask()
        except UserError:
            raise
        except (FileNotFoundError, PermissionError) as error:
            raise UserError(f"{url} cannot be read: {in_one_line(error) or type(error).__name__}") from error
        except Exception as error:  # each library has errors of its own
            if getattr(error, "status", 500) in (401, 403, 404, 410):
                raise UserError(f"{url} cannot be read: {in_one_line(error)}") from error
            reason = in_one_line(error) or type(error).__name__
            if attempt == ATTEMPTS:
                raise OSError(f"{url}: {what}: {ATTEMPTS} attempts failed, the last with: {reason}") from error
            LOGGER.debug("%s: %s: %s; again", url, what, reason)
            time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError


def _system(url: str) -> Any:
    """The file system of a URL."""
    return _opened(url.partition("://")[0], os.getpid())


@functools.cache
def _opened(scheme: str, process: int) -> Any:
    """The file system of a scheme in a process: its connections cannot be shared.

    Raises:
        UserError: a package is missing, or the scheme is unknown.
    """
    options: dict[str, Any] = {}
    try:
        import fsspec

        if scheme in ("http", "https"):
            import aiohttp

            options["client_kwargs"] = {
                "timeout": aiohttp.ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
            }
        return fsspec.filesystem(scheme, **options)
    except (ImportError, ValueError) as error:
        package = PACKAGES.get(scheme, "fsspec and what it needs for this scheme")
        raise UserError(f'{scheme}:// needs {package}: pip install "{package}" ({in_one_line(error)})') from error
