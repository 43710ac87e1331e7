"""Checksums that verify that an array is read as it was written; they do not depend on its layout over devices."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

UINTS = {1: jnp.uint8, 2: jnp.uint16}


def described(tree: Any) -> dict[str, str]:
    """Types and shapes of a tree of arrays or `jax.ShapeDtypeStruct`s: {path: "float32[64,256]"}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{jnp.dtype(x.dtype).name}[{','.join(map(str, x.shape))}]"
        )
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def fingerprints(tree: Any) -> dict[str, str]:
    """Type, shape and checksum of each array of a tree: {path: "float32[64,256] 1f0c2a9b"}.

    A change of one element (of up to 32 bits) always changes the checksum; a change of several elements leaves it the
    same with a chance of 1 in 2^32.
    """
    # One after the other: the virtual devices of one CPU deadlock if several programs sum over them at the same time.
    sums = [jax.device_get(_checksum(x)) for x in jax.tree.leaves(tree)]
    names = described(tree).items()
    return {path: f"{kind} {int(checksum):08x}" for (path, kind), checksum in zip(names, sums, strict=True)}


def mismatches(wanted: Mapping[str, Any], saved: Mapping[str, str]) -> list[str]:
    """Differences between the requested arrays and the saved ones: first in names, then in types and shapes.

    Args:
        wanted: {field: tree} of the requested arrays; only these fields are compared.
        saved: `fingerprints` of all saved fields.
    """
    requested = described(wanted)
    stored = {name: kind.rsplit(" ", 1)[0] for name, kind in saved.items() if name.split("/")[0] in wanted}
    messages = [f"{name} is not in the checkpoint" for name in sorted(requested.keys() - stored.keys())]
    messages += [f"{name} is not in the model" for name in sorted(stored.keys() - requested.keys())]
    return messages + [
        f"{name} is {stored[name]} in the checkpoint and {requested[name]} in the model"
        for name in sorted(requested.keys() & stored.keys())
        if requested[name] != stored[name]
    ]


def changes(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> list[str]:
    """What is another under the keys of ``old``, in words; keys that only ``new`` has do not count."""
    found = []
    for key in sorted(old):
        was, now = old[key], new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += changes(was, now, f"{place}{key} ")
        elif was != now:
            found.append(f"{place}{key} was {str(was)[:60]} and is {str(now)[:60]}")
    return found


@jax.jit
def _checksum(x: jax.Array) -> jax.Array:
    """Sum of a hash of (bits, position) over all elements, modulo 2^32: exact in any order."""
    if x.dtype == bool:
        x = x.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(x, UINTS.get(x.dtype.itemsize, jnp.uint32))
    # Computed from an index for each axis: a reshape to one axis would gather an array that is split over devices.
    position = jnp.uint32(0)
    for axis, length in enumerate(bits.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        position = position * jnp.uint32(length) + index
    # The finaliser of MurmurHash3: a flipped bit anywhere changes about half of the bits of the result.
    h = bits.astype(jnp.uint32) + position * jnp.uint32(0x9E3779B9)
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return (h ^ (h >> 16)).sum(dtype=jnp.uint32)
