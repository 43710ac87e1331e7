"""The table of formats, and recognition of the format of a file."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.pretrained import bert, clip, dynamic_vit, files, mae, mlp_mixer, nat, swin, swinir, transformer, vit
from vitax.pretrained.format import Format

# A file has the first format that recognises it, so special formats come before general ones.
FORMATS: dict[str, Format] = {
    format.name: format
    for module in (mae, dynamic_vit, swinir, swin, nat, clip, mlp_mixer, vit, bert, transformer)
    for format in module.FORMATS
}


def recognise(names: Iterable[str], family: str = "") -> Format:
    """The format of a file with these names; if a family is given, only its formats are tried.

    Raises:
        UserError: no format recognises the names.
    """
    names = list(names)
    for format in FORMATS.values():
        renamed = {format.rename(name) for name in names}
        if family in ("", format.family) and format.recognises(renamed):
            return format
    examples = ", ".join(names[:4])
    expected = f"weights of the family {family!r}" if family else "weights that vitax knows"
    raise UserError(f"these are not {expected} (names: {examples}, ...); vitax reads {', '.join(FORMATS)}")


def named(name: str) -> Format:
    """The format with that name.

    Raises:
        UserError: the name is unknown.
    """
    if name not in FORMATS:
        raise UserError(f"format {name!r} is unknown{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def family_of(path: str | Path, families: Sequence[str]) -> str:
    """The first of these families to which a file belongs.

    Raises:
        UserError: the file cannot be read, or belongs to none of the families.
    """
    names = list(files.read(path))
    for family in families[:-1]:
        with contextlib.suppress(UserError):
            return recognise(names, family).family
    return recognise(names, families[-1]).family
