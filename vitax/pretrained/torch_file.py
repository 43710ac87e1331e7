"""Reads PyTorch's files (.pth, .pt, .bin, .ckpt, TorchScript) without PyTorch and without running code."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vitax.pretrained.pickles import MAX_REPEATS, Interpreter, Refused, Storage

# Far more than any pickle of tensor names needs.
MAX_PICKLE_BYTES = 64 * 2**20
# The first pickle in a file that PyTorch before 1.6 has written.
MAGIC = 0x1950A86A20F9469CFC6C


def read_torch(path: Path) -> Any:
    """The pickled object in a file of PyTorch, with NumPy arrays in place of tensors.

    Raises:
        Refused: the file is not one of PyTorch, or is damaged.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive)
        return _read_stream(path)
    except Refused:
        raise
    except zipfile.BadZipFile as error:
        raise Refused(f"damaged zip file: {error}") from error
    # The libraries do not document the exceptions for a damaged archive or pickle; nearly any can occur.
    except Exception as error:
        raise Refused(f"damaged: {type(error).__name__}: {error}") from error


def _read_zip(archive: zipfile.ZipFile) -> Any:
    pickles = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("it is a zip file without PyTorch's data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    size = archive.getinfo(pickles[0]).file_size
    if size > MAX_PICKLE_BYTES:
        raise Refused(f"its pickle claims {size:,} bytes")
    if f"{root}byteorder" in archive.namelist():
        order = archive.getinfo(f"{root}byteorder")
        if order.file_size != 6 or archive.read(order) != b"little":
            raise Refused("it was not written on a little-endian machine")

    def numbers(storage: Storage) -> np.ndarray:
        try:
            info = archive.getinfo(f"{root}data/{storage.key}")
        except KeyError as error:
            raise Refused(f"the numbers {storage.key} are missing") from error
        expected_bytes = storage.count * storage.dtype.itemsize
        # PyTorch does not compress; a compressed entry could unpack to any size.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != expected_bytes:
            raise Refused(f"{storage.key} has {info.file_size:,} bytes, its tensor {expected_bytes:,}")
        return np.frombuffer(archive.read(info), storage.dtype)

    limit = MAX_REPEATS * sum(info.file_size for info in archive.infolist())
    return Interpreter(numbers, limit).run(io.BytesIO(archive.read(pickles[0])))


def _read_stream(path: Path) -> Any:
    """The format of PyTorch before 1.6: pickles one after another, then the numbers of each storage.

    The numbers follow the pickle that uses them, so the pickle is interpreted twice: first to learn their types.
    """
    with path.open("rb") as stream:
        if Interpreter(None, 0).run(stream) != MAGIC:
            raise Refused("it is a pickle, but not one of PyTorch")
        Interpreter(None, 0).run(stream)  # the version of the format
        if not Interpreter(None, 0).run(stream).get("little_endian"):
            raise Refused("it was not written on a little-endian machine")
        start = stream.tell()
        first = Interpreter(None, 0)
        first.run(stream)
        arrays: dict[str, np.ndarray] = {}
        for key in Interpreter(None, 0).run(stream):
            count = int.from_bytes(stream.read(8), "little")
            storage = first.storages.get(key)
            if storage is None or storage.count != count:
                raise Refused(f"the numbers {key} are {count:,}, and its tensors need another number of them")
            data = stream.read(count * storage.dtype.itemsize)
            arrays[key] = np.frombuffer(data, storage.dtype)
        stream.seek(start)
        return Interpreter(lambda storage: arrays[storage.key], MAX_REPEATS * path.stat().st_size).run(stream)
