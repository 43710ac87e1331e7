"""Copies of users' files in another form, in the user's cache: made once, and again when a file has changed."""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from vitax.errors import UserError


def cache_folder(name: str) -> Path:
    """A folder in the user's cache, which may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "vitax" / name


def cached_copy(file: str, form: str, ending: str, write: Callable[[Path], None]) -> str:
    """The path of a copy of a file.

    Args:
        file: path of the file.
        form: what the copy holds; copies in different forms lie beside one another.
        ending: ending of the copy's name, with its dot.
        write: function that writes the copy to a path.

    Raises:
        UserError: the file is not there, or the copy cannot be written.
    """
    try:
        stat = os.stat(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    name = f"{os.path.abspath(file)} {stat.st_size} {stat.st_mtime_ns} {form}"
    cache = cache_folder("copies")
    path = cache / f"{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}{ending}"
    if path.is_file():
        return str(path)
    temporary = path.with_suffix(
        f".{uuid.uuid4().hex}.tmp"
    )  # hosts may share the cache, and have processes of equal numbers
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{file} has to be copied to {cache}, so that its parts can be read one by one, and that failed: {error}; "
            "XDG_CACHE_HOME chooses another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return str(path)
