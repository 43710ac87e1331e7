"""Reads tensors from PyTorch's zip files (.pth, .pt, .bin, TorchScript) without PyTorch and without running code.

The pickle inside is interpreted by an unpickler that can rebuild tensors and plain containers and nothing else. What
a tensor says of its size is checked against what lies in the archive before anything is allocated.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
# Far more than any pickle of tensor names needs; protects from a file that is one huge pickle.
MAX_PICKLE_BYTES = 64 * 2**20


class Refused(ValueError):
    """The file is damaged, or holds something other than tensors."""


class Record(dict):
    """A TorchScript module: its attributes, and no code."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)


class Storage(NamedTuple):
    """A piece of the archive, not read yet."""

    entry: str
    dtype: np.dtype
    count: int


def read_torch(path: Path) -> Any:
    """The pickled object of a zip file of PyTorch, with NumPy arrays for tensors.

    Raises:
        Refused: the file is no such file, is damaged, or holds anything but tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except zipfile.BadZipFile as error:
        raise Refused(f"damaged zip file: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    pickles = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("a zip file without PyTorch's data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    info = archive.getinfo(pickles[0])
    if info.file_size > MAX_PICKLE_BYTES:
        raise Refused(f"its pickle claims {info.file_size:,} bytes")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise Refused("it was written on a big-endian machine")
    try:
        return _Unpickler(io.BytesIO(archive.read(info)), archive, f"{root}data/").load()
    except Refused:
        raise
    except RecursionError as error:
        raise Refused("its pickle is nested too deeply") from error
    # What a damaged pickle raises is not documented, and can be nearly anything.
    except Exception as error:
        raise Refused(f"damaged pickle: {type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Knows tensors, parameters, ordered dictionaries and TorchScript modules."""

    def __init__(self, file: io.BytesIO, archive: zipfile.ZipFile, folder: str):
        super().__init__(file, encoding="utf-8")
        self.archive, self.folder = archive, folder
        self.read: dict[str, np.ndarray] = {}
        self.allowed = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch", "Size"): tuple,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.allowed:
            return self.allowed[module, name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module.startswith("__torch__"):
            return Record
        raise Refused(
            f"it holds {module}.{name}, and vitax reads tensors only; with a file you trust, write the weights "
            f"alone: torch.save(torch.load(FILE, weights_only=False)['model'], 'weights.pth')"
        )

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise Refused(f"it refers to {kind!r} of type {dtype!r}")
        return Storage(self.folder + str(key), dtype, int(count))

    def _tensor(self, storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> np.ndarray:
        """A tensor is a strided view of a storage; one that would leave it, or repeat parts of it, is refused."""
        if not isinstance(storage, Storage):
            raise Refused(f"a tensor of {type(storage).__name__}")
        size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
        numbers = 1
        for n in size:
            numbers *= n
        end = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride), default=0) < 0 or (numbers and end > storage.count):
            raise Refused(f"a tensor of shape {size} does not fit its {storage.count:,} numbers")
        if numbers > storage.count:
            raise Refused(f"a tensor of shape {size} repeats its {storage.count:,} numbers")
        flat = self._storage(storage)
        if not numbers:
            return np.zeros(size, storage.dtype)
        steps = tuple(s * storage.dtype.itemsize for s in stride)
        view = np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)
        return np.array(view, order="C")

    def _storage(self, storage: Storage) -> np.ndarray:
        if storage.entry not in self.read:
            try:
                info = self.archive.getinfo(storage.entry)
            except KeyError as error:
                raise Refused(f"the numbers {storage.entry} are missing") from error
            wanted = storage.count * storage.dtype.itemsize
            # PyTorch does not compress; what is compressed could grow without end.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != wanted:
                raise Refused(
                    f"{storage.entry} has {info.file_size:,} bytes, its tensor {wanted:,}"
                )
            self.read[storage.entry] = np.frombuffer(self.archive.read(info), storage.dtype)
        return self.read[storage.entry]
