"""Whether an array that was read is the one that was written: a checksum that any layout over devices gives alike."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

UINTS = {1: jnp.uint8, 2: jnp.uint16}


def described(tree: Any) -> dict[str, str]:
    """{path: "float32[64,256]"} of a tree of arrays or `jax.ShapeDtypeStruct`s."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{jnp.dtype(x.dtype).name}[{','.join(map(str, x.shape))}]"
        )
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def fingerprints(tree: Any) -> dict[str, str]:
    """{path: "float32[64,256] 1f0c2a9b"}: type, shape and checksum of each array of a tree.

    Any change of one element changes the checksum or, with 1 chance in 2^32, does not.
    """
    # One after the other: many devices that are one CPU deadlock where several programs sum over them at a time.
    sums = [jax.device_get(_checksum(x)) for x in jax.tree.leaves(tree)]
    names = described(tree).items()
    return {path: f"{told} {int(sum):08x}" for (path, told), sum in zip(names, sums, strict=True)}


def mismatches(wanted: Mapping[str, Any], saved: Mapping[str, str]) -> list[str]:
    """What differs between the arrays asked for and those saved: names, then types and shapes.

    Args:
        wanted: {field: tree}; only these fields are compared.
        saved: `fingerprints` of all fields.
    """
    here = described(wanted)
    there = {name: told.rsplit(" ", 1)[0] for name, told in saved.items() if name.split("/")[0] in wanted}
    found = [f"{name} is not in the checkpoint" for name in sorted(here.keys() - there.keys())]
    found += [f"{name} is not in the model" for name in sorted(there.keys() - here.keys())]
    return found + [
        f"{name} is {there[name]} in the checkpoint and {here[name]} in the model"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name]
    ]


@jax.jit
def _checksum(x: jax.Array) -> jax.Array:
    """Sum of a hash of (bits, position) over all elements, modulo 2^32: exact in any order."""
    if x.dtype == bool:
        x = x.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(x, UINTS.get(x.dtype.itemsize, jnp.uint32))
    # From one index an axis: a reshape to one axis would gather what is split over devices.
    position = jnp.uint32(0)
    for axis, length in enumerate(bits.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        position = position * jnp.uint32(length) + index
    # The finaliser of MurmurHash3: a flipped bit anywhere changes half of the result.
    h = bits.astype(jnp.uint32) + position * jnp.uint32(0x9E3779B9)
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return (h ^ (h >> 16)).sum(dtype=jnp.uint32)
