"""Files of weights: reads .npz, .safetensors and PyTorch's files into {name: array}, and writes .safetensors.

No code from a file is run, and PyTorch is not needed. Half-precision numbers become float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from vitax.errors import UserError
from vitax.pretrained.torch_file import MAX_DEPTH, Record, Refused, read_torch

Tensors = dict[str, np.ndarray]

# Keys of the weights inside a training checkpoint, in the order in which they are tried.
WRAPPERS = ("model", "state_dict", "params_ema", "params", "module", "model_state_dict", "teacher")
IN_FOLDER = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
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
    """The file of weights: the path itself, or the weights in a folder with the layout of a model hub.

    Raises:
        UserError: the file does not exist.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        for name in IN_FOLDER:
            if (path / name).is_file():
                return path / name
        raise UserError(f"the folder {path} holds none of {', '.join(IN_FOLDER)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    return path


def read(path: str | Path) -> Tensors:
    """Tensors of a file, {name: array}; half precision becomes float32.

    Raises:
        UserError: the file does not hold weights, is damaged, or holds more than tensors.
    """
    try:
        path = find(path)
        tensors = _read(path)
    except (Refused, OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not tensors:
        raise UserError(f"{path} holds no tensors")
    return {name: _plain(value) for name, value in tensors.items()}


def _read(path: Path) -> Mapping[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(2)
    if path.suffix == ".npz":
        if start != b"PK":
            raise Refused("it is not an .npz file, which would be a zip file")
        return _read_npz(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start == b"PK":
        return flatten(read_torch(path))
    if start[:1] == b"\x80" or path.suffix in (".pth", ".pt", ".bin", ".tar"):
        raise Refused(
            "it is not a zip file: PyTorch before 1.6 wrote another format; convert it with "
            "torch.save(torch.load(FILE, weights_only=True), 'new.pth')"
        )
    raise Refused("the name ends with none of .npz, .safetensors, .pth, .pt, .bin")


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


def flatten(found: Any, depth: int = 0) -> Tensors:
    """The tensors of a checkpoint, without the wrapper around the weights and without its other entries.

    Raises:
        Refused: the checkpoint is not a dictionary of tensors, or is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise Refused("its dictionaries are nested too deeply")
    if isinstance(found, Record):
        return _attributes(found, "", set())
    if not isinstance(found, Mapping):
        raise Refused(f"it holds a {type(found).__name__}, not a dictionary of tensors")
    for key in WRAPPERS:
        if isinstance(found.get(key), Mapping) and found[key] is not found:
            return flatten(found[key], depth + 1)
    tensors = {str(k): v for k, v in found.items() if isinstance(v, np.ndarray)}
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _attributes(module: Record, prefix: str, seen: set[int]) -> Tensors:
    """Tensors of a TorchScript module and of its submodules, each of which may have only one parent."""
    if id(module) in seen or prefix.count(".") > MAX_DEPTH:
        raise Refused("its modules contain one another, or are nested too deeply")
    seen.add(id(module))
    tensors: Tensors = {}
    for name, value in module.items():
        if isinstance(value, np.ndarray):
            tensors[prefix + name] = value
        elif isinstance(value, Record):
            tensors |= _attributes(value, f"{prefix}{name}.", seen)
    return tensors


def _plain(value: np.ndarray) -> np.ndarray:
    # An .npz file stores bfloat16 as V2, without its name.
    value = value.view(ml_dtypes.bfloat16) if value.dtype == np.dtype("V2") else value
    return value.astype(np.float32) if value.dtype in HALF else value


def read_config(path: str | Path) -> dict[str, Any]:
    """The config beside a file of weights, as on model hubs; {} if it does not exist.

    Raises:
        UserError: the config is not JSON, or the file of weights does not exist.
    """
    folder = find(path).parent
    for name in ("config.json", "open_clip_config.json"):
        if (folder / name).is_file():
            try:
                config = json.loads((folder / name).read_text())
            except ValueError as error:
                raise UserError(f"{folder / name} is not JSON: {error}") from error
            return config if isinstance(config, dict) else {}
    return {}


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
        safetensors.numpy.save_file(contiguous, temporary, metadata=metadata)
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
