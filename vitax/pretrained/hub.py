"""Weights by their name on the Hugging Face hub: ``hf-hub:OWNER/NAME[@REVISION][:FILE]``.

Downloads, the cache and access are those of ``huggingface_hub``: HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean
what they mean everywhere. An interrupted download is resumed, and only the files that vitax reads are fetched.
"""

import functools
import json
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from vitax import hub
from vitax.errors import UserError

PREFIX = "hf-hub:"
INDEX = ".index.json"
# Files of weights in the layout of a model hub, in the order in which they are tried.
IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "flax_model.msgpack",
    "flax_model.msgpack.index.json",
)
# Files beside the weights, all of them small, that tell what the weights mean.
BESIDE = (
    "config.json",
    "preprocessor_config.json",
    "open_clip_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
OF_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz", ".ckpt", ".msgpack")


class Name(NamedTuple):
    """The name of weights on the hub.

    Attributes:
        repository: "OWNER/NAME".
        revision: a branch, tag or commit; "" = the main branch.
        file: the file in the repository; "" = the first of `IN_FOLDER` that it has.
    """

    repository: str
    revision: str = ""
    file: str = ""

    def __str__(self) -> str:
        at, colon = self.revision and f"@{self.revision}", self.file and f":{self.file}"
        return f"{PREFIX}{self.repository}{at}{colon}"


class Preview(NamedTuple):
    """What the hub tells about weights without a download of the numbers.

    Attributes:
        commit: the commit to which the revision belongs.
        sizes: {file: bytes} of the weights.
        tensors: {name: array} with the shapes in the file, and zeros for its numbers; {} if only the whole file tells
            them, as for PyTorch's files.
        folder: the folder of the files beside the weights, which have been downloaded; None = there are none.
    """

    commit: str
    sizes: dict[str, int]
    tensors: dict[str, np.ndarray]
    folder: Path | None


def is_name(path: str | Path) -> bool:
    """True if this is a name on the hub, not a path of a file."""
    return str(path).startswith(PREFIX)


def parse(text: str | Path) -> Name:
    """The parts of a name.

    Raises:
        UserError: it is not a name on the hub.
    """
    written = text.as_posix() if isinstance(text, Path) else text
    matched = re.fullmatch(rf"{PREFIX}([\w.-]+(?:/[\w.-]+)?)(?:@([^:]+))?(?::(.+))?", written)
    if not matched:
        raise UserError(f"{written!r} is not {PREFIX}OWNER/NAME[@REVISION][:FILE]")
    return Name(matched[1], matched[2] or "", matched[3] or "")


@functools.cache
def fetched(text: str | Path) -> Path:
    """The file of weights in the hub's cache, with the files beside it; they are downloaded if they are not there.

    Raises:
        UserError: the hub has no such model, revision or file; it cannot be reached; a file is not in the cache and
            HF_HUB_OFFLINE is set; or the checksum of a file is not the one that the hub records.
    """
    name = parse(text)
    with hub.explained(str(name), name.repository):
        files = _listed(name)
        weights = _weights(name, files)
        found = _download(name, weights)
        parts = _parts(found) if weights.endswith(INDEX) else ()
        folder = PurePosixPath(weights).parent
        wanted = [str(folder / part) for part in (*parts, *BESIDE)]
        others = [_download(name, file) for file in wanted if file in files or PurePosixPath(file).name in parts]
        if changed := [path for path in others if path.parent != found.parent]:
            raise UserError(
                f"{name} changed while it was downloaded ({changed[0].name} is of another commit): try again"
            )
    return found


def preview(text: str | Path) -> Preview:
    """The shapes of weights and the files beside them; of a .safetensors file only the header is read.

    Raises:
        UserError: as for `fetched`.
    """
    from huggingface_hub import HfApi

    name = parse(text)
    with hub.explained(str(name), name.repository):
        api = HfApi()
        info = api.model_info(name.repository, revision=name.revision or None, files_metadata=True)
        files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        weights = _weights(name, tuple(files))
        folder = PurePosixPath(weights).parent
        parts = [weights]
        if weights.endswith(INDEX):
            parts = [str(folder / part) for part in _parts(_download(name, weights))]
        if missing := [part for part in parts if part not in files]:
            raise UserError(f"{name}: its index lists {missing[0]}, which is not there")
        beside = [_download(name, str(folder / file)) for file in BESIDE if str(folder / file) in files]
        tensors = {}
        if all(part.endswith(".safetensors") for part in parts):
            for part in parts:
                header = api.parse_safetensors_file_metadata(name.repository, part, revision=info.sha)
                shapes = {tensor: tuple(about.shape) for tensor, about in header.tensors.items()}
                tensors |= {tensor: np.broadcast_to(np.float32(0), shape) for tensor, shape in shapes.items()}
    sizes = {part: files[part] for part in parts}
    return Preview(info.sha or "", sizes, tensors, beside[0].parent if beside else None)


def _listed(name: Name) -> tuple[str, ...]:
    """The files of a repository; without a connection, those of them that vitax could want and the cache has."""
    from huggingface_hub import try_to_load_from_cache

    if not hub.is_offline():
        return hub.files(name.repository, name.revision)
    folder = PurePosixPath(name.file).parent
    candidates = [name.file] if name.file else list(IN_FOLDER)
    candidates += [str(folder / file) for file in BESIDE]
    cached = (try_to_load_from_cache(name.repository, file, revision=name.revision or None) for file in candidates)
    return tuple(file for file, path in zip(candidates, cached, strict=True) if isinstance(path, str))


def _weights(name: Name, files: tuple[str, ...]) -> str:
    """The file of weights among the files of a repository."""
    wanted = (name.file,) if name.file else IN_FOLDER
    for file in wanted:
        if file in files:
            return file
    if hub.is_offline():
        raise UserError(f"{name} is not in the cache of the hub, and HF_HUB_OFFLINE forbids a download")
    others = [file for file in files if file.endswith((*OF_WEIGHTS, INDEX))]
    have = f"it has {', '.join(others[:12])}" if others else "it has no file of weights"
    if name.file:
        raise UserError(f"{name}: there is no file {name.file}; {have}")
    more = f"; choose one of them, {name}:FILE" if others else ""
    raise UserError(f"{name} has none of {', '.join(IN_FOLDER)}; {have}{more}")


def _download(name: Name, file: str) -> Path:
    return hub.download(name.repository, file, name.revision)


def _parts(index: Path) -> tuple[str, ...]:
    """The files that an index lists, in order."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return tuple(sorted({str(file) for file in listed.values()}))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index} has no weight_map from tensors to files") from error
