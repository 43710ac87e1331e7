"""Fields of a model, from the config.json beside a file of weights."""

from collections.abc import Mapping
from typing import Any

from vitax.errors import UserError

# Keys of Hugging Face's config.json, and our fields.
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


def config_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of our models that a config.json of Hugging Face or open_clip records.

    Raises:
        UserError: a value has the wrong type, or vitax does not have the activation.
    """
    try:
        return _fields(config)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the config.json beside the weights cannot be interpreted: {error}") from error


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    fields = {ours: config[theirs] for theirs, ours in CONFIG_KEYS.items() if config.get(theirs) is not None}
    for key in ("num_heads", "decoder_num_heads", "norm_epsilon"):
        if not isinstance(fields.get(key, 0), int | float | list):
            raise TypeError(f"{key} is {fields[key]!r}")
    act = config.get("hidden_act", config.get("activation_function"))
    vision = config.get("vision_config")
    if isinstance(vision, Mapping):  # CLIP
        act = vision.get("hidden_act", "quick_gelu")
        fields["norm_epsilon"] = vision.get("layer_norm_eps", 1e-5)
        if "num_attention_heads" in vision:
            fields["image_heads"] = vision["num_attention_heads"]
        text = config.get("text_config")
        if isinstance(text, Mapping) and "num_attention_heads" in text:
            fields["text_heads"] = text["num_attention_heads"]
    if "model_cfg" in config:  # open_clip
        towers = config["model_cfg"]
        act = "quick_gelu" if towers.get("quick_gelu") else "gelu"
        vision, text = towers.get("vision_cfg", {}), towers.get("text_cfg", {})
        if isinstance(vision.get("layers"), int):
            fields["image_heads"] = vision["width"] // vision.get("head_width", 64)
        if "heads" in text:
            fields["text_heads"] = text["heads"]
    if act is not None:
        if act not in CONFIG_ACTIVATIONS:
            raise UserError(f"config.json names the activation {act!r}, which vitax does not have")
        fields["activation"] = CONFIG_ACTIVATIONS[act]
    if "dilations" in fields:
        fields["dilations"] = tuple(tuple(stage) for stage in fields["dilations"])
    if isinstance(fields.get("num_heads"), list):
        fields["num_heads"] = tuple(fields["num_heads"])
    return fields
