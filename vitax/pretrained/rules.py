"""Rules that convert tensors of another project to our variables, and back.

Names of the other project are dotted ("blocks.0.attn.qkv.weight"); ours are paths of variables
("params/block0/attention/qkv/kernel"). The functions of this module return lists of rules, which are concatenated to
the table of a model. Their docstrings give the shape in the other project's file and the shape in our model.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vitax.errors import UserError

Arrays = tuple[np.ndarray, ...]


class Rule(NamedTuple):
    """A correspondence between tensors of another project and our variables.

    Attributes:
        theirs: names in the other project.
        ours: paths of our variables.
        load: converts their arrays to ours.
        save: the inverse of ``load``.
        optional: names among ``theirs`` that a file may lack, because they repeat another tensor.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    load: Callable[[Arrays], Arrays]
    save: Callable[[Arrays], Arrays]
    optional: tuple[str, ...] = ()


Rules = list[Rule]


def one(theirs: str, ours: str, load=lambda x: x, save=lambda x: x) -> Rules:
    """A rule for one tensor that is one parameter."""
    return [Rule((theirs,), (f"params/{ours}",), lambda x: (load(x[0]),), lambda x: (save(x[0]),))]


def shaped(theirs: str, ours: str, their_shape: Sequence[int], our_shape: Sequence[int]) -> Rules:
    """A rule for a tensor that has the same numbers in another shape."""
    return one(theirs, ours, lambda x: x.reshape(our_shape), lambda x: x.reshape(their_shape))


def vector(theirs: str, ours: str) -> Rules:
    """A token: [1, 1, D] in the file, [D] in the model."""
    return shaped(theirs, ours, (1, 1, -1), (-1,))


def linear(theirs: str, ours: str, bias: bool = True) -> Rules:
    """A linear layer: [out, in] in the file, [in, out] in the model."""
    rules = one(f"{theirs}.weight", f"{ours}/kernel", np.transpose, np.transpose)
    return rules + (one(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def linears(theirs: Sequence[str], ours: str, bias: bool = True) -> Rules:
    """Several linear layers in the file, joined to one in the model: query, key and value."""
    count, rules = len(theirs), []
    for leaf, name in (("weight", "kernel"), *((("bias", "bias"),) if bias else ())):
        rules.append(
            Rule(
                tuple(f"{t}.{leaf}" for t in theirs),
                (f"params/{ours}/{name}",),
                lambda x: (np.concatenate([part.T for part in x], axis=-1),),
                lambda x: tuple(part.T for part in np.split(x[0], count, axis=-1)),
            )
        )
    return rules


def biases(theirs: Sequence[str], ours: str, of_keys: bool = False) -> Rules:
    """Biases of queries and of values in the file, joined to one vector in the model.

    Args:
        theirs: their names in the file.
        ours: name in the model.
        of_keys: the model has biases of keys between them, which must be zero.
    """

    def load(x: Arrays) -> Arrays:
        return (np.concatenate([x[0], np.zeros_like(x[0]), x[1]] if of_keys else x),)

    def save(x: Arrays) -> Arrays:
        if not of_keys:
            return tuple(np.split(x[0], 2))
        query, key, value = np.split(x[0], 3)
        if key.any():
            raise UserError("these names have no biases of keys, and those of this model are not zero")
        return query, value

    return [Rule(tuple(theirs), (f"params/{ours}",), load, save)]


def parts(theirs: str, ours: Sequence[str]) -> Rules:
    """One layer in the file, whose outputs are those of several layers of the model, one after the other.

    Args:
        theirs: what precedes "weight" and "bias" in its names, the dot or underscore included.
        ours: names of the layers of the model.
    """
    count = len(ours)
    return [
        Rule(
            (f"{theirs}weight",),
            tuple(f"params/{name}/kernel" for name in ours),
            lambda x: tuple(part.T for part in np.split(x[0], count)),
            lambda x: (np.concatenate([part.T for part in x]),),
        ),
        Rule(
            (f"{theirs}bias",),
            tuple(f"params/{name}/bias" for name in ours),
            lambda x: tuple(np.split(x[0], count)),
            lambda x: (np.concatenate(x),),
        ),
    ]


def convolution(theirs: str, ours: str, bias: bool = True) -> Rules:
    """A convolution: [out, in, row, column] in the file, [row, column, in, out] in the model."""
    rules = one(
        f"{theirs}.weight", f"{ours}/kernel", lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
    )
    return rules + (one(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def patches(theirs: str, ours: str, patch_size: int, bias: bool = True) -> Rules:
    """A patch embedding: a strided convolution in the file, the product with a matrix [P*P*C, D] in the model."""
    p = patch_size
    rules = one(
        f"{theirs}.weight",
        f"{ours}/projection/kernel",
        lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
        lambda x: x.reshape(p, p, -1, x.shape[-1]).transpose(3, 2, 0, 1),
    )
    return rules + (one(f"{theirs}.bias", f"{ours}/projection/bias") if bias else [])


def norm(theirs: str, ours: str) -> Rules:
    """A LayerNorm."""
    return one(f"{theirs}.weight", f"{ours}/scale") + one(f"{theirs}.bias", f"{ours}/bias")


def batch_norm(theirs: str, ours: str) -> Rules:
    """A BatchNorm, whose running statistics are in the collection "batch_stats"."""
    same = lambda x: x
    return norm(theirs, ours) + [
        Rule((f"{theirs}.running_{a}",), (f"batch_stats/{ours}/{b}",), same, same)
        for a, b in (("mean", "mean"), ("var", "var"))
    ]


def positions(theirs: str, ours: str, grid: tuple[int, int], prefix: int) -> Rules:
    """Positions: [1, prefix + h*w, D] (or without the 1) in the file; prefix [prefix, D], grid [h, w, D] in the model.

    If a file has no vectors for the prefix, they become zeros.
    """
    count = grid[0] * grid[1]

    def load(x: Arrays) -> Arrays:
        table = x[0].reshape(-1, x[0].shape[-1])
        if prefix and len(table) == count:
            table = np.concatenate([np.zeros_like(table[:prefix]), table])
        places = table[prefix:].reshape(*grid, -1)
        return (table[:prefix], places) if prefix else (places,)

    def save(x: Arrays) -> Arrays:
        table = x[-1].reshape(count, -1)
        return (np.concatenate([x[0], table])[None] if prefix else table[None],)

    names = ("prefix", "grid") if prefix else ("grid",)
    return [Rule((theirs,), tuple(f"params/{ours}/{n}" for n in names), load, save)]


def copies(rule: Rules, others: Sequence[str]) -> Rules:
    """The rule with further names of its single tensor, under which a file may repeat it.

    Raises:
        UserError: the copies differ.
    """
    ((theirs,), ours, load, save, _) = rule[0]

    def load_equal(x: Arrays) -> Arrays:
        for duplicate in x[1:]:
            if not np.array_equal(duplicate, x[0]):
                raise UserError(
                    f"{', '.join((theirs, *others))} are one parameter of the model, but differ in the file"
                )
        return load(x[:1])

    return [Rule((theirs, *others), ours, load_equal, lambda x: save(x) * (1 + len(others)), tuple(others))]


def relative_bias(theirs: str, ours: str, table: tuple[int, int], heads: int) -> Rules:
    """Relative positions: [(2h-1)*(2w-1), heads] in the file, [2h-1, 2w-1, heads] in the model."""
    sides = (2 * table[0] - 1, 2 * table[1] - 1)
    return shaped(theirs, f"{ours}/relative_bias", (-1, heads), (*sides, heads))


def timm_block(
    theirs: str, ours: str, qkv_bias: bool = True, layer_scale: bool = False, qk_norm: bool = False
) -> Rules:
    """A pre-norm block with the names of timm, which most projects have adopted."""
    more: Rules = []
    if layer_scale:
        more += one(f"{theirs}.ls1.gamma", f"{ours}/attention_scale") + one(f"{theirs}.ls2.gamma", f"{ours}/mlp_scale")
    if qk_norm:
        more += norm(f"{theirs}.attn.q_norm", f"{ours}/attention/q_norm")
        more += norm(f"{theirs}.attn.k_norm", f"{ours}/attention/k_norm")
    return (
        more
        + norm(f"{theirs}.norm1", f"{ours}/norm1")
        + linear(f"{theirs}.attn.qkv", f"{ours}/attention/qkv", qkv_bias)
        + linear(f"{theirs}.attn.proj", f"{ours}/attention/out")
        + norm(f"{theirs}.norm2", f"{ours}/norm2")
        + linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1")
        + linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2")
    )


def hugging_face_block(theirs: str, ours: str, inner: str = "attention", qkv_bias: bool = True) -> Rules:
    """A pre-norm block with the names of Hugging Face's ViT and Swin; query, key and value are in ``inner``."""
    qkv = [f"{theirs}.attention.{inner}.{name}" for name in ("query", "key", "value")]
    return (
        norm(f"{theirs}.layernorm_before", f"{ours}/norm1")
        + linears(qkv, f"{ours}/attention/qkv", qkv_bias)
        + linear(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
        + norm(f"{theirs}.layernorm_after", f"{ours}/norm2")
        + linear(f"{theirs}.intermediate.dense", f"{ours}/mlp/dense1")
        + linear(f"{theirs}.output.dense", f"{ours}/mlp/dense2")
    )


def stacked(theirs: str, ours: Sequence[str]) -> Rules:
    """The rows of one tensor in the file, each of which is a parameter of the model."""
    return [Rule((theirs,), tuple(f"params/{o}" for o in ours), lambda x: tuple(x[0]), lambda x: (np.stack(x),))]
