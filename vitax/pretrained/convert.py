"""Conversion of a file to a model and its variables, and back."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.pretrained import files
from vitax.pretrained.adapt import Variables, adapt, image_channels, initial, shapes_of
from vitax.pretrained.format import Format, pair
from vitax.pretrained.formats import named, recognise
from vitax.pretrained.hub_config import config_fields
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
# Fields that files do not record; `load_into` takes them from the model.
NOT_IN_FILES = (
    "num_heads",
    "decoder_num_heads",
    "image_heads",
    "text_heads",
    "dilations",
    "stages",
    "keep_ratios",
    "activation",
    "norm_epsilon",
    "pixel_range",
    "end_token",
    "image_size",
)


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


def load(
    source: str | Path | Tensors,
    *,
    format: str = "",
    family: str = "",
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    **fields: Any,
) -> Loaded:
    """Loads weights of another project and builds the model for them.

    The format, the family and the fields of the model follow from the names and shapes in the file, and from a
    ``config.json`` beside it, as on model hubs.

    Args:
        source: a file, a folder with the layout of a model hub, or {name: array}.
        format: a name of `FORMATS`; "" = recognised from the names.
        family: a name of `vitax.models.MODELS`, if a file fits two families: "vit" reads the encoder of an MAE.
        allow_missing: patterns of our paths that the file may lack; they are freshly initialised.
        allow_unexpected: patterns of names in the file that the model has no place for.
        fields: fields of the model, such as ``num_heads=4``. If ``image_size`` or ``window`` differs from the file's,
            positions are interpolated; if ``num_classes`` differs, the head is new. Both are recorded in the report.

    Raises:
        UserError: the file cannot be read, has no known format, does not record a necessary field, or does not fit.
    """
    chosen = dict(fields)
    allow_missing, allow_unexpected = patterns(allow_missing), patterns(allow_unexpected)
    if isinstance(source, Mapping):
        tensors = {name: np.asarray(value) for name, value in source.items()}
    else:
        tensors = files.read(source)
        chosen = config_fields(files.read_config(source)) | chosen
    kind = named(format) if format else recognise(tensors, family)
    renamed = kind.renamed(tensors)
    module = MODELS[kind.family].module
    known = {name for name in module.__dataclass_fields__ if name not in ("parent", "name")}
    for key in fields:
        if key not in known:
            raise UserError(f"{module.__name__} has no field {key!r}{did_you_mean(key, known)}")
    if "image_size" in chosen:
        chosen["image_size"] = pair(chosen["image_size"])
    with fitting(kind):
        stored = kind.fields(renamed, chosen)
    for key in SHAPED:
        if key in fields and key in stored and stored[key] != fields[key]:
            raise UserError(f"{key}={fields[key]!r} contradicts the file, which has {stored[key]!r}")
    # The file's sizes decide which tensors exist; the requested sizes are applied afterwards.
    requested = {key: value for key, value in chosen.items() if key in known}
    sizes = {key: stored[key] for key in ("image_size", "num_classes", "window") if key in stored and key in requested}
    with fitting(kind):
        native, model = module(**(stored | requested | sizes)), module(**(stored | requested))
        variables, report = _from_tensors(kind, native, renamed, allow_missing, allow_unexpected)
        if model != native:
            channels = image_channels(native, kind.family, variables)
            variables = adapt(variables, model, kind.family, report, channels=channels)
    _note_fields(report, kind, model, stored, chosen)
    return Loaded(model, variables, report)


def _note_fields(
    report: Report, kind: Format, model: nn.Module, own: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Records fields that neither the file nor the caller gave, and fields that the caller set to unusual values."""
    for key in set(NOT_IN_FILES) - {"image_size"}:
        if not hasattr(model, key):
            continue
        if key in given:
            if key in own and own[key] != given[key]:
                report.given[key] = (own[key], given[key])
        elif key not in kind.tells:
            report.assumed[key] = getattr(model, key)


@contextlib.contextmanager
def fitting(kind: Format) -> Iterator[None]:
    """Turns errors that arise while a file is fitted to a model into one sentence.

    Raises:
        UserError: the file is incomplete, or the file or a given field does not fit.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"the file of {kind.name} weights is incomplete: it lacks {error}") from error
    except (ArithmeticError, AttributeError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise UserError(
            f"{kind.name}: the file or a given field does not fit: {type(error).__name__}: {error}"
        ) from error


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


def _from_tensors(
    kind: Format, model: nn.Module, tensors: Tensors, allow_missing: Sequence[str], allow_unexpected: Sequence[str]
) -> tuple[Variables, Report]:
    """Applies the rules of a format to the tensors of a file; a tensor that does not fit is an error."""
    report, flat, used = Report(kind.name), {}, set()
    missing = []
    for name, value in tensors.items():
        if value.dtype.kind != "f" and not re.search(kind.ignore, name):
            raise UserError(f"{name} is of type {value.dtype}; parameters are floating-point numbers")
    for rule in kind.rules(model):
        present = [name for name in rule.theirs if name in tensors]
        if set(rule.theirs) - set(present) - set(rule.optional):
            missing += rule.ours
            continue
        used |= set(present)
        values = tuple(tensors[name] for name in present)
        try:
            arrays = rule.load(values)
        except ValueError as error:
            shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in present)
            raise UserError(f"{kind.name}: {shapes} does not fit: {error}") from error
        flat |= dict(zip(rule.ours, arrays, strict=True))
        if [x.shape for x in arrays] != [x.shape for x in values[: len(arrays)]]:
            report.reshaped += rule.ours
    unused = [name for name in tensors if name not in used]
    report.ignored = [name for name in unused if re.search(kind.ignore, name)]
    report.unexpected = [name for name in unused if not re.search(kind.ignore, name)]
    report.loaded = list(flat)
    _refuse(kind, "lacks", missing, allow_missing, "allow_missing")
    _refuse(kind, "also holds", report.unexpected, allow_unexpected, "allow_unexpected")

    channels = image_channels(model, kind.family, unflatten_dict(flat, sep="/"))
    shapes = flatten_dict(shapes_of(model, kind.family, channels), sep="/")
    report.missing = [path for path in shapes if path not in flat]
    _refuse(kind, "lacks", report.missing, allow_missing, "allow_missing")
    for path, value in flat.items():
        if path not in shapes or shapes[path].shape != value.shape:
            expected = list(shapes[path].shape) if path in shapes else "nothing"
            raise UserError(
                f"{kind.name}: {path} is {list(value.shape)} in the file, and the model has {expected}; "
                f"check the given fields"
            )
    if report.missing:
        fresh = initial(model, kind.family, channels)
        flat |= {path: fresh[path] for path in report.missing}
    flat = {path: np.asarray(flat[path], shapes[path].dtype) for path in shapes}
    return unflatten_dict(flat, sep="/"), report


def _refuse(kind: Format, verb: str, names: list[str], allowed: Sequence[str], option: str) -> None:
    forbidden = [name for name in names if not any(re.search(pattern, name) for pattern in allowed)]
    if forbidden:
        more = f" and {len(forbidden) - 5} more" if len(forbidden) > 5 else ""
        raise UserError(
            f"the file ({kind.name}) {verb} {', '.join(forbidden[:5])}{more}; "
            f"if this is intended, allow it with {option}=['PATTERN']"
        )


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


def to_tensors(model: nn.Module, variables: Variables, format: str) -> dict[str, np.ndarray]:
    """The variables of a model under the names of a format.

    Raises:
        UserError: the model is not of the format's family, or the format has no names for some of its parameters.
    """
    kind = named(format)
    if type(model) is not MODELS[kind.family].module:
        raise UserError(f"{kind.name} has no names for a {type(model).__name__}")
    flat = {path: np.asarray(x) for path, x in flatten_dict(variables, sep="/").items()}
    tensors, used = {}, set()
    for rule in kind.rules(model):
        absent = [path for path in rule.ours if path not in flat]
        if absent:
            raise UserError(f"the variables lack {', '.join(absent)}: they do not belong to this model")
        arrays = rule.save(tuple(flat[path] for path in rule.ours))
        tensors |= dict(zip(rule.theirs, arrays, strict=True))
        used |= set(rule.ours)
    unnamed = [path for path in flat if path not in used and path.startswith("params/")]
    if unnamed:
        raise UserError(f"{kind.name} has no names for {', '.join(unnamed[:5])}")
    return tensors


def save(path: str | Path, model: nn.Module, variables: Variables, format: str) -> None:
    """Writes a .safetensors file with the names of another project.

    Args:
        format: a key of `FORMATS`, such as "timm ViT", "Hugging Face BERT" or "OpenAI CLIP" (also for open_clip).
    """
    files.write(path, to_tensors(model, variables, format), {"format": "pt", "vitax": format})
