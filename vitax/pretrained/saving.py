"""Conversion of a model and its variables to the names, files and folders of other projects."""

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from vitax.errors import UserError
from vitax.models import MODELS
from vitax.models.resnet import ResNet
from vitax.models.swin_v2 import as_trained
from vitax.pretrained import files
from vitax.pretrained.adapt import Variables, image_channels
from vitax.pretrained.config_writing import LAYOUTS, Layout
from vitax.pretrained.convert import load, settled
from vitax.pretrained.formats import FORMATS, named
from vitax.pretrained.hub import OF_WEIGHTS
from vitax.pretrained.preprocessing import Preprocessing, read_preprocessing
from vitax.pretrained.vit import with_table

# Fields that do not change the output of a model in inference, or that the files of others do not know.
NOT_COMPARED = (
    "dtype",
    "remat",
    "dropout",
    "attention_dropout",
    "drop_path",
    "head_dropout",
    "frozen_norms",
    "antialias",
    "scale_init",
    "parent",
    "name",
)


def to_tensors(model: nn.Module, variables: Variables, format: str) -> dict[str, np.ndarray]:
    """The variables of a model under the names of a format; computed positions of a ViT become a table.

    Raises:
        UserError: the model is not of the format's family, or the format has no names for some of its parameters.
    """
    kind = named(format)
    if type(model) is not MODELS[kind.family].module:
        raise UserError(f"{kind.name} has no names for a {type(model).__name__}")
    if not getattr(model, "key_bias", True) and not re.search("DINOv3|EVA", kind.name):
        raise UserError(f"{kind.name} has biases of keys, and this model has none")
    if (place := getattr(model, "positions_at", "input")) != "input":
        raise UserError(f"{kind.name} has no names for positions at {place!r}")
    model, variables = with_table(model, variables)
    flat = {path: np.asarray(x) for path, x in flatten_dict(variables, sep="/").items()}
    tensors, used = {}, set()
    for rule in kind.rules(model):
        absent = [path for path in rule.ours if path not in flat]
        if absent:
            raise UserError(f"{kind.name} has {', '.join(absent)}, which the variables of this model lack")
        arrays = rule.save(tuple(flat[path] for path in rule.ours))
        tensors |= dict(zip(rule.theirs, arrays, strict=True))
        used |= set(rule.ours)
    unnamed = [path for path in flat if path not in used and path.startswith("params/")]
    if unnamed:
        raise UserError(f"{kind.name} has no names for {', '.join(unnamed[:5])}")
    return tensors


def save(
    path: str | Path,
    model: nn.Module,
    variables: Variables,
    format: str,
    *,
    images: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Writes weights with the names of another project: a .safetensors file, or a folder that it opens by itself.

    A folder holds the weights, a config.json, and what prepares the inputs: transformers opens it with
    ``from_pretrained(FOLDER)``, timm with ``create_model("local-dir:FOLDER", pretrained=True)``, open_clip with
    ``create_model("local-dir:FOLDER")``; each of them also from the hub, after an upload. It is read back before it gets
    its name: every field and every number is compared.

    Args:
        path: FILE.safetensors, or a folder that does not exist yet.
        format: a key of `FORMATS`, such as "timm ViT", "Hugging Face BERT" or "OpenAI CLIP" (also for open_clip).
        images: how images are prepared, for a folder.
        class_names: names of the classes, for a folder.
        settings: further keys of config.json, such as the ids of special tokens.
        beside: {name: text} of further files in the folder, such as a tokenizer.json.

    Raises:
        UserError: the format has no names for the model or, for a folder, no way to describe it; or the path cannot be
            written.
    """
    path, tensors = Path(path).expanduser(), to_tensors(model, variables, format)
    metadata = {"format": "pt", "vitax": format}
    if path.suffix == ".safetensors":
        return files.write(path, tensors, metadata)
    if path.suffix in OF_WEIGHTS:
        raise UserError(f"{path}: weights are written as .safetensors, or as a folder; give it another ending")
    if format not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise UserError(
            f"{format}: no library opens a folder of such weights; name a FILE.safetensors ({known} have folders)"
        )
    layout = LAYOUTS[format]
    _check_told(model, variables, format, images, class_names)
    tensors |= {} if layout.frozen_norms else _counters(tensors)
    model, variables = with_table(as_trained(model), variables)
    _check_fixed(model, layout, format)
    configs = layout.configs(model, images, tuple(class_names))
    if "config.json" in configs:
        channels = image_channels(model, FORMATS[format].family, variables)
        if channels != 3 and not images:
            _tell_channels(configs["config.json"], channels)
        configs["config.json"] |= dict(settings or {})
    texts = {name: json.dumps(config, indent=2, ensure_ascii=False) for name, config in configs.items()}
    with new_folder(path) as temporary:
        for name, text in (texts | dict(beside or {})).items():
            (temporary / name).write_text(text, encoding="utf-8")
        files.write(temporary / layout.weights, tensors, metadata)
        _check_written(temporary, model, variables, format, images)
    return None


def _check_told(
    model: nn.Module, variables: Variables, format: str, images: Preprocessing | None, class_names: Sequence[str]
) -> None:
    """Checks what the files of a folder are to tell against the weights.

    Raises:
        UserError: they have another number of classes, or other channels.
    """
    classes = getattr(model, "num_classes", 0)
    if class_names and classes and len(class_names) != classes:
        raise UserError(f"the model has {classes} classes, and class_names has {len(class_names)}")
    if images and (channels := image_channels(model, FORMATS[format].family, variables)) != len(images.mean):
        raise UserError(f"the model takes images of {channels} channels, and images.mean has {len(images.mean)}")


def _tell_channels(config: dict[str, Any], channels: int) -> None:
    """Adds a number of channels other than 3 to a config.json that was written without the preprocessing of images."""
    if "model_args" in config:
        config["model_args"] = config["model_args"] | {"in_chans": channels}
        config["pretrained_cfg"]["input_size"][0] = channels
    else:
        config.get("vision_config", config)["num_channels"] = channels


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when all of it is there; after an error, nothing is left.

    Raises:
        UserError: the folder exists already, or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists already: name another folder")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _counters(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What PyTorch counts, and misses where it is not there: the batches that each norm has seen."""
    means = [name for name in tensors if name.endswith(".running_mean")]
    return {name.replace("running_mean", "num_batches_tracked"): np.zeros((), np.int64) for name in means}


def _check_fixed(model: Any, layout: Layout, format: str) -> None:
    """Raises an error for a field that the code of the other project cannot have."""
    for key, value in layout.fixed.items():
        if getattr(model, key) != value:
            raise UserError(f"{format} has models with {key}={value!r} only, and this one has {getattr(model, key)!r}")
    if layout.square and model.image_size[0] != model.image_size[1]:
        raise UserError(f"{format} has models of square images only, and this one has image_size={model.image_size}")


def _check_written(folder: Path, model: Any, variables: Variables, format: str, images: Preprocessing | None) -> None:
    """Reads a folder back and compares it with the model.

    Raises:
        UserError: the files do not say all that the model is.
    """
    found = load(folder, format=format, family=named(format).family)
    ours, theirs = (
        settled({key: getattr(m, key) for key in type(m).__dataclass_fields__ if key not in NOT_COMPARED})
        for m in map(as_trained, (model, found.model))
    )
    unused = _unused(model)
    if "layer_scale" in ours:  # the initial value; the factors are tensors
        ours["layer_scale"], theirs["layer_scale"] = bool(ours["layer_scale"]), bool(theirs["layer_scale"])
    if "timm_windows" in ours and model.same_windows():
        theirs["timm_windows"] = ours["timm_windows"]
    if other := {
        key: (ours[key], theirs[key]) for key in ours if key not in unused and not _same(ours[key], theirs[key])
    }:
        listed = ", ".join(f"{key}={a!r} (read back: {b!r})" for key, (a, b) in other.items())
        raise UserError(f"{format} has no way to say {listed}")
    flat, back = (flatten_dict(tree, sep="/") for tree in (variables, found.variables))
    if different := [name for name in flat if name not in back or not np.array_equal(flat[name], back[name])]:
        raise UserError(f"{format}: {different[0]} read back differs from what was written")
    if images is None:
        return
    read = read_preprocessing(folder, format)
    pixel = 1 / min(images.image_size)  # the other projects resize to whole pixels before they crop
    if (
        read is None
        or (read.mean, read.std, read.interpolation) != (images.mean, images.std, images.interpolation)
        or abs(read.test_crop_fraction - images.test_crop_fraction) > pixel
        or bool(read.test_crop_fraction) != bool(images.test_crop_fraction)
    ):
        raise UserError(f"{format}: its preprocessing reads back as {read}, not as {images}")


def _unused(model: Any) -> tuple[str, ...]:
    """Fields that the model does not use, because of the values of other fields."""
    if hasattr(model, "image_tower"):
        of_vit, of_resnet = ("patch_size", "image_depth", "image_mlp_width"), ("image_depths",)
        return (*(of_vit if model.image_tower == "resnet" else of_resnet), "image_pooling")
    if isinstance(model, ResNet):
        return ("image_size",)
    if hasattr(model, "fourier"):
        return ("fourier", *(() if model.attention_depth else ("num_heads",)))
    if getattr(model, "heads", "classes") != "classes":
        return ("num_classes",)
    return ()


def _same(ours: Any, theirs: Any) -> bool:
    return ours == theirs or (isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-6))
