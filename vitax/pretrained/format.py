"""Formats of weights, and functions that derive the fields of a model from a file."""

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
    """The names that one project uses for the weights of one family.

    Attributes:
        name: name for reports and for `vitax.pretrained.save`, such as "timm ViT".
        family: key of `vitax.models.MODELS`.
        recognises: names -> whether they belong to this format.
        fields: (tensors, given) -> fields of the model; ``given`` holds the fields that the caller knows.
        rules: model -> its table of rules.
        ignore: pattern of names that are not parameters (buffers that the model computes).
        rename: older or newer name -> name in the table.
        prepare: (renamed tensors, given) -> tensors as the table has them, where names alone do not suffice.
        tells: fields that files of this format record, although files of most formats do not.
        guesses: fields that files of this format leave open, and of which the usual value is taken.
        doubt: tensors -> why they may belong to another model with the same names, if no config.json tells; "" = they
            do not.
    """

    name: str
    family: str
    recognises: Callable[[Iterable[str]], bool]
    fields: Callable[[Tensors, Fields], dict[str, Any]]
    rules: Callable[[nn.Module], Rules]
    ignore: str = r"(relative_position_index|attn_mask|position_ids|num_batches_tracked)$"
    rename: Callable[[str], str] = lambda name: name
    prepare: Callable[[Tensors, Fields], Tensors] = lambda tensors, given: tensors
    tells: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()
    doubt: Callable[[Tensors], str] = lambda tensors: ""

    def renamed(self, tensors: Tensors, given: Fields) -> Tensors:
        """The tensors under the names of the table; ``given`` holds the fields that the caller knows.

        Raises:
            UserError: two names in the file mean the same parameter, or a field must be given.
        """
        renamed = {self.rename(name): value for name, value in tensors.items()}
        if len(renamed) < len(tensors):
            duplicates = [n for n in tensors if self.rename(n) != n and self.rename(n) in tensors]
            raise UserError(f"the file holds the same parameter twice: {', '.join(duplicates[:5])}")
        return self.prepare(renamed, given)


def has(*needed: str, without: tuple[str, ...] = ()) -> Callable[[Iterable[str]], bool]:
    """A function that recognises a file by the names in it.

    Args:
        needed: names that the file must have.
        without: names that the file must not have.
    """
    return lambda names: set(needed) <= set(names) and not set(without) & set(names)


def count(tensors: Iterable[str], pattern: str) -> int:
    """Number of parts whose names are numbered from 0; group 1 of the pattern matches the number.

    Raises:
        UserError: some numbers are missing.
    """
    numbers = {match[1] for name in tensors if (match := re.match(pattern, name))}
    if numbers - {str(i) for i in range(len(numbers))}:
        listed = ", ".join(sorted(numbers, key=lambda n: (len(n), n))[:20])
        raise UserError(f"the numbers of {pattern!r} in the file are {listed}: some are missing")
    return len(numbers)


def heads(given: Fields, width: int, known: Mapping[int, int], key: str = "num_heads") -> int:
    """Number of attention heads, which files do not record: as given, or as in published models of this width.

    Raises:
        UserError: the number is not given, and no published model has this width.
    """
    if key in given:
        return given[key]
    if width not in known:
        raise UserError(f"the file does not record how many heads a model of width {width} has; give {key}=...")
    return known[width]


def image_size(given: Fields, patches: int, patch_size: int) -> tuple[int, int]:
    """Image size of a position table: the given size if it has that many patches, otherwise a square.

    Raises:
        UserError: neither size fits.
    """
    size = pair(given["image_size"]) if "image_size" in given else None
    if size and math.prod(side // patch_size for side in size) == patches:
        return size
    side = math.isqrt(patches)
    if side * side != patches and size:
        raise UserError(
            f"the file has positions for {patches} patches of {patch_size} pixels, which image_size={size} does not have; "
            "give the size for which the weights were trained"
        )
    if side * side != patches:
        raise UserError(
            f"{patches} patches of {patch_size} pixels do not form a square; "
            "give image_size=(height, width), the size for which the weights were trained"
        )
    return (side * patch_size, side * patch_size)


def pair(size: int | tuple[int, ...] | list[int]) -> tuple[int, int]:
    """Size as (height, width): both 224 and (224, 224) become (224, 224).

    Raises:
        UserError: the size has neither form.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size,)
    valid = all(isinstance(n, int | np.integer) and n > 0 for n in sides)
    if not valid or len(sides) not in (1, 2):
        raise UserError(f"image_size={size!r} is neither the side of a square nor (height, width) in pixels")
    return int(sides[0]), int(sides[-1])


def renaming(*replacements: tuple[str, str]) -> Callable[[str], str]:
    """A function that applies (pattern, replacement) pairs of regular expressions one after another."""

    def rename(name: str) -> str:
        for pattern, new in replacements:
            name = re.sub(pattern, new, name)
        return name

    return rename


# Names inside a block that version 5 of transformers uses at run time, and the names in saved files.
HUGGING_FACE_5 = (
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def patch_side(kernel: np.ndarray) -> int:
    """The side of the patches that a kernel [D, C, P, P] reads.

    Raises:
        UserError: they are no squares.
    """
    height, width = kernel.shape[2:]
    if height != width:
        raise UserError(f"the file has patches of {height}x{width} pixels; vitax has square ones only")
    return height
