"""What servers say and send of files at URLs: https://, s3://, gs://, and whatever fsspec knows.

A file is read in pieces by range requests. A piece that fails, stalls or comes short is asked for again; what is read is always
as long as the server said.
"""

import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from vitax.errors import UserError, in_one_line

LOGGER = logging.getLogger("vitax")
T = TypeVar("T")
PIECE = 8 * 2**20  # bytes of a request
ATTEMPTS, PAUSE = 6, 0.5  # of each request; seconds before the second one, twice as many before each further one
STALL = 30.0  # seconds without a byte, after which a request has failed
PACKAGES = {"http": "fsspec[http]", "https": "fsspec[http]", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
VERSIONS = ("ETag", "etag", "generation", "Content-MD5", "Digest", "LastModified", "Last-Modified", "mtime", "updated")
GONE = (401, 403, 404, 410)  # answers of a web server that do not pass


class Missing(UserError):
    """A file at a URL is not there, or is forbidden."""


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
    with at_the_start():
        info = _persistently(lambda: _system(url).info(url), url, "size")
    if not isinstance(info.get("size"), int):
        raise UserError(f"{url}: the server does not tell its size, so that it cannot be read in pieces")
    return Known(info["size"], next((str(info[key]) for key in VERSIONS if info.get(key)), ""))


def exists(url: str) -> bool:
    """True if there is such a file that can be read.

    Raises:
        UserError: the server does not answer.
    """
    try:
        return known(url).size >= 0
    except Missing:
        return False


def listed(folder: str, ending: str) -> list[str]:
    """The URLs of the files in a folder whose names end so, in order; [] = none, or no such folder.

    Raises:
        UserError: files of this scheme cannot be listed, or the server does not answer.
    """
    _check_listed(folder, ending)
    system = _system(folder)
    with at_the_start():
        if not _persistently(lambda: system.isdir(folder), folder, "list"):
            return []
        found = _persistently(lambda: system.ls(folder, detail=False), folder, "list")
    return _urls(found, folder, (ending,))


def _check_listed(folder: str, ending: str) -> None:
    if folder.startswith(("http://", "https://")):
        raise UserError(f"{folder}: a web server has no list of its files; name them, as NAME-{{000..123}}{ending}")


def _urls(found: Iterable[str], folder: str, endings: tuple[str, ...]) -> list[str]:
    """The URLs of files that a file system lists without a scheme; the path of the folder begins as it was given."""
    inside = folder.partition("://")[2].strip("/")
    names = sorted(str(name) for name in found if str(name).endswith(endings))
    return [
        f"{folder}/{name.partition('://')[2 if '://' in name else 0].strip('/').removeprefix(inside).strip('/')}"
        for name in names
    ]


def below(folder: str, endings: tuple[str, ...]) -> list[str]:
    """The URLs of all files below a folder whose names end so, in order; [] = none, or no such folder.

    Raises:
        UserError: files of this scheme cannot be listed, or the server does not answer.
    """
    _check_listed(folder, endings[0])
    with at_the_start():
        found = _persistently(lambda: _system(folder).find(folder), folder, "list")
    return _urls(found, folder, endings)


@contextlib.contextmanager
def at_the_start() -> Iterator[None]:
    """Where a run cannot begin without a file, an error of the network is one of the user's data.

    Raises:
        UserError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(str(error)) from error


def piece(url: str, offset: int, size: int) -> bytes:
    """A part of a file from the server, of exactly this size.

    Raises:
        UserError: it is not there or is forbidden, or has changed.
        OSError: it could not be read, also not by several attempts.
    """

    def ask() -> bytes:
        version = known(url).version
        same = {"headers": {"If-Match": version}} if url.startswith("http") and version[:1] == '"' else {}
        data = _system(url).cat_file(url, start=offset, end=offset + size, **same)
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
        except Exception as error:  # each library has errors of its own
            status = _status(error, url)
            if status in GONE:
                raise Missing(f"{url} cannot be read: {in_one_line(error) or type(error).__name__}") from error
            if status == 412:
                raise UserError(f"{url} has changed since it was opened: start again") from error
            reason = in_one_line(error) or type(error).__name__
            if attempt == ATTEMPTS:
                raise OSError(f"{url}: {what}: {ATTEMPTS} attempts failed, the last with: {reason}") from error
            LOGGER.debug("%s: %s: %s; again", url, what, reason)
            time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError


def _status(error: Exception, url: str) -> int:
    """The answer of a web server behind an error, 0 = none; of other file systems, 404 for a file that is not there."""
    if not url.startswith("http"):
        return 404 if isinstance(error, FileNotFoundError | PermissionError) else 0
    # fsspec says "not found" whatever went wrong, and keeps the reason.
    statuses = [getattr(one, "status", 0) for one in (error, error.__cause__)]
    if not any(statuses) and isinstance(error, FileNotFoundError) and error.__cause__ is None:
        return 404
    return next(filter(None, statuses), 0)


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
