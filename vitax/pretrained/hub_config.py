"""What the config.json beside a file of weights tells of the model."""

from collections.abc import Mapping
from typing import Any

from vitax.errors import UserError

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


def config_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ours that a config.json of Hugging Face or open_clip tells.

    Raises:
        UserError: a value of the wrong type, or an activation that vitax does not have.
    """
    try:
        return _fields(config)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the config.json beside the weights is not understood: {error}") from error


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {ours: config[theirs] for theirs, ours in CONFIG_KEYS.items() if config.get(theirs) is not None}
    for key in ("num_heads", "decoder_num_heads", "norm_epsilon"):
        if not isinstance(found.get(key, 0), int | float | list):
            raise TypeError(f"{key} is {found[key]!r}")
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
        towers = config["model_cfg"]
        act = "quick_gelu" if towers.get("quick_gelu") else "gelu"
        vision, text = towers.get("vision_cfg", {}), towers.get("text_cfg", {})
        if isinstance(vision.get("layers"), int):
            found["image_heads"] = vision["width"] // vision.get("head_width", 64)
        if "heads" in text:
            found["text_heads"] = text["heads"]
    if act is not None:
        if act not in CONFIG_ACTIVATIONS:
            raise UserError(f"config.json names the activation {act!r}, which vitax does not have")
        found["activation"] = CONFIG_ACTIVATIONS[act]
    if "dilations" in found:
        found["dilations"] = tuple(tuple(stage) for stage in found["dilations"])
    if isinstance(found.get("num_heads"), list):
        found["num_heads"] = tuple(found["num_heads"])
    return found
