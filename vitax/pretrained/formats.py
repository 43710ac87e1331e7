"""The table of formats, and the one that a file has."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.pretrained import bert, clip, dynamic_vit, files, mae, mlp_mixer, nat, swin, swinir, transformer, vit
from vitax.pretrained.format import Format

# The first that recognises a file is its format: the more special stand before the more general.
FORMATS: dict[str, Format] = {
    format.name: format
    for module in (mae, dynamic_vit, swinir, swin, nat, clip, mlp_mixer, vit, bert, transformer)
    for format in module.FORMATS
}


def recognise(names: Iterable[str], family: str = "") -> Format:
    """The format of a file with these names; with a family, among the formats of that family.

    Raises:
        UserError: there is none.
    """
    names = list(names)
    for format in FORMATS.values():
        renamed = {format.rename(name) for name in names}
        if family in ("", format.family) and format.recognises(renamed):
            return format
    some = ", ".join(names[:4])
    wanted = f"weights of the family {family!r}" if family else "weights that vitax knows"
    raise UserError(f"these are no {wanted} (its names: {some}, ...); vitax reads {', '.join(FORMATS)}")


def named(name: str) -> Format:
    """The format of that name.

    Raises:
        UserError: there is none.
    """
    if name not in FORMATS:
        raise UserError(f"format {name!r} is unknown{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def family_of(path: str | Path, families: Sequence[str]) -> str:
    """The first of these families that a file is of.

    Raises:
        UserError: the file cannot be read, or is of none of them.
    """
    names = list(files.read(path))
    for family in families[:-1]:
        with contextlib.suppress(UserError):
            return recognise(names, family).family
    return recognise(names, families[-1]).family
