"""The way to open a text file: UTF-8, plain or compressed by gzip or Zstandard; anything else is refused with its place."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitax.errors import UserError
from vitax.sniff import seems

COMPRESSED = (".gz", ".zst")
# Byte order marks, the longer ones first.
MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
ZEROS = "is not text: it holds zero bytes (UTF-16 or UTF-32 without a byte order mark does)"


def read_text(file: str | Path) -> str:
    """The text of a file; a byte order mark at its beginning is left out.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        with uncompressed(file) as stream:
            data = stream.read()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return decoded(data, str(file))


@contextlib.contextmanager
def uncompressed(file: str | Path) -> Iterator[Any]:
    """Opens a file to be read; one that ends in .gz or .zst is decompressed on the way.

    Raises:
        UserError: the file cannot be opened or decompressed, it is cut off, or the package for .zst is not installed.
    """
    path = Path(file)
    try:
        raw: Any = path.open("rb")
        stream = raw
        if path.suffix == ".gz":
            stream = gzip.GzipFile(fileobj=raw)
        elif path.suffix == ".zst":
            stream = io.BufferedReader(_Zstandard(raw))
    except ImportError as error:
        raise UserError(f'{file} needs zstandard: pip install "vitax[zstd]"') from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    with raw, stream:
        try:
            yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{file} cannot be read: {error}") from error


class _Zstandard(io.RawIOBase):
    """The content of a .zst file; unlike the reader of the package, it does not take a file that is cut off for a whole one."""

    def __init__(self, stream: IO[bytes]):
        import zstandard

        self.stream, self.error, self.new = stream, zstandard.ZstdError, zstandard.ZstdDecompressor().decompressobj
        self.left, self.ready = b"", b""
        self.frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            data = self.left or self.stream.read(1 << 20)
            if not data:
                if self.frame is not None:
                    raise EOFError("it ends before its end")
                return 0
            self.frame = self.frame or self.new()
            try:
                self.ready = self.frame.decompress(data)
            except self.error as error:
                raise EOFError(str(error)) from error
            self.left = self.frame.unused_data if self.frame.eof else b""
            self.frame = None if self.frame.eof else self.frame
        count = min(len(buffer), len(self.ready))
        buffer[:count], self.ready = self.ready[:count], self.ready[count:]
        return count

    def close(self) -> None:
        self.stream.close()
        super().close()


def lines_of(text: str) -> list[str]:
    """The lines of a text, without their ends: "\\n", "\\r\\n" or, where there is no "\\n", "\\r"."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def kind_of(file: Path) -> str:
    """The ending of a file without that of its compression: ".jsonl" for "a.jsonl.gz"."""
    return file.with_suffix("").suffix.lower() if file.suffix in COMPRESSED else file.suffix.lower()


def decoded(data: bytes, name: str) -> str:
    """UTF-8 data as text, without a byte order mark.

    Raises:
        UserError: the data are not UTF-8, or hold zero bytes; the message names the line and the byte.
    """
    if problem := not_utf8(data) or (ZEROS if b"\0" in data else ""):
        raise UserError(f"{name} {problem}")
    return data.decode("utf-8-sig")


def not_utf8(data: bytes, lines_before: int = 0, bytes_before: int = 0) -> str:
    """Why data are not UTF-8, as the end of a sentence; "" if they are.

    Args:
        data: a file, or a part of one.
        lines_before, bytes_before: number of lines and bytes before the part.
    """
    if not bytes_before and (wide := next((name for mark, name in MARKS.items() if data.startswith(mark)), "")):
        return f"is {wide}, not UTF-8; convert it: iconv -f {wide} -t UTF-8 FILE > NEW"
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
            problem = ZEROS
        if problem:
            raise UserError(f"{file} {problem}")
        begin = end
