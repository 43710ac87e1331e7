"""Fields of a model, from the config.json beside a file of weights."""

from typing import Any

from vitax.errors import UserError
from vitax.pretrained.config_hugging_face import hugging_face_fields
from vitax.pretrained.config_keys import Config
from vitax.pretrained.config_open_clip import open_clip_fields
from vitax.pretrained.config_timm import timm_fields


def config_fields(config: Config, format_name: str) -> dict[str, Any]:
    """Fields of our model that a config.json tells; {} if it is not the config of a model.

    Args:
        config: the config.json of Hugging Face, open_clip or timm.
        format_name: format of the weights, a key of `vitax.pretrained.FORMATS`.

    Raises:
        UserError: the config describes other weights, or a model that vitax does not have.
    """
    if not config:
        return {}
    try:
        if "model_cfg" in config:
            return open_clip_fields(config, format_name)
        if "architecture" in config:
            return timm_fields(config, format_name)
        return hugging_face_fields(config, format_name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the config.json beside the weights cannot be interpreted: {error}") from error
