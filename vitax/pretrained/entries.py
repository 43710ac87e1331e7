"""The weights inside a training checkpoint: the entry that holds them, without the wrapper around it."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vitax.pretrained.pickles import MAX_DEPTH, Inert, Record, Refused

Tensors = dict[str, np.ndarray]

# Keys of the weights inside a training checkpoint, in the order in which they are tried; averages come last.
WRAPPERS = (
    "model", "state_dict", "params_ema", "params", "module", "model_state_dict", "net", "teacher", "weights",
    "model_ema", "state_dict_ema", "ema", "ema_state_dict",
)  # fmt: skip


class Contents(NamedTuple):
    """The tensors of a file, and where they were in it.

    Attributes:
        tensors: {name: array}; half precision has become float32.
        entry: key of the dictionary of these tensors in a training checkpoint; "" = the file holds nothing else.
        others: keys of further dictionaries of tensors in it, which were not read.
    """

    tensors: Tensors
    entry: str = ""
    others: tuple[str, ...] = ()


def whole(tensors: Tensors, entry: str) -> Contents:
    """The contents of a kind of file that has no entries.

    Raises:
        Refused: one was asked for.
    """
    if entry:
        raise Refused(f"entry={entry!r}: only training checkpoints of PyTorch have entries, and this is none")
    return Contents(tensors)


def flatten(found: Any, entry: str = "", depth: int = 0) -> Contents:
    """The tensors of a checkpoint, without the wrapper around the weights and without its other entries.

    Raises:
        Refused: the checkpoint is not a dictionary of tensors, lacks ``entry``, or is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise Refused("its dictionaries are nested too deeply")
    if isinstance(found, Record):
        return whole(_attributes(found, "", set()), entry)
    if isinstance(found, Inert):
        raise Refused(f"it holds {found.made_by}, a whole object; save its state_dict() instead")
    if not isinstance(found, Mapping):
        raise Refused(f"it holds a {type(found).__name__}, not a dictionary of tensors")
    inner = [str(key) for key, value in found.items() if isinstance(value, Mapping) and _has_tensors(value)]
    if entry and entry not in inner:
        raise Refused(f"it has no entry {entry!r} of tensors; it has {', '.join(map(repr, inner)) or 'none'}")
    own = {str(key): value for key, value in found.items() if isinstance(value, np.ndarray)}
    key = entry or next((key for key in WRAPPERS if key in inner), "")
    if not key and not own and len(inner) == 1:
        (key,) = inner
    if key:
        below = flatten(found[key], "", depth + 1)
        others = tuple(name for name in inner if name != key and name in (*WRAPPERS, entry))
        return below._replace(entry="/".join(filter(None, (key, below.entry))), others=others + below.others)
    if inner and not own:
        raise Refused(f"it has several entries of tensors: {', '.join(map(repr, inner))}; choose one with entry=NAME")
    unread = [
        name for name, x in found.items() if isinstance(x, Inert) and re.search("rebuild|Tensor|Parameter", x.made_by)
    ]
    if unread:
        raise Refused(f"its tensor {unread[0]} is made by {found[unread[0]].made_by}, which vitax does not read")
    return Contents(own)


def _has_tensors(found: Mapping[Any, Any], depth: int = 0) -> bool:
    """True if a dictionary, or one of the dictionaries that are values of it, has a tensor whose key is a name."""
    if any(isinstance(key, str) and isinstance(value, np.ndarray) for key, value in found.items()):
        return True
    inner = [value for key, value in found.items() if key in WRAPPERS and isinstance(value, Mapping)]
    return depth < 3 and any(_has_tensors(value, depth + 1) for value in inner)


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
