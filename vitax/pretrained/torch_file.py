"""Reads tensors from PyTorch's zip files (.pth, .pt, .bin, TorchScript) without PyTorch and without running code.

The pickle inside is followed opcode by opcode, as far as tensors and plain containers need it, and no further. What
a tensor says of its size is checked against what lies in the archive before anything is allocated.
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
# Tied weights are one storage under several names; a file of nothing but such names would grow without end.
MAX_REPEATS = 8
# Far more than any pickle of tensor names needs.
MAX_PICKLE_BYTES = 64 * 2**20
MAX_DEPTH = 50


class Refused(ValueError):
    """The file is damaged, or holds something other than tensors."""


class Record(dict):
    """A TorchScript module: its attributes, and no code."""


class Name(NamedTuple):
    """A class or function that a pickle refers to: never the thing itself."""

    module: str
    name: str


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
    except Refused:
        raise
    except zipfile.BadZipFile as error:
        raise Refused(f"damaged zip file: {error}") from error
    # What a damaged archive or pickle makes the libraries raise is not documented, and can be nearly anything.
    except Exception as error:
        raise Refused(f"damaged: {type(error).__name__}: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    pickles = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("a zip file without PyTorch's data.pkl")
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
    """Follows the opcodes of a pickle, as far as tensors and plain containers need them.

    Python's own unpickler calls what a file names and sets the state of any object; this one builds dictionaries,
    lists, tuples, strings and numbers, knows four names, and refuses every other opcode.
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
                self.memo[len(self.memo) if argument is None else argument] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(self.memo[argument])
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
        """Attributes of a module, or those of a dictionary, which are left out."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.update(state)
        elif not isinstance(target, dict):
            raise Refused("its pickle sets the state of something other than a module")

    def _newobj(self, _: Any) -> None:
        made, arguments = self.stack[-2:]
        self.stack[-2:] = [self._call(made, arguments)]

    _reduce = _newobj

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("its pickle calls something")
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
            raise Refused(f"it refers to {kind!r} of type {storage!r}")
        self.stack.append(Storage(f"{self.folder}{key}", DTYPES[storage.name], int(count)))

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
        """A tensor is a strided view of a storage; one that would leave it, or repeat parts of it, is refused."""
        if not isinstance(storage, Storage):
            raise Refused(f"a tensor of {type(storage).__name__}")
        offset, size, stride = int(offset), tuple(map(int, size)), tuple(map(int, stride))
        numbers = math.prod(size)
        end = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride), default=0) < 0 or (numbers and end > storage.count):
            raise Refused(f"a tensor of shape {size} does not fit its {storage.count:,} numbers")
        if numbers > storage.count:
            raise Refused(f"a tensor of shape {size} repeats its {storage.count:,} numbers")
        flat = self._storage(storage)
        self.left -= numbers * storage.dtype.itemsize
        if self.left < 0:
            raise Refused(f"its tensors are more than {MAX_REPEATS} times as large as the file")
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
                raise Refused(f"{storage.entry} has {info.file_size:,} bytes, its tensor {wanted:,}")
            self.read[storage.entry] = np.frombuffer(self.archive.read(info), storage.dtype)
        return self.read[storage.entry]


def _known(name: Name) -> Name:
    """Refuses every name but those that tensors need."""
    fine = name in KNOWN or (name.module == "torch" and name.name in DTYPES)
    if not fine and not str(name.module).startswith("__torch__"):
        raise Refused(
            f"it holds {name.module}.{name.name}, and vitax reads tensors only; with a file you trust, write the "
            f"weights alone: torch.save(torch.load(FILE, weights_only=False)['model'], 'weights.pth')"
        )
    return name


KNOWN = (
    Name("collections", "OrderedDict"),
    Name("torch._utils", "_rebuild_tensor_v2"),
    Name("torch._utils", "_rebuild_parameter"),
    Name("torch", "Size"),
)
