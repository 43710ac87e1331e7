"""Conversion of a file to a model and its variables."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.models.swin_v2 import as_trained
from vitax.pretrained import files
from vitax.pretrained.adapt import Variables, adapt, image_channels
from vitax.pretrained.format import Format, pair
from vitax.pretrained.formats import stripped
from vitax.pretrained.hub_config import config_fields
from vitax.pretrained.matching import fitting, from_tensors
from vitax.pretrained.report import Report

Tensors = Mapping[str, np.ndarray]

# Fields that the shapes in a file determine.
SHAPED = (
    "patch_size",
    "width",
    "depth",
    "depths",
    "mlp_width",
    "token_mlp_width",
    "kernel",
    "channels",
    "scale",
    "upsampler",
    "vocab_size",
    "max_length",
    "context_length",
    "out_width",
    "image_width",
    "text_width",
    "encoder_depth",
    "decoder_depth",
    "decoder_width",
)
# Fields that tensors do not show; `load_into` takes them from the model.
NOT_IN_FILES = (
    "num_heads",
    "decoder_heads",
    "decoder_num_heads",
    "image_heads",
    "text_heads",
    "dilations",
    "stages",
    "keep_ratios",
    "activation",
    "norm_epsilon",
    "text_activation",
    "text_norm_epsilon",
    "scale_embedding",
    "head_heads",
    "dilated",
    "pixel_range",
    "end_token",
    "image_size",
)
# Fields that the caller may change: tables are interpolated, and the head is new.
SIZES = ("image_size", "num_classes", "window")
# What a model computes that has no field for it.
IMPLIED = {"activation": "gelu", "qkv_bias": True, "pooling": "mean"}


class Loaded(NamedTuple):
    """A model with its weights; ``model.apply(variables, ...)`` is ready to run.

    Attributes:
        model: the model.
        variables: its variables, as NumPy arrays of float32.
        report: what was loaded, changed or left out.
    """

    model: nn.Module
    variables: Variables
    report: Report


NAMING = ("model_type", "architecture", "model_cfg")  # keys of a config.json that name the model


def load(
    source: str | Path | Tensors,
    *,
    format: str = "",
    family: str = "",
    entry: str = "",
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    otherwise: Mapping[str, Any] | None = None,
    beside: Path | None = None,
    **fields: Any,
) -> Loaded:
    """Loads weights of another project and builds the model for them.

    The format, the family and the fields of the model follow from the names and shapes in the file, and from a
    ``config.json`` beside it, as on model hubs. Of that config, every key that can change a number is understood, or
    refused.

    Args:
        source: a file, a folder with the layout of a model hub, a name on the hub (`hub.Name`), or {name: array}.
        format: a name of `FORMATS`; "" = recognised from the names.
        family: a name of `vitax.models.MODELS`, if a file fits two families: "vit" reads the encoder of an MAE.
        entry: key of the weights in a training checkpoint that holds several, such as "model_ema"; "" = the usual one.
        allow_missing: patterns of our paths that the file may lack; they are freshly initialised.
        allow_unexpected: patterns of names in the file that the model has no place for.
        otherwise: fields that apply where neither the file nor its config.json tells them, in place of usual values.
        beside: folder of the config.json of {name: array}; that of a file is beside it.
        fields: fields of the model, such as ``num_heads=4``. If ``image_size`` or ``window`` differs from the file's,
            positions are interpolated; if ``num_classes`` differs, the head is new. Both are recorded in the report.

    Raises:
        UserError: the file cannot be read, has no known format, does not record a necessary field, does not fit, or
            contradicts a given field.
    """
    contents = _contents(source, entry)
    kind, tensors, prefix = stripped(contents.tensors, format, family)
    module = MODELS[kind.family].module
    known = set(module.__dataclass_fields__) - {"parent", "name"}
    fields = _checked(fields, known, module)
    renamed = kind.renamed(tensors, fields)
    told = config_fields(config := _config(source, beside, kind), kind.name)
    if not (format or (told and any(map(config.get, NAMING)))):
        _check_doubt(kind, renamed)
    given = {key: value for key, value in (otherwise or {}).items() if key not in kind.tells} | fields | told
    with fitting(kind):
        stored = kind.fields(renamed, given)
    _check_told(told, stored, fields, module, (*SHAPED, *kind.tells))
    # The file's sizes decide which tensors exist; the requested sizes are applied afterwards.
    sizes = {key: stored[key] for key in SIZES if key in stored}
    base = stored | {key: value for key, value in given.items() if key in known} | sizes
    with fitting(kind):
        native = as_trained(module(**base))
        model = native.clone(**fields)
        variables, report = from_tensors(kind, native, renamed, patterns(allow_missing), patterns(allow_unexpected))
        if model != native:
            channels = image_channels(native, kind.family, variables)
            variables = adapt(variables, model, kind.family, report, channels=channels)
    report.entry, report.other_entries, report.prefix = contents.entry, contents.others, prefix
    _note_fields(report, kind, model, stored, given, told)
    return Loaded(model, variables, report)


def _contents(source: str | Path | Tensors, entry: str) -> files.Contents:
    """The tensors of a source, with half precision as float32."""
    if not isinstance(source, Mapping):
        return files.read(source, entry)
    return files.Contents({name: files.plain(np.asarray(value)) for name, value in source.items()})


def _config(source: str | Path | Tensors, beside: Path | None, kind: Format) -> dict[str, Any]:
    """The config.json of weights; {} if there is none."""
    folder = beside if isinstance(source, Mapping) else files.find(source).parent
    return files.read_config(folder, kind.name) if folder else {}


def _check_doubt(kind: Format, tensors: Tensors) -> None:
    """Raises an error for weights without a config that may belong to another model with the same names."""
    with fitting(kind):
        doubt = kind.doubt(tensors)
    if doubt:
        raise UserError(f"{doubt}; put the config.json of these weights beside them, or give format={kind.name!r}")


def settled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with the values that empty ones stand for: those of the other tower or stack."""
    full = dict(fields)
    for key, other in (
        ("text_activation", "activation"),
        ("text_norm_epsilon", "norm_epsilon"),
        ("decoder_heads", "num_heads"),
    ):
        if key in full and not full[key] and other in full:
            full[key] = full[other]
    return full


def _checked(fields: dict[str, Any], known: set[str], module: Any) -> dict[str, Any]:
    """The fields that the caller gives, with the image size as (height, width).

    Raises:
        UserError: the model has no such field.
    """
    for key in fields:
        if key not in known:
            raise UserError(f"{module.__name__} has no field {key!r}{did_you_mean(key, known)}")
    return {key: pair(value) if key == "image_size" else value for key, value in fields.items()}


def _check_told(
    told: Mapping[str, Any], stored: Mapping[str, Any], fields: Mapping[str, Any], module: Any, shaped: Sequence[str]
) -> None:
    """Compares the fields that the tensors show, that config.json tells, and that the caller gives.

    Raises:
        UserError: they contradict one another, or the model has no such field.
    """
    asked, largest = settled(fields), stored.get("vocab_size", 0) - 1
    for key, value in settled(told).items():
        if key not in module.__dataclass_fields__ and value != IMPLIED.get(key, value):
            raise UserError(f"config.json says {key}={value!r}; {module.__name__} of vitax has {IMPLIED[key]!r} only")
        shown = key in stored and key not in (*NOT_IN_FILES, "pooling")
        if shown and not (stored[key] == value or (key == "mlp_ratio" and abs(stored[key] - value) < 0.05)):
            raise UserError(f"config.json says {key}={value!r}, but the tensors have {stored[key]!r}")
        same = key == "end_token" and {asked.get(key), value} == {-1, largest}  # two names of one token
        if key not in SIZES and key in asked and asked[key] != value and not same:
            raise UserError(
                f"{key}={asked[key]!r} contradicts the config.json beside the weights, which says {value!r}"
            )
    for key in shaped:
        if key in fields and key in stored and stored[key] != fields[key]:
            raise UserError(f"{key}={fields[key]!r} contradicts the file, which has {stored[key]!r}")


def _note_fields(
    report: Report,
    kind: Format,
    model: nn.Module,
    own: Mapping[str, Any],
    given: Mapping[str, Any],
    told: Mapping[str, Any],
) -> None:
    """Records fields that config.json tells and the tensors do not show; fields that neither the file nor the caller gave, and fields that the caller set to unusual values."""
    for key, value in told.items():
        if hasattr(model, key) and key in (*NOT_IN_FILES, "pooling") and (key != "image_size" or own.get(key) == value):
            report.told[key] = value
    for key in kind.guesses:
        if key not in report.told and key not in given and getattr(model, key) == own.get(key):
            report.assumed[key] = own[key]
    for key in (*sorted(set(NOT_IN_FILES) - {"image_size"}), "trained_windows"):
        if not hasattr(model, key) or key in report.told:
            continue
        if key in given:
            if key in own and own[key] != given[key]:
                report.given[key] = (own[key], given[key])
        elif key not in kind.tells:
            report.assumed[key] = getattr(model, key)


def patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    """One or several regular expressions, as a tuple.

    Raises:
        UserError: a pattern is not a regular expression.
    """
    expressions = (given,) if isinstance(given, str) else tuple(given)
    for pattern in expressions:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{pattern!r} is not a regular expression: {error}") from error
    return expressions


def load_into(
    source: str | Path | Tensors, model: nn.Module, family: str, *, new: Sequence[str] = (), skip: Sequence[str] = ()
) -> tuple[Variables, Report]:
    """Loads weights of another project into an existing model.

    Args:
        source: as in `load`.
        family: family of the model, a name of `vitax.models.MODELS`.
        new: patterns of our paths that are initialised if the file does not have them, or has another shape.
        skip: patterns of names in the file, or of our paths, that the model has no place for.

    Raises:
        UserError: the file cannot be read, or does not fit.
    """
    fields = {key: getattr(model, key) for key in NOT_IN_FILES if hasattr(model, key)}
    loaded_model, variables, report = load(source, family=family, allow_missing=new, allow_unexpected=skip, **fields)
    channels = image_channels(loaded_model, family, variables)
    fitted = adapt(variables, model, family, report, channels=channels, allow_missing=new, allow_unexpected=skip)
    return fitted, report
