"""What a format of weights is, and how fields of a model follow from a file."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from vitax.errors import UserError
from vitax.pretrained.rules import Rules

Tensors = Mapping[str, np.ndarray]
Fields = Mapping[str, Any]


class Format(NamedTuple):
    """How one project names the weights of one family.

    name: for people and for `vitax.pretrained.save`, such as "timm ViT".
    family: key of `vitax.models.MODELS`.
    recognises: whether names are those of this format.
    fields: (tensors, given) -> fields of the model; ``given`` are those that the caller knows.
    rules: model -> its table.
    ignore: pattern of names that are no parameters (buffers that the model computes).
    rename: an older or newer name to the one in the table.
    tells: fields that files of this format tell, where most do not.
    """

    name: str
    family: str
    recognises: Callable[[Iterable[str]], bool]
    fields: Callable[[Tensors, Fields], dict[str, Any]]
    rules: Callable[[nn.Module], Rules]
    ignore: str = r"(relative_position_index|attn_mask|position_ids|num_batches_tracked)$"
    rename: Callable[[str], str] = lambda name: name
    tells: tuple[str, ...] = ()


def has(*needed: str, without: tuple[str, ...] = ()) -> Callable[[Iterable[str]], bool]:
    """Recognises a file by names that it has and names that it has not."""
    return lambda names: set(needed) <= set(names) and not set(without) & set(names)


def count(tensors: Iterable[str], pattern: str) -> int:
    """How many there are of something numbered from 0, by the number in group 1 of the pattern.

    Raises:
        UserError: numbers are left out.
    """
    found = {match[1] for name in tensors if (match := re.match(pattern, name))}
    if found - {str(i) for i in range(len(found))}:
        some = ", ".join(sorted(found, key=lambda n: (len(n), n))[:20])
        raise UserError(f"the file numbers {pattern!r} as {some}: some are missing")
    return len(found)


def heads(given: Fields, width: int, known: Mapping[int, int], key: str = "num_heads") -> int:
    """Attention heads: given, or those that published models of this width have; no file tells them.

    Raises:
        UserError: neither is known.
    """
    if key in given:
        return given[key]
    if width not in known:
        raise UserError(f"the file does not tell how many heads a model of width {width} has; give {key}=...")
    return known[width]


def image_size(given: Fields, patches: int, patch_size: int) -> tuple[int, int]:
    """Of the position table: the given size if it has that many patches, or else a square.

    Raises:
        UserError: neither fits.
    """
    wanted = pair(given["image_size"]) if "image_size" in given else None
    if wanted and math.prod(side // patch_size for side in wanted) == patches:
        return wanted
    side = math.isqrt(patches)
    if side * side != patches:
        raise UserError(
            f"{patches} patches of {patch_size} pixels are no square; "
            "give image_size=(height, width) for which the weights were made"
        )
    return (side * patch_size, side * patch_size)


def pair(size: int | tuple[int, ...] | list[int]) -> tuple[int, int]:
    """224 or (224, 224) to (224, 224).

    Raises:
        UserError: it is neither.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size,)
    whole = all(isinstance(n, int | np.integer) and n > 0 for n in sides)
    if not whole or len(sides) not in (1, 2):
        raise UserError(f"image_size={size!r} is neither a side nor (height, width) in pixels")
    return int(sides[0]), int(sides[-1])


def renaming(*replacements: tuple[str, str]) -> Callable[[str], str]:
    """A function that applies regular replacements one after another."""

    def rename(name: str) -> str:
        for pattern, new in replacements:
            name = re.sub(pattern, new, name)
        return name

    return rename


# Names inside a block that version 5 of transformers uses at run time, and those of saved files.
HUGGING_FACE_5 = (
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
