"""Files of weights: reads .npz, .safetensors, .msgpack and PyTorch's files into {name: array}, and writes .safetensors.

No code from a file is run, and PyTorch is not needed. Half-precision numbers become float32.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from vitax.errors import UserError
from vitax.pretrained import hub
from vitax.pretrained.entries import Contents, Tensors, flatten, whole
from vitax.pretrained.flax_file import read_flax, torch_name
from vitax.pretrained.hub import IN_FOLDER, INDEX
from vitax.pretrained.pickles import Refused
from vitax.pretrained.torch_file import read_torch
from vitax.sniff import seems

HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def find(path: str | Path) -> Path:
    """The file of weights: the path itself, the weights in a folder with the layout of a model hub, or those of a name.

    Args:
        path: a file, a folder, or a name on a model hub, which `hub.fetched` downloads.

    Raises:
        UserError: the file does not exist, or cannot be downloaded.
    """
    if hub.is_name(path):
        return hub.fetched(path)
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            for name in IN_FOLDER:
                if (path / name).is_file():
                    return path / name
            raise UserError(f"the folder {path} holds none of {', '.join(IN_FOLDER)}")
        if path.is_file():
            return path
    except OSError as error:  # a path that is too long
        raise UserError(f"{path} cannot be opened: {error}") from error
    raise UserError(f"there is no file {path}")


def read(path: str | Path, entry: str = "") -> Contents:
    """The tensors of a file, or of the files that an index lists.

    Args:
        path: a file, or a folder as on model hubs.
        entry: key of the dictionary of tensors in a training checkpoint, such as "model_ema"; "" = the first of
            WRAPPERS that the file has.

    Raises:
        UserError: the file does not hold weights, is damaged, or holds numbers that are not finite.
    """
    try:
        path = find(path)
        contents = _read_index(path, entry) if path.name.endswith(INDEX) else _read(path, entry)
    except (Refused, OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not contents.tensors:
        raise UserError(f"{path} holds no tensors")
    tensors = {name: plain(value) for name, value in contents.tensors.items()}
    if broken := [name for name, x in tensors.items() if x.dtype.kind == "f" and not np.isfinite(x).all()]:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise UserError(f"{path} holds numbers that are not finite (NaN or infinity) in {', '.join(broken[:3])}{more}")
    return contents._replace(tensors=tensors)


def names(path: str | Path, entry: str = "") -> list[str]:
    """The names of the tensors of a file, read without its numbers if it is a .safetensors file; errors as for `read`."""
    path = find(path)
    if path.suffix == ".safetensors" and not entry:
        with contextlib.suppress(OSError, safetensors.SafetensorError), safetensors.safe_open(path, "numpy") as file:
            return list(file.keys())
    return list(read(path, entry).tensors)


def _read_index(path: Path, entry: str) -> Contents:
    """The tensors of all files that an index lists, each from the file in which it has to be."""
    index = json.loads(path.read_text(encoding="utf-8"))
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise Refused("it has no weight_map from tensors to files")
    tensors: Tensors = {}
    for name in sorted(set(listed.values())):
        if not (path.parent / name).is_file():
            raise Refused(f"it lists {name}, which is not there")
        part = _read(path.parent / name, entry).tensors
        in_file = torch_name if name.endswith(".msgpack") else str  # an index of Flax has the names of Flax
        expected = {in_file(tensor) for tensor, file in listed.items() if file == name}
        if missing := sorted(expected - part.keys()):
            raise Refused(f"{name} lacks {missing[0]}, which the index lists")
        tensors |= {tensor: part[tensor] for tensor in expected}
    return Contents(tensors)


def _read(path: Path, entry: str) -> Contents:
    with path.open("rb") as file:
        start = file.read(256)
    if path.suffix == ".npz":
        if start[:2] != b"PK":
            raise Refused(f"it is not an .npz file, which would be a zip file{seems(start)}")
        return whole(_read_npz(path), entry)
    if path.suffix == ".safetensors":
        if told := seems(start):
            raise Refused(f"it is not a .safetensors file{told}")
        return whole(_read_safetensors(path), entry)
    if path.suffix == ".msgpack":
        return whole(read_flax(path), entry)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return flatten(read_torch(path), entry)
    raise Refused(f"it is not a file of PyTorch, .npz, .msgpack or .safetensors{seems(start)}")


def _read_npz(path: Path) -> Tensors:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            unpacked = sum(info.file_size for info in file.zip.infolist())
            if unpacked > 64 * path.stat().st_size + 2**20:
                raise Refused(f"its arrays would unpack to {unpacked:,} bytes")
            arrays = {name: file[name] for name in file.files}
    except Refused:
        raise
    # NumPy, zipfile and zlib raise many kinds of exceptions for a damaged file.
    except Exception as error:
        raise Refused(f"damaged .npz file: {error}") from error
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            raise Refused(f"its entry {name} is not an array")
    return arrays


def _read_safetensors(path: Path) -> Tensors:
    arrays = {}
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        if tensor["dtype"] not in SAFETENSORS_DTYPES:
            raise Refused(f"its tensor {name} has the unknown type {tensor['dtype']}")
        array = np.frombuffer(tensor["data"], SAFETENSORS_DTYPES[tensor["dtype"]])
        arrays[name] = array.reshape(tensor["shape"])
    return arrays


def plain(value: np.ndarray) -> np.ndarray:
    """An array with half precision as float32."""
    # An .npz file stores bfloat16 as V2, without its name.
    value = value.view(ml_dtypes.bfloat16) if value.dtype == np.dtype("V2") else value
    return value.astype(np.float32) if value.dtype in HALF else value


def read_config(folder: Path, format_name: str = "") -> dict[str, Any]:
    """The config beside weights, as on model hubs; {} if it does not exist.

    Args:
        folder: the folder of the weights.
        format_name: format of the weights. The folder of an open_clip model may also hold the config of another file.

    Raises:
        UserError: the config is not a JSON object.
    """
    names = ["config.json", "open_clip_config.json"]
    for name in reversed(names) if format_name == "OpenAI CLIP" else names:
        if (folder / name).is_file():
            return read_object(folder / name)
    return {}


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} if there is no such file.

    Raises:
        UserError: it holds something else.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not an object")
    return found


def write(path: str | Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a .safetensors file; an existing file is replaced only by a complete one.

    Raises:
        UserError: the path has another ending, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are written as .safetensors; give the file that ending")
    temporary = path.with_name(f".{path.name}.tmp")
    contiguous = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    try:
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777  # the library makes files that nobody else may read
        safetensors.numpy.save_file(contiguous, temporary, metadata=metadata)
        temporary.chmod(mode)
        written = safetensors.numpy.load_file(temporary)
        if different := [n for n, x in contiguous.items() if n not in written or written[n].tobytes() != x.tobytes()]:
            raise OSError(f"{different[0]} on disk differs from what was to be written")
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
