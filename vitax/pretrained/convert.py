"""From a file to a model and its variables, and back."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vitax.config import did_you_mean
from vitax.errors import UserError
from vitax.models import MODELS, variable_shapes
from vitax.nn.positions import resize_positions
from vitax.pretrained import files
from vitax.pretrained.format import Format, pair
from vitax.pretrained.formats import named, recognise
from vitax.pretrained.report import Report

Variables = dict[str, Any]
Tensors = Mapping[str, np.ndarray]
Flat = dict[str, np.ndarray]

# Parameters that may be made anew when another number of classes is asked for.
HEADS = r"params/(.*/)?(head|head_dist)/(kernel|bias)$"
# Tables on a grid, that another image or window size interpolates.
GRIDS = r"(pos_embed\d*/grid|relative_bias)$"
# What Hugging Face's config.json calls them.
CONFIG_KEYS = {
    "num_attention_heads": "num_heads",
    "encoder_attention_heads": "num_heads",
    "decoder_num_attention_heads": "decoder_num_heads",
    "layer_norm_eps": "norm_epsilon",
    "image_size": "image_size",
    "dilations": "dilations",
}
CONFIG_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "swish": "swish",
    "silu": "swish",
}


class Loaded(NamedTuple):
    """``model.apply(variables, ...)`` is ready to run; arrays are NumPy's, float32."""

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
    """Weights of another project, and the model that they are for.

    The kind of file, the family and the fields of the model follow from the names and shapes in it, and from a
    ``config.json`` beside it as model hubs have it.

    Args:
        source: a file, a folder of a model hub, or {name: array}.
        format: a name of `FORMATS`; "" = recognised.
        family: a name of `vitax.models.MODELS`, where a file could be of two: "vit" reads the encoder of an MAE.
        allow_missing: patterns of our paths that the file may lack; they are freshly initialised.
        allow_unexpected: patterns of names in the file that the model has no place for.
        fields: of the model, such as ``num_heads=4``. Another ``image_size`` or ``window`` than the file's
            interpolates positions, another ``num_classes`` makes a new head; both are told in the report.

    Raises:
        UserError: the file cannot be read, is of no known kind, does not say a field, or does not fit.
    """
    given = dict(fields)
    if isinstance(source, Mapping):
        tensors = {name: np.asarray(value) for name, value in source.items()}
    else:
        tensors = files.read(source)
        given = _config_fields(files.read_config(source)) | given
    kind = named(format) if format else recognise(tensors, family)
    renamed = {kind.rename(name): value for name, value in tensors.items()}
    module = MODELS[kind.family].module
    known = {name for name in module.__dataclass_fields__ if name not in ("parent", "name")}
    for key in fields:
        if key not in known:
            raise UserError(f"{module.__name__} has no field {key!r}{did_you_mean(key, known)}")
    if "image_size" in given:
        given["image_size"] = pair(given["image_size"])
    try:
        own = kind.fields(renamed, given)
    except KeyError as error:
        raise UserError(f"{kind.name} weights without {error}: the file is incomplete") from error
    # What decides which tensors there are is the file's; the caller's wishes come after.
    wanted = {key: value for key, value in given.items() if key in known}
    changed = {
        key: own[key] for key in ("image_size", "num_classes", "window") if key in own and key in wanted
    }
    native = module(**(own | wanted | changed))
    variables, report = _from_tensors(kind, native, renamed, allow_missing, allow_unexpected)
    model = module(**(own | wanted))
    if model != native:
        channels = _channels(native, kind.family, variables)
        variables = adapt(variables, model, kind.family, report, channels=channels)
    return Loaded(model, variables, report)


def _config_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ours that a config.json of Hugging Face or open_clip tells."""
    found = {ours: config[theirs] for theirs, ours in CONFIG_KEYS.items() if theirs in config}
    act = config.get("hidden_act", config.get("activation_function"))
    vision = config.get("vision_config")
    if isinstance(vision, Mapping):  # CLIP
        act = vision.get("hidden_act", "quick_gelu")
        found["norm_epsilon"] = vision.get("layer_norm_eps", 1e-5)
        if "num_attention_heads" in vision:
            found["image_heads"] = vision["num_attention_heads"]
        text = config.get("text_config")
        if isinstance(text, Mapping) and "num_attention_heads" in text:
            found["text_heads"] = text["num_attention_heads"]
    if "model_cfg" in config:  # open_clip
        act = "quick_gelu" if config["model_cfg"].get("quick_gelu") else "gelu"
    if act is not None:
        if act not in CONFIG_ACTIVATIONS:
            raise UserError(f"config.json names the activation {act!r}, which vitax does not have")
        found["activation"] = CONFIG_ACTIVATIONS[act]
    if "dilations" in found:
        found["dilations"] = tuple(tuple(stage) for stage in found["dilations"])
    if isinstance(found.get("num_heads"), list):
        found["num_heads"] = tuple(found["num_heads"])
    return found


def _from_tensors(
    kind: Format,
    model: nn.Module,
    tensors: Tensors,
    allow_missing: Sequence[str],
    allow_unexpected: Sequence[str],
) -> tuple[Variables, Report]:
    """Follows the table of a format; whatever does not fit is an error."""
    report, flat, used = Report(kind.name), {}, set()
    missing = []
    for rule in kind.rules(model):
        there = [name for name in rule.theirs if name in tensors]
        if set(rule.theirs) - set(there) - set(rule.optional):
            missing += rule.ours
            continue
        used |= set(there)
        values = tuple(tensors[name] for name in there)
        try:
            made = rule.load(values)
        except ValueError as error:
            shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in there)
            raise UserError(f"{kind.name}: {shapes} does not fit: {error}") from error
        flat |= dict(zip(rule.ours, made, strict=True))
        if [x.shape for x in made] != [x.shape for x in values[: len(made)]]:
            report.reshaped += rule.ours
    rest = [name for name in tensors if name not in used]
    report.ignored = [name for name in rest if re.search(kind.ignore, name)]
    report.unexpected = [name for name in rest if not re.search(kind.ignore, name)]
    report.loaded = list(flat)
    _refuse(kind, "lacks", missing, allow_missing, "allow_missing")
    _refuse(kind, "also holds", report.unexpected, allow_unexpected, "allow_unexpected")

    channels = _channels(model, kind.family, unflatten_dict(flat, sep="/"))
    shapes = flatten_dict(_shapes(model, kind.family, channels), sep="/")
    report.missing = [path for path in shapes if path not in flat]
    _refuse(kind, "lacks", report.missing, allow_missing, "allow_missing")
    for path, value in flat.items():
        if path not in shapes or shapes[path].shape != value.shape:
            expected = list(shapes[path].shape) if path in shapes else "nothing"
            raise UserError(
                f"{kind.name}: {path} is {list(value.shape)} in the file, and the model has {expected}; "
                f"check the fields that were given"
            )
    if report.missing:
        fresh = _initial(model, kind.family, channels)
        flat |= {path: fresh[path] for path in report.missing}
    flat = {path: np.asarray(flat[path], shapes[path].dtype) for path in shapes}
    return unflatten_dict(flat, sep="/"), report


def _refuse(kind: Format, verb: str, names: list[str], allowed: Sequence[str], option: str) -> None:
    left = [name for name in names if not any(re.search(pattern, name) for pattern in allowed)]
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise UserError(
            f"the file ({kind.name}) {verb} {', '.join(left[:5])}{more}; "
            f"if that is as it should be, allow it with {option}=['PATTERN']"
        )


def adapt(
    variables: Variables,
    model: nn.Module,
    family: str,
    report: Report,
    *,
    channels: int = 3,
    allow_missing: Sequence[str] = (),
) -> Variables:
    """Variables for a model of another image size, window or number of classes; what was done goes into the report.

    Args:
        variables: of a model that differs from ``model`` in these only.
        allow_missing: patterns of further paths that may be made anew.

    Raises:
        UserError: they differ in more.
    """
    flat = flatten_dict(variables, sep="/")
    shapes = flatten_dict(_shapes(model, family, channels), sep="/")
    fresh: Flat = {}

    def new(path: str) -> np.ndarray:
        fresh.update(fresh or _initial(model, family, channels))
        report.remade.append(path)
        report.loaded = [name for name in report.loaded if name != path]
        return fresh[path]

    made: Flat = {}
    for path, shape in shapes.items():
        value = flat.get(path)
        if value is not None and value.shape == shape.shape:
            made[path] = value
        elif re.search(HEADS, path) or any(re.search(pattern, path) for pattern in allow_missing):
            made[path] = new(path)
        elif value is not None and re.search(GRIDS, path) and value.shape[2:] == shape.shape[2:]:
            made[path] = np.asarray(resize_positions(jnp.asarray(value), shape.shape[:2]))
            report.resized[path] = (value.shape, shape.shape)
        else:
            there = "absent" if value is None else list(value.shape)
            raise UserError(
                f"{path} is {there} in the weights, and {list(shape.shape)} in the model; "
                "only positions are resized and only heads made anew, unless allow_missing names more"
            )
    left = [path for path in flat if path not in shapes and not re.search(HEADS, path)]
    if left:
        raise UserError(f"the model has no place for {', '.join(left[:5])}")
    return unflatten_dict(made, sep="/")


def _channels(model: nn.Module, family: str, variables: Variables) -> int:
    """Image channels, from the first kernel that sees the image."""
    flat = flatten_dict(variables.get("params", {}), sep="/")
    for path, value in flat.items():
        if path.endswith("patch_embed/projection/kernel"):
            return value.shape[0] // model.patch_size**2
        if path in ("tokenizer0/kernel", "conv_first/kernel", "image/conv1/kernel"):
            return value.shape[2]
    return 3


def _shapes(model: nn.Module, family: str, channels: int) -> Variables:
    try:
        return variable_shapes(model, family, channels)
    except ValueError as error:
        raise UserError(f"no such model: {error}") from error


def _initial(model: nn.Module, family: str, channels: int) -> Flat:
    """Freshly initialised variables, flat."""
    example = MODELS[family].example(model, channels)
    zeros = [jnp.zeros(x.shape, x.dtype) for x in example]
    return jax.device_get(flatten_dict(dict(jax.jit(model.init)(jax.random.key(0), *zeros)), sep="/"))


def to_tensors(model: nn.Module, variables: Variables, format: str) -> dict[str, np.ndarray]:
    """The variables of a model under the names of a format.

    Raises:
        UserError: the model is not of that format's family, or has parameters that the format has no names for.
    """
    kind = named(format)
    if type(model) is not MODELS[kind.family].module:
        raise UserError(f"{kind.name} has no names for a {type(model).__name__}")
    flat = {path: np.asarray(x) for path, x in flatten_dict(variables, sep="/").items()}
    tensors, used = {}, set()
    for rule in kind.rules(model):
        absent = [path for path in rule.ours if path not in flat]
        if absent:
            raise UserError(f"the variables lack {', '.join(absent)}: they are not of this model")
        made = rule.save(tuple(flat[path] for path in rule.ours))
        tensors |= dict(zip(rule.theirs, made, strict=True))
        used |= set(rule.ours)
    left = [path for path in flat if path not in used and path.startswith("params/")]
    if left:
        raise UserError(f"{kind.name} has no names for {', '.join(left[:5])}")
    return tensors


def save(path: str | Path, model: nn.Module, variables: Variables, format: str) -> None:
    """Writes a .safetensors file with the names of another project.

    Args:
        format: "timm ViT", "Hugging Face BERT", "OpenAI CLIP" (also open_clip's), ...: a key of `FORMATS`.
    """
    files.write(path, to_tensors(model, variables, format), {"format": "pt", "vitax": format})
