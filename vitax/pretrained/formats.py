"""The table of formats, and recognition of the format of a file."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.pretrained import (
    bert,
    clip,
    detr,
    dino,
    dynamic_vit,
    eva,
    files,
    google,
    mae,
    mlp_mixer,
    nat,
    resnet,
    siglip,
    swin,
    swin_v2,
    swinir,
    transformer,
    upernet,
    vit,
    vit_hugging_face,
)
from vitax.pretrained.format import Format, Tensors

# A file has the first format that recognises it, so special formats come before general ones.
FORMATS: dict[str, Format] = {
    format.name: format
    for module in (
        mae,
        dino,
        eva,
        dynamic_vit,
        swinir,
        upernet,
        detr,
        resnet,
        swin_v2,
        swin,
        nat,
        siglip,
        clip,
        mlp_mixer,
        vit,
        google,
        vit_hugging_face,
        bert,
        transformer,
    )
    for format in module.FORMATS
}


def recognise(names: Iterable[str], family: str = "") -> Format:
    """The format of a file with these names; if a family is given, only its formats are tried.

    Raises:
        UserError: no format recognises the names.
    """
    return stripped({name: np.zeros(0) for name in names}, family=family)[0]


def stripped(tensors: Tensors, format: str = "", family: str = "") -> tuple[Format, Tensors, str]:
    """The format of tensors, and the tensors without a prefix that all their names share.

    Wrappers of models leave such prefixes: "module." (data parallel), "_orig_mod." (compiled), "model." (Lightning).

    Args:
        tensors: {name: array}.
        format: name of the format; "" = recognised from the names.
        family: a name of `vitax.models.MODELS`, to which the format must belong; "" = any.

    Returns:
        The format, the tensors, and the prefix; "" = the names had none.

    Raises:
        UserError: no format recognises the names, with or without their prefix.
    """
    given, prefix = tensors, ""
    candidates = [named(format)] if format else [f for f in FORMATS.values() if family in ("", f.family)]
    while True:
        for candidate in candidates:
            if candidate.recognises({candidate.rename(name) for name in tensors}):
                return candidate, tensors, prefix
        # The counter of torch.optim.swa_utils.AveragedModel is beside the model that it wraps.
        firsts = {name.partition(".")[0] for name in tensors if name != "n_averaged"}
        if len(firsts) != 1 or not all("." in name for name in tensors if name != "n_averaged"):
            break
        (first,) = firsts
        tensors = {name.removeprefix(f"{first}."): x for name, x in tensors.items() if name != "n_averaged"}
        prefix += f"{first}."
    if format:
        return named(format), given, ""
    examples = ", ".join(list(given)[:4])
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


def family_of(path: str | Path, families: Sequence[str] = ("",), entry: str = "") -> str:
    """The first of these families to which a file belongs; "" = any.

    Raises:
        UserError: the file cannot be read, or belongs to none of the families.
    """
    names = files.names(path, entry)
    for family in families[:-1]:
        with contextlib.suppress(UserError):
            return recognise(names, family).family
    return recognise(names, families[-1]).family
