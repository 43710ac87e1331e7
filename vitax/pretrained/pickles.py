"""An interpreter of the pickles in PyTorch's files, which runs no code.

Tensors and plain containers become values; everything else that a training script keeps beside them (its arguments, a
scheduler, numbers of NumPy) becomes an `Inert` value: its class is never imported and its functions are never called.
The size that a tensor claims is checked before anything is allocated.
"""

import math
import pickletools
from collections.abc import Callable, Mapping
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
MAX_DEPTH = 50


class Refused(ValueError):
    """Raised if a file is damaged, or holds something other than tensors."""


class Record(dict):
    """The attributes of a TorchScript module, without its code."""


class Name(NamedTuple):
    """The name of a class or function to which a pickle refers, never the object itself."""

    module: str
    name: str


class Inert(NamedTuple):
    """A value that is neither a tensor nor a plain container; only the name of what would have made it is kept."""

    made_by: str


class Storage(NamedTuple):
    """The numbers of tensors, which have not been read yet."""

    key: str
    dtype: np.dtype
    count: int


DICTIONARIES = (Name("collections", "OrderedDict"), Name("collections", "defaultdict"), Name("collections", "Counter"))


class Interpreter:
    """An interpreter of those pickle opcodes that tensors and plain containers need.

    Python's own unpickler calls any function that a file names and sets the state of any object. This interpreter
    builds dictionaries, lists, tuples, strings, numbers and tensors; the result of any other call is `Inert`.

    Args:
        numbers: function that reads a storage; None = no tensor is made, and the storages are noted.
        limit: number of bytes that all tensors may take.
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
    EMPTY: Mapping[str, Callable[[], Any]] = MappingProxyType(
        {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": lambda: Inert("set")}
    )
    TUPLES = MappingProxyType({"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3})

    def __init__(self, numbers: Callable[[Storage], np.ndarray] | None, limit: int):
        self.numbers, self.left = numbers, limit
        self.read: dict[str, np.ndarray] = {}
        self.storages: dict[str, Storage] = {}
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: Any) -> Any:
        """The object that the pickle at the position of a stream describes."""
        stack = self.stack
        for opcode, argument, _ in pickletools.genops(stream):
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
        self.stack.append(Name(*argument.split(" ", 1)))

    def _stack_global(self, _: Any) -> None:
        module, name = self.stack[-2:]
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle refers to something without a name")
        self.stack[-2:] = [Name(module, name)]

    def _setitem(self, _: Any) -> None:
        self._fill(len(self.stack) - 2)

    def _setitems(self, _: Any) -> None:
        self._fill(self.marks.pop())

    def _fill(self, start: int) -> None:
        items, target = self.stack[start:], self.stack[start - 1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update({key: value for key, value in pairs if isinstance(key, str | int | float)})
        elif not isinstance(target, Inert):
            raise Refused("its pickle fills something other than a dictionary")
        del self.stack[start:]

    def _append(self, _: Any) -> None:
        self._extend(len(self.stack) - 1)

    def _appends(self, _: Any) -> None:
        self._extend(self.marks.pop())

    _additems = _appends

    def _extend(self, start: int) -> None:
        target = self.stack[start - 1]
        if type(target) is list:
            target += self.stack[start:]
        elif not isinstance(target, Inert):
            raise Refused("its pickle appends to something other than a list")
        del self.stack[start:]

    def _frozenset(self, _: Any) -> None:
        self.stack[self.marks.pop() :] = [Inert("frozenset")]

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _build(self, _: Any) -> None:
        """Sets the attributes of a module; those of a dictionary and of inert values are left out."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.update(state)
        elif not isinstance(target, dict | Inert):
            raise Refused("its pickle sets the state of something other than an object")

    def _newobj(self, _: Any) -> None:
        function, arguments = self.stack[-2:]
        self.stack[-2:] = [self._call(function, arguments)]

    _reduce = _newobj

    def _newobj_ex(self, _: Any) -> None:
        function, arguments, _keywords = self.stack[-3:]
        self.stack[-3:] = [self._call(function, arguments)]

    def _call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Inert):
            return function
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("its pickle calls something in an unsupported way")
        if function.module.startswith("__torch__"):
            return Record()
        if function in DICTIONARIES:
            # OrderedDict of Python 2 had its items as an argument.
            return dict(arguments[0]) if arguments and isinstance(arguments[0], list) else {}
        if function == Name("torch._utils", "_rebuild_tensor_v2"):
            about = arguments[6] if len(arguments) > 6 else None
            if about not in (None, {}, {"neg": False, "conj": False}) and (
                not isinstance(about, dict) or about.keys() - {"neg", "conj"} or about.get("conj")
            ):
                raise Refused(f"a tensor is kept as {about!r}")
            found = self._tensor(*arguments[:4])
            return -found if about and about.get("neg") else found
        if function in (
            Name("torch._utils", "_rebuild_parameter"),
            Name("torch._utils", "_rebuild_parameter_with_state"),
        ):
            return arguments[0]
        if function == Name("torch", "Size"):
            return tuple(arguments[0])
        return Inert(f"{function.module}.{function.name}")

    def _binpersid(self, _: Any) -> None:
        kind, storage, key, _, count, *view = self.stack.pop()
        if kind != "storage" or not isinstance(storage, Name) or storage.name not in DTYPES or view not in ([], [None]):
            raise Refused(f"its pickle refers to {kind!r} of type {storage!r}")
        found = Storage(str(key), DTYPES[storage.name], int(count))
        self.storages[found.key] = found
        self.stack.append(found)

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any) -> np.ndarray:
        """A tensor from a strided view of a storage; one that leaves the storage or repeats parts of it is rejected."""
        if not isinstance(storage, Storage):
            raise Refused(f"a tensor is made of {type(storage).__name__}, not of a storage")
        if self.numbers is None:
            return np.zeros(0, storage.dtype)
        offset, size, stride = int(offset), tuple(map(int, size)), tuple(map(int, stride))
        count = math.prod(size)
        end = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
        if min((offset, *size, *stride), default=0) < 0 or (count and end > storage.count):
            raise Refused(f"a tensor of shape {size} does not fit its {storage.count:,} numbers")
        if count > storage.count:
            raise Refused(f"a tensor of shape {size} repeats its {storage.count:,} numbers")
        if storage.key not in self.read:
            self.read[storage.key] = self.numbers(storage)
            if len(self.read[storage.key]) != storage.count:
                raise Refused(f"the file ends before the numbers {storage.key}")
        flat = self.read[storage.key]
        self.left -= count * storage.dtype.itemsize
        if self.left < 0:
            raise Refused(f"its tensors are more than {MAX_REPEATS} times as large as the file")
        if not count:
            return np.zeros(size, storage.dtype)
        steps = tuple(s * storage.dtype.itemsize for s in stride)
        view = np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)
        return np.array(view, order="C")
