"""Rules of correspondence: which tensors of another project are which of ours, and how the one is made of the other.

A rule works both ways. Names of the other project are dotted ("blocks.0.attn.qkv.weight"); ours are paths of
variables ("params/block0/attention/qkv/kernel"). Functions here return lists, to be added up to the table of a model.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Arrays = tuple[np.ndarray, ...]


class Rule(NamedTuple):
    """``theirs`` and ``ours``: names; ``load`` makes arrays of ours from theirs, ``save`` is its inverse.

    optional: names among theirs that a file may lack, because they repeat another.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    load: Callable[[Arrays], Arrays]
    save: Callable[[Arrays], Arrays]
    optional: tuple[str, ...] = ()


Rules = list[Rule]


def one(theirs: str, ours: str, load=lambda x: x, save=lambda x: x) -> Rules:
    """One tensor, one parameter."""
    return [Rule((theirs,), (f"params/{ours}",), lambda x: (load(x[0]),), lambda x: (save(x[0]),))]


def shaped(theirs: str, ours: str, their_shape: Sequence[int], our_shape: Sequence[int]) -> Rules:
    """The same numbers in another shape."""
    return one(theirs, ours, lambda x: x.reshape(our_shape), lambda x: x.reshape(their_shape))


def vector(theirs: str, ours: str) -> Rules:
    """[1, 1, D] there, [D] here: tokens."""
    return shaped(theirs, ours, (1, 1, -1), (-1,))


def linear(theirs: str, ours: str, bias: bool = True) -> Rules:
    """[out, in] there, [in, out] here."""
    rules = one(f"{theirs}.weight", f"{ours}/kernel", np.transpose, np.transpose)
    return rules + (one(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def linears(theirs: Sequence[str], ours: str, bias: bool = True) -> Rules:
    """Several linear layers there, side by side in one here: query, key and value."""
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


def convolution(theirs: str, ours: str, bias: bool = True) -> Rules:
    """[out, in, row, column] there, [row, column, in, out] here."""
    rules = one(
        f"{theirs}.weight", f"{ours}/kernel", lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
    )
    return rules + (one(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def patches(theirs: str, ours: str, patch_size: int, bias: bool = True) -> Rules:
    """A strided convolution there, the product with a matrix [P*P*C, D] here."""
    p = patch_size
    rules = one(
        f"{theirs}.weight",
        f"{ours}/projection/kernel",
        lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
        lambda x: x.reshape(p, p, -1, x.shape[-1]).transpose(3, 2, 0, 1),
    )
    return rules + (one(f"{theirs}.bias", f"{ours}/projection/bias") if bias else [])


def norm(theirs: str, ours: str) -> Rules:
    """LayerNorm."""
    return one(f"{theirs}.weight", f"{ours}/scale") + one(f"{theirs}.bias", f"{ours}/bias")


def batch_norm(theirs: str, ours: str) -> Rules:
    """BatchNorm: its running statistics are in the collection "batch_stats"."""
    same = lambda x: x
    return norm(theirs, ours) + [
        Rule((f"{theirs}.running_{a}",), (f"batch_stats/{ours}/{b}",), same, same)
        for a, b in (("mean", "mean"), ("var", "var"))
    ]


def positions(theirs: str, ours: str, grid: tuple[int, int], prefix: int) -> Rules:
    """[1, prefix + h*w, D] (or without the 1) there; prefix [prefix, D] and grid [h, w, D] here.

    A file without vectors for the prefix gets zeros there.
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
    """The single tensor of a rule has further names, under which a file may repeat it.

    Raises:
        ValueError: the copies differ.
    """
    ((theirs,), ours, load, save, _) = rule[0]

    def load_equal(x: Arrays) -> Arrays:
        for other in x[1:]:
            if not np.array_equal(other, x[0]):
                raise ValueError(f"of {', '.join((theirs, *others))}, which are tied, one differs")
        return load(x[:1])

    return [Rule((theirs, *others), ours, load_equal, lambda x: save(x) * (1 + len(others)), tuple(others))]


def relative_bias(theirs: str, ours: str, table: tuple[int, int], heads: int) -> Rules:
    """[(2h-1)*(2w-1), heads] there, [2h-1, 2w-1, heads] here."""
    sides = (2 * table[0] - 1, 2 * table[1] - 1)
    return shaped(theirs, f"{ours}/relative_bias", (-1, heads), (*sides, heads))


def timm_block(theirs: str, ours: str, qkv_bias: bool = True) -> Rules:
    """A pre-norm block with the names of timm, which most projects have taken over."""
    return (
        norm(f"{theirs}.norm1", f"{ours}/norm1")
        + linear(f"{theirs}.attn.qkv", f"{ours}/attention/qkv", qkv_bias)
        + linear(f"{theirs}.attn.proj", f"{ours}/attention/out")
        + norm(f"{theirs}.norm2", f"{ours}/norm2")
        + linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1")
        + linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2")
    )


def hugging_face_block(theirs: str, ours: str, inner: str = "attention", qkv_bias: bool = True) -> Rules:
    """A pre-norm block with the names of Hugging Face's ViT and Swin; ``inner``: where query, key and value are."""
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
    """The rows of one tensor there, a parameter each here."""
    return [Rule((theirs,), tuple(f"params/{o}" for o in ours), lambda x: tuple(x[0]), lambda x: (np.stack(x),))]
