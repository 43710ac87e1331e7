"""Files of Hugging Face's Flax models, which transformers no longer has: flax_model.msgpack, under the names of PyTorch.

A tree of Flax and a state_dict of PyTorch differ in the names of the last parts and in the order of axes, by the mapping
that transformers applied when it converted one to the other. Nothing in a file is run.
"""

from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict

from vitax.pretrained.pickles import Refused

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


def read_flax(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a .msgpack file, {name in PyTorch: array in its layout}.

    Raises:
        Refused: the file is damaged, or holds something else than a tree of arrays.
    """
    try:
        tree: Any = serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack and NumPy raise many kinds for a damaged file
        raise Refused(f"it is not a .msgpack file of Flax, or damaged: {type(error).__name__}: {error}") from error
    if not isinstance(tree, dict):
        raise Refused(f"it holds a {type(tree).__name__}, not a tree of arrays")
    tree = tree.get("params", tree)
    tensors = {}
    for name, value in flatten_dict(tree, sep="/").items():
        if not isinstance(value, np.ndarray | np.generic):  # a temperature may be a NumPy scalar
            raise Refused(f"its entry {name} is a {type(value).__name__}, not an array")
        tensors[torch_name(name)] = _in_order(name, np.asarray(value))
    return tensors


def torch_name(name: str) -> str:
    """The name in PyTorch of a name in Flax, such as "encoder/layer/0/output/dense/kernel"."""
    *parts, last = name.split("/")
    return ".".join((*parts, LEAVES.get(last, last)))


def _in_order(name: str, value: np.ndarray) -> np.ndarray:
    """An array with the axes in PyTorch's order: (in, out) and (height, width, in, out) are turned round."""
    if not name.endswith("/kernel"):
        return value
    if value.ndim not in (2, 4):
        raise Refused(f"{name} is a kernel with {value.ndim} axes, which vitax cannot read")
    return value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
