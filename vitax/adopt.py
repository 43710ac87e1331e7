"""Configs that take their model and their preprocessing from the weights that they start from.

In such a config, ``model.name`` is "from_weights". What the weights, their config.json and their preprocessing record
replaces it before the config is resolved, so that the config of the run holds every value.
"""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from vitax import pretrained
from vitax.config import GIVEN_FIELDS, call
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.models.clip import CLIP
from vitax.models.mae import MAE
from vitax.models.vit import ViT
from vitax.pretrained import files
from vitax.pretrained.preprocessing import Preprocessing, chosen_preprocessing
from vitax.rundir import read_config

FROM_WEIGHTS = "from_weights"
# Fields that training chooses: they do not change what the weights mean.
FREE = ("dtype", "remat", "dropout", "attention_dropout", "hidden_dropout", "drop_path")
# Fields that may differ from those of the weights: tables are interpolated, and the head is new.
ADAPTED = ("window", "pooling", "norm_after_pooling", "head_norm")
IMAGES = ("image_size", "channels", "mean", "std", "test_crop_fraction", "interpolation")
TEXTS = ("bert", "fnet")
TOKENIZERS = ("tokenizer.json", "vocab.txt")


class _Source(NamedTuple):
    """A trained model: its family, its module, and the keys of config.data that belong to it."""

    family: str
    model: nn.Module
    data: dict[str, Any]


def adopted(config: Mapping[str, Any], typed: Mapping[str, str]) -> Mapping[str, Any]:
    """The config with the model and the preprocessing of its weights; a config that names its model is unchanged.

    Args:
        config: the config of a config file.
        typed: {key: text} of the keys that the command line sets, such as {"model.num_heads": "4"}. Keys that no file
            records can be given so; other keys may not contradict what the weights record.

    Raises:
        UserError: no weights are named, they cannot be read, they are not those of a classifier, or a key contradicts
            them.
    """
    model = config.get("model")
    if not isinstance(model, Mapping) or model.get("name") != FROM_WEIGHTS:
        return config
    start = typed.get("init_from", config.get("init_from", ""))
    if not start:
        raise UserError(
            "this config takes its model from the weights that it starts from: set --config.init_from to a file, or to "
            "the folder of a run"
        )
    path, given = Path(start).expanduser(), {key: _value(text) for key, text in typed.items()}
    for_texts = config["task"]["name"] == "text_classification"
    source = (
        _of_run(path) if (path / "checkpoints").is_dir() else _of_file(path, given, for_texts, dict(config["data"]))
    )
    if for_texts != (source.family in TEXTS):
        kinds = ("texts", "images") if for_texts else ("images", "texts")
        other = "configs/finetune.py" + ("" if for_texts else ":text")
        raise UserError(f"{path} holds a model of {kinds[1]}, and this config is for {kinds[0]}: use {other}")
    name, fields = _classifier(source, path)
    for key, value in {"name": name, **fields}.items():
        if key not in ADAPTED and given.get(f"model.{key}", value) != value:
            raise UserError(f"config.model.{key}={given[f'model.{key}']!r} contradicts {path}, which has {value!r}")
    if given.get("model.size"):
        raise UserError(f"config.model.size cannot be chosen: {path} has a size")
    own = {key: value for key, value in model.items() if key != "name"}
    return {**config, "model": {"name": name, **fields, **own}, "data": {**config["data"], **source.data}}


def _value(text: str) -> Any:
    """The value of a flag: a Python literal if the text is one, otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _of_run(path: Path) -> _Source:
    """The model and the preprocessing of a run; its tokenizer is found when the data are opened."""
    config = read_config(path)
    family, data = config["model"]["name"], config["data"]
    module = MODELS[family].module
    values = {key: value for key, value in config["model"].items() if key not in ("name", "size")}
    known = {"image_size": data["image_size"]} if "image_size" in module.__dataclass_fields__ else {}
    needed = {"vocab_size": 1} if "vocab_size" in module.__dataclass_fields__ else {}
    model = call(module, "model", values, **known, **needed)
    return _Source(family, model, {key: data[key] for key in (*IMAGES, "lowercase", "length") if key in data})


def _of_file(path: Path, given: Mapping[str, Any], for_texts: bool, data: Mapping[str, Any]) -> _Source:
    """The model of a file of weights, and the preprocessing that the files beside it record."""
    family = pretrained.family_of(path)
    renamed = {"num_heads": "image_heads"} if family == "clip" else {}
    known = set(MODELS[family].module.__dataclass_fields__) - {*GIVEN_FIELDS, *FREE, *ADAPTED}
    fields = {key.removeprefix("model."): value for key, value in given.items() if key.startswith("model.")}
    fields = {renamed.get(key, key): value for key, value in fields.items()}
    fields = {key: value for key, value in fields.items() if key in known}
    # Only the encoder of an MAE is taken: the number of its decoder's heads, which few files record, does not matter.
    loaded = pretrained.load(path, otherwise={"decoder_num_heads": 1} if family == "mae" else None, **fields)
    chosen = {key.removeprefix("data."): value for key, value in given.items() if key.startswith("data.")}
    if family in TEXTS:
        if not for_texts:
            return _Source(family, loaded.model, {})
        return _Source(family, loaded.model, _of_texts(path, loaded.model, chosen, data))
    if for_texts:
        return _Source(family, loaded.model, {})
    chosen = {key: value for key, value in chosen.items() if key in Preprocessing._fields and key in IMAGES}
    recorded = chosen_preprocessing(path, loaded.report.format, chosen, "--config.data.")
    size = tuple(getattr(loaded.model, "image_size", recorded.image_size or (224, 224)))
    found = {key: getattr(recorded, key) for key in ("mean", "std", "test_crop_fraction", "interpolation")}
    return _Source(family, loaded.model, dict(image_size=size, channels=len(recorded.mean), **found))


def _of_texts(path: Path, model: nn.Module, chosen: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenizer, lower case and length for the weights of a model of texts."""
    found = {"length": min(data["length"], getattr(model, "max_length", data["length"]))}
    if chosen.get("tokenizer"):
        return found
    folder = files.find(path).parent
    name = next((name for name in TOKENIZERS if (folder / name).is_file()), "")
    if not name:
        raise UserError(
            f"neither {' nor '.join(TOKENIZERS)} is beside {path}: set --config.data.tokenizer to the tokenizer of these "
            "weights"
        )
    found["tokenizer"] = str(folder / name)
    settings = folder / "tokenizer_config.json"
    if name == "vocab.txt" and settings.is_file():
        found["lowercase"] = bool(json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", True))
    elif name == "vocab.txt" and "lowercase" not in chosen:
        raise UserError(
            f"no tokenizer_config.json beside {path} records whether its vocab.txt is of lower case: set "
            "--config.data.lowercase=True for an uncased model, or False"
        )
    return found


def _classifier(source: _Source, path: Path) -> tuple[str, dict[str, Any]]:
    """The family and the fields of the classifier that starts from a model, without those in FREE."""
    family, model = source.family, source.model
    if isinstance(model, MAE):
        shared = {key: getattr(model, key) for key in MAE.__dataclass_fields__ if key in ViT.__dataclass_fields__}
        # As in the fine-tuning of the paper: the mean of the patches, and a new norm after it.
        model = ViT(**{**shared, "pooling": "mean", "norm_after_pooling": True, "parent": None, "name": None})
        family = "vit"
    elif isinstance(model, CLIP) and model.image_tower != "resnet":
        model, family = model.image_vit(), "vit"
    elif family == "dynamic_vit":
        shared = {key: getattr(model, key) for key in model.__dataclass_fields__ if key in ViT.__dataclass_fields__}
        model, family = ViT(**{**shared, "parent": None, "name": None}), "vit"
    if family not in ("vit", "swin", "nat", "mlp_mixer", "fnet_image", *TEXTS):
        what = "a CLIP with a ResNet" if family == "clip" else f"a model {family!r}"
        raise UserError(f"{path} holds {what}, which vitax does not fine-tune as a classifier")
    skipped = (*GIVEN_FIELDS, *FREE)
    fields = {key: getattr(model, key) for key in type(model).__dataclass_fields__ if key not in skipped}
    if family in TEXTS:
        fields["heads"] = "classes"
    return family, fields
