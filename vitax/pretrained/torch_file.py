"""Reads tensors from PyTorch's zip files (.pth, .pt, .bin, TorchScript) without PyTorch and without running code.

The pickle inside is interpreted opcode by opcode, and only the opcodes that tensors and plain containers need are
accepted. The size that a tensor claims is checked against the archive before anything is allocated.
"""

import math
import pickletools
import zipfile
from pathlib import Path
from types import MappingProxyType
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
# Tied weights are one storage under several names; without a limit, a small file with many names could fill memory.
MAX_REPEATS = 8
# Far more than any pickle of tensor names needs.
MAX_PICKLE_BYTES = 64 * 2**20
MAX_DEPTH = 50


class Refused(ValueError):
    """Raised if a file is damaged, or holds something other than tensors."""


class Record(dict):
    """The attributes of a TorchScript module, without its code."""


class Name(NamedTuple):
    """The name of a class or function to which a pickle refers, never the object itself."""

    module: str
    name: str


class Storage(NamedTuple):
    """An entry of the archive that has not been read yet."""

    entry: str
    dtype: np.dtype
    count: int


def read_torch(path: Path) -> Any:
    """The pickled object in a zip file of PyTorch, with NumPy arrays in place of tensors.

    Raises:
        Refused: the file is not a zip file of PyTorch, is damaged, or holds more than tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except Refused:
        raise
    except zipfile.BadZipFile as error:
        raise Refused(f"damaged zip file: {error}") from error
    # The libraries do not document the exceptions for a damaged archive or pickle; nearly any can occur.
    except Exception as error:
        raise Refused(f"damaged: {type(error).__name__}: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
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
    return _Interpreter(archive, f"{root}data/").run(archive.read(pickles[0]))


class _Interpreter:
    """An interpreter of those pickle opcodes that tensors and plain containers need.

    Python's own unpickler calls any function that a file names and sets the state of any object. This interpreter
    builds dictionaries, lists, tuples, strings and numbers, accepts only the names that tensors and TorchScript modules
    need, and rejects every other opcode.
    """

    CONSTANTS = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})
    VALUES = frozenset(
        [
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "LONG4",
            "BINFLOAT",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
            "BINBYTES",
            "SHORT_BINBYTES",
            "SHORT_BINSTRING",
            "BINSTRING",
            "UNICODE",
            "INT",
            "LONG",
            "FLOAT",
        ]
    )
    EMPTY = MappingProxyType({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple})
    TUPLES = MappingProxyType({"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3})

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self.archive, self.folder = archive, folder
        self.read: dict[str, np.ndarray] = {}
        self.left = MAX_REPEATS * sum(info.file_size for info in archive.infolist())
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """The object that the pickle describes."""
        stack = self.stack
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in self.VALUES:
                stack.append(argument)
            elif name in self.CONSTANTS:
                stack.append(self.CONSTANTS[name])
            elif name in self.EMPTY:
                stack.append(self.EMPTY[name]())
            elif name in self.TUPLES:
                self._push_tuple(len(stack) - self.TUPLES[name])
            elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                self.memo[len(self.memo) if argument is None else int(argument)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(self.memo[int(argument or 0)])
            elif name == "MARK":
                self.marks.append(len(stack))
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                getattr(self, f"_{name.lower()}", self._unknown)(argument)
        raise Refused("its pickle has no end")

    def _unknown(self, argument: Any) -> None:
        raise Refused("its pickle does more than describe tensors")

    def _push_tuple(self, start: int) -> None:
        self.stack[start:] = [tuple(self.stack[start:])]

    def _tuple(self, _: Any) -> None:
        self._push_tuple(self.marks.pop())

    def _global(self, argument: str) -> None:
        self.stack.append(_known(Name(*argument.split(" ", 1))))

    def _stack_global(self, _: Any) -> None:
        module, name = self.stack[-2:]
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle refers to something without a name")
        self.stack[-2:] = [_known(Name(module, name))]

    def _setitem(self, _: Any) -> None:
        self._fill(len(self.stack) - 2)

    def _setitems(self, _: Any) -> None:
        self._fill(self.marks.pop())

    def _fill(self, start: int) -> None:
        items, target = self.stack[start:], self.stack[start - 1]
        if not isinstance(target, dict) or not all(isinstance(k, str | int) for k in items[::2]):
            raise Refused("its pickle fills something other than a dictionary of names")
        target.update(zip(items[::2], items[1::2], strict=True))
        del self.stack[start:]

    def _append(self, _: Any) -> None:
        self._extend(len(self.stack) - 1)

    def _appends(self, _: Any) -> None:
        self._extend(self.marks.pop())

    def _extend(self, start: int) -> None:
        if type(self.stack[start - 1]) is not list:
            raise Refused("its pickle appends to something other than a list")
        self.stack[start - 1] += self.stack[start:]
        del self.stack[start:]

    def _build(self, _: Any) -> None:
        """Sets the attributes of a module; the attributes of a dictionary are left out."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.update(state)
        elif not isinstance(target, dict):
            raise Refused("its pickle sets the state of something other than a module")

    def _newobj(self, _: Any) -> None:
        function, arguments = self.stack[-2:]
        self.stack[-2:] = [self._call(function, arguments)]

    _reduce = _newobj

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("its pickle calls something in an unsupported way")
        if function.module.startswith("__torch__"):
            return Record()
        name = function.name
        if name == "OrderedDict" and not arguments:
            return {}
        if name == "_rebuild_tensor_v2":
            return self._tensor(*arguments[:4])
        if name == "_rebuild_parameter":
            return arguments[0]
        if name == "Size":
            return tuple(arguments[0])
        raise Refused(f"its pickle calls {function.module}.{name}")

    def _binpersid(self, _: Any) -> None:
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(storage, Name) or storage.name not in DTYPES:
            raise Refused(f"its pickle refers to {kind!r} of type {storage!r}")
        self.stack.append(Storage(f"{self.folder}{key}", DTYPES[storage.name], int(count)))

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
        """A tensor from a strided view of a storage; one that leaves the storage or repeats parts of it is rejected."""
        if not isinstance(storage, Storage):
            raise Refused(f"a tensor is made of {type(storage).__name__}, not of a storage")
        offset, size, stride = int(offset), tuple(map(int, size)), tuple(map(int, stride))
        count = math.prod(size)
        end = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride), default=0) < 0 or (count and end > storage.count):
            raise Refused(f"a tensor of shape {size} does not fit its {storage.count:,} numbers")
        if count > storage.count:
            raise Refused(f"a tensor of shape {size} repeats its {storage.count:,} numbers")
        flat = self._storage(storage)
        self.left -= count * storage.dtype.itemsize
        if self.left < 0:
            raise Refused(f"its tensors are more than {MAX_REPEATS} times as large as the file")
        if not count:
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
            expected_bytes = storage.count * storage.dtype.itemsize
            # PyTorch does not compress; a compressed entry could unpack to any size.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != expected_bytes:
                raise Refused(f"{storage.entry} has {info.file_size:,} bytes, its tensor {expected_bytes:,}")
            self.read[storage.entry] = np.frombuffer(self.archive.read(info), storage.dtype)
        return self.read[storage.entry]


def _known(name: Name) -> Name:
    """Returns a name that tensors need, and rejects every other name."""
    allowed = name in KNOWN or (name.module == "torch" and name.name in DTYPES)
    if not allowed and not str(name.module).startswith("__torch__"):
        raise Refused(
            f"it holds {name.module}.{name.name}, and vitax reads tensors only; if you trust the file, save the "
            f"weights alone with torch.save(torch.load(FILE, weights_only=False)['model'], 'weights.pth')"
        )
    return name


KNOWN = (
    Name("collections", "OrderedDict"),
    Name("torch._utils", "_rebuild_tensor_v2"),
    Name("torch._utils", "_rebuild_parameter"),
    Name("torch", "Size"),
)
