"""Configs that take their model and their preprocessing from the weights that they start from.

In such a config, ``model.name`` is "from_weights". What the weights, their config.json and their preprocessing record
replaces it before the config is resolved, so that the config of the run holds every value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from vitax import pretrained
from vitax.config import call, keys
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.models.swin_v2 import as_trained
from vitax.pretrained import files
from vitax.pretrained.format import pair
from vitax.pretrained.preprocessing import Preprocessing, chosen_preprocessing
from vitax.pretrained.tokenizer import TEXTS, TOKENIZERS, lowercase_of, tokenizer_beside
from vitax.rundir import read_config

FROM_WEIGHTS = "from_weights"
# Fields that training chooses: they do not change what the weights mean.
FREE = ("dtype", "remat", "dropout", "attention_dropout", "hidden_dropout", "drop_path")
# Fields that may differ from those of the weights: tables are interpolated, and the head is new.
ADAPTED = ("window", "pooling", "norm_after_pooling", "head_norm", "heads")
# Keys of config.data that belong to weights. The sizes among them may be changed.
OF_IMAGES = ("image_size", "channels", "mean", "std", "pixel_range", "test_crop_fraction", "interpolation")
OF_TEXTS = ("lowercase", "length")
SIZES = ("image_size", "length")
CLASSIFIERS = ("vit", "swin", "swin_v2", "nat", "mlp_mixer", "fnet_image", *TEXTS)


def adopted(config: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the model and the preprocessing of its weights; a config that names its model is unchanged.

    Args:
        config: the config of a config file.
        given: {key: value} of the keys that are set by hand, such as {"model.num_heads": 4}. They complete what no file
            records, and may not contradict what the weights record.

    Raises:
        UserError: no weights are named, they cannot be read, vitax does not fine-tune such a model, or a key contradicts
            them.
    """
    model, data = config.get("model"), config.get("data", {})
    if not isinstance(model, Mapping) or model.get("name") != FROM_WEIGHTS:
        return config
    start = given.get("init_from", config.get("init_from", ""))
    if not start:
        raise UserError(
            "this config takes its model from the weights that it starts from: set --config.init_from to a file, "
            "the folder of a run, or hf-hub:OWNER/NAME"
        )
    path = Path(str(start)).expanduser()
    run = read_config(path) if (path / "checkpoints").is_dir() else {}
    size = _section("data", given).get("image_size")
    by_hand = _section("model", given) | ({"image_size": size} if size else {})
    family, trained, format_name = _of_run(run) if run else _of_file(path, by_hand)
    name, fields = _classifier(family, trained, path)
    texts = config["task"]["name"].startswith("text_")
    if texts != (name in TEXTS):
        kinds = ("texts", "images") if texts else ("images", "texts")
        other = "configs/finetune.py" + ("" if texts else ":text")
        raise UserError(f"{path} holds a model of {kinds[1]}, and this config is for {kinds[0]}: use {other}")
    if run:
        found = {key: run["data"][key] for key in (OF_TEXTS if texts else OF_IMAGES) if key in run["data"]}
    elif texts:
        found = _texts_beside(path, trained, _section("data", given), data["length"])
    else:
        found = _images_beside(path, trained, format_name, _section("data", given))
    _check("model", {"name": name, "size": "", **fields}, given, path, ADAPTED)
    _check("data", found, given, path, (*SIZES, "tokenizer"))
    own = {key: value for key, value in model.items() if key != "name"}
    return {**config, "model": {"name": name, **fields, **own}, "data": {**data, **found}}


def _section(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of one section, without its name."""
    return {key.removeprefix(f"{name}."): value for key, value in given.items() if key.startswith(f"{name}.")}


def _check(section: str, found: Mapping[str, Any], given: Mapping[str, Any], path: Path, free: tuple[str, ...]) -> None:
    """Raises an error for a key that was set by hand and contradicts the weights; those in ``free`` may differ."""
    for key, value in found.items():
        if key == "size" and given.get("model.size"):
            raise UserError(f"config.model.size cannot be chosen: {path} has a size")
        by_hand = given.get(f"{section}.{key}", value)
        if key not in free and by_hand != value:
            raise UserError(f"config.{section}.{key}={by_hand!r} contradicts {path}, which has {value!r}")


def _of_run(run: Mapping[str, Any]) -> tuple[str, nn.Module, str]:
    """The family and the module of a run, from its config; as `_of_file`."""
    family, data = run["model"]["name"], run["data"]
    module = MODELS[family].module
    values = {key: value for key, value in run["model"].items() if key not in ("name", "size")}
    size = data.get("image_size")
    of_data = {"image_size": size and pair(size), "vocab_size": 1}  # the number of tokens is not a key
    known = {key: value for key, value in of_data.items() if value and key in module.__dataclass_fields__}
    return family, as_trained(call(module, "model", values, **known)), ""


def _of_file(path: Path, given: Mapping[str, Any]) -> tuple[str, nn.Module, str]:
    """The family, the module and the format of a file of weights, with the fields that were set by hand."""
    family = pretrained.family_of(path)
    renamed = {"num_heads": "image_heads"} if family == "clip" else {}
    known = set(keys(MODELS[family].module)) - {*FREE, *ADAPTED}
    fields = {renamed.get(key, key): value for key, value in given.items()}
    fields = {key: value for key, value in fields.items() if key in known}
    # Only the encoder of an MAE is taken: the number of its decoder's heads, which few files record, does not matter.
    otherwise: dict[str, Any] = {"decoder_num_heads": 1} if family == "mae" else {}
    if family == "swin_v2":  # without a config.json, nothing records them
        otherwise |= {key: given[key] for key in ("window", "image_size") if key in given}
    loaded = pretrained.load(path, otherwise=otherwise, **fields)
    return family, loaded.model, loaded.report.format


def _classifier(family: str, model: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """The family and the fields, without those in FREE, of the classifier that starts from a model.

    Raises:
        UserError: vitax does not fine-tune such a model as a classifier.
    """
    changes: dict[str, Any] = {}
    if family == "clip" and model.image_tower != "resnet":
        family, model = "vit", model.image_vit()
    elif family == "mae":
        # As in the fine-tuning of the paper: the mean of the patches, and a new norm after it.
        family, changes = "vit", dict(pooling="mean", norm_after_pooling=True)
    elif family == "dynamic_vit":
        family = "vit"
    if family not in CLASSIFIERS:
        what = "a CLIP with a ResNet" if family == "clip" else f"a model {family!r}"
        raise UserError(f"{path} holds {what}, which vitax does not fine-tune as a classifier")
    if family in TEXTS:
        changes = dict(heads="classes")
    names = [key for key in keys(MODELS[family].module) if key not in FREE]
    return family, {key: getattr(model, key) for key in names if hasattr(model, key)} | changes


def _images_beside(path: Path, model: nn.Module, format_name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of config.data that the files beside a model of images record, completed by hand."""
    chosen = {key: value for key, value in given.items() if key in Preprocessing._fields and key in OF_IMAGES}
    recorded = chosen_preprocessing(path, format_name, chosen, "--config.data.")
    size = tuple(getattr(model, "image_size", recorded.image_size or (224, 224)))
    found = {key: getattr(recorded, key) for key in ("mean", "std", "test_crop_fraction", "interpolation")}
    return dict(image_size=size, channels=len(recorded.mean), **found)


def _texts_beside(path: Path, model: nn.Module, given: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The keys of config.data that the files beside a model of texts record, completed by hand.

    Raises:
        UserError: there is no tokenizer, or nothing records whether a vocab.txt is of lower case.
    """
    found: dict[str, Any] = {"length": min(length, getattr(model, "max_length", length))}
    if given.get("tokenizer"):
        return found
    tokenizer = tokenizer_beside(files.find(path).parent)
    if tokenizer is None:
        raise UserError(
            f"neither {' nor '.join(TOKENIZERS)} is beside {path}: set --config.data.tokenizer to the tokenizer of these "
            "weights"
        )
    found["tokenizer"] = str(tokenizer)
    if tokenizer.suffix == ".txt" and (lowercase := lowercase_of(tokenizer)) is not None:
        found["lowercase"] = lowercase
    elif tokenizer.suffix == ".txt" and "lowercase" not in given:
        raise UserError(
            f"no tokenizer_config.json beside {path} records whether its vocab.txt is of lower case: set "
            "--config.data.lowercase=True for an uncased model, or False"
        )
    return found
