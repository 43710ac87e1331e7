"""The way to open a text file: UTF-8, plain or compressed by gzip; anything else is refused with its place."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from vitax.errors import UserError
from vitax.sniff import seems


def read_text(file: str | Path) -> str:
    """The text of a file; a byte order mark at its beginning is left out.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    path = Path(file)
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return decoded(data, str(file))


def decoded(data: bytes, name: str) -> str:
    """UTF-8 data as text, without a byte order mark.

    Raises:
        UserError: the data are not UTF-8; the message names the line and the byte.
    """
    if problem := not_utf8(data):
        raise UserError(f"{name} {problem}")
    return data.decode("utf-8-sig")


def not_utf8(data: bytes, lines_before: int = 0, bytes_before: int = 0) -> str:
    """Why data are not UTF-8, as the end of a sentence; "" if they are.

    Args:
        data: a file, or a part of one.
        lines_before, bytes_before: number of lines and bytes before the part.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and not bytes_before:
        return "is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"
    try:
        data.decode("utf-8")
        return ""
    except UnicodeDecodeError as error:
        told = seems(data[:64]) if not bytes_before else ""
        line = lines_before + data[: error.start].count(b"\n") + 1
        return (
            f"is not UTF-8 text at line {line:,}, byte {bytes_before + error.start:,} "
            f"({data[error.start : error.start + 1]!r}){told or '; convert it, from Latin-1 for example: iconv -f LATIN1 -t UTF-8 FILE > NEW'}"
        )


def check_utf8(file: str, data: np.ndarray, newlines: np.ndarray) -> None:
    """Decodes a large file part by part, each up to the end of a line.

    Args:
        file: its path, for messages.
        data: [n] uint8, its bytes.
        newlines: positions of the ends of its lines.

    Raises:
        UserError: it is not UTF-8 text.
    """
    begin = 0
    for number in range(0, len(newlines) + 1, 100_000):
        after = number + 100_000
        end = int(newlines[after - 1]) + 1 if after <= len(newlines) else len(data)
        part = data[begin:end].tobytes()
        problem = not_utf8(part, number, begin)
        if not problem and b"\0" in part:
            problem = "is not text: it holds zero bytes"
        if problem:
            raise UserError(f"{file} {problem}")
        begin = end
