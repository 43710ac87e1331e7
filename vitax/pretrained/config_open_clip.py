"""The open_clip_config.json of open_clip: the fields of our CLIP that its keys are."""

from typing import Any

from vitax.errors import UserError
from vitax.pretrained.config_keys import Config, Key, Kind, read_keys
from vitax.pretrained.format import pair

# Options of the blocks of both towers, which vitax does not have.
_BLOCKS: dict[str, tuple[Any, ...]] = {
    "ls_init_value": (None,),
    "block_type": (None, "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
    "hf_model_name": (None,),
    "timm_model_name": (None,),
}
_TEXT = Kind(
    (),
    {
        "context_length": Key("context_length", 77),
        "vocab_size": Key("vocab_size", 49408),
        "width": Key("text_width", 512),
        "heads": Key("text_heads", 8),
        "layers": Key("text_depth", 12),
    },
    {
        **_BLOCKS,
        "mlp_ratio": (4.0,),
        "embed_cls": (False,),
        "no_causal_mask": (False,),
        "final_ln_after_pool": (False,),
        "proj_bias": (False,),
        "proj_type": ("linear",),
    },
    inert=r"hf_tokenizer_name|tokenizer_mode|tokenizer_kwargs|pad_id|output_tokens|hf_model_pretrained|hf_proj_type"
    "|hf_pooler_type",
)
_IMAGE = Kind(
    (),
    {"image_size": Key("image_size", 224, pair), "width": Key("image_width")},
    {
        **_BLOCKS,
        "attentional_pool": (False,),
        "no_ln_pre": (False,),
        "pos_embed_type": ("learnable",),
        "final_ln_after_pool": (False,),
        "pool_type": ("tok",),
    },
    inert=r"patch_dropout|output_tokens|attn_pooler_\w+|timm_(model_pretrained|pool|proj|proj_bias|drop|drop_path)",
)


def open_clip_fields(config: Config, format_name: str) -> dict[str, Any]:
    """Fields of our CLIP.

    Raises:
        UserError: the config describes another model than the tensors, or one that vitax does not have.
    """
    if format_name != "OpenAI CLIP":
        raise UserError(f"open_clip's config is beside weights that are named as those of {format_name}")
    towers = config["model_cfg"]
    text, image = dict(towers.get("text_cfg", {})), dict(towers.get("vision_cfg", {}))
    rest = {
        key: value for key, value in towers.items() if key not in ("text_cfg", "vision_cfg", "quick_gelu", "embed_dim")
    }
    read_keys(Kind((), {}, inert="init_logit_scale|cast_dtype|custom_text"), rest, "open_clip's model_cfg")
    if towers.get("custom_text"):
        raise UserError("open_clip's model_cfg says custom_text=True, a model that vitax does not have")
    usual = "quick_gelu" if towers.get("quick_gelu") else "gelu"
    fields: dict[str, Any] = {"out_width": towers["embed_dim"]} if "embed_dim" in towers else {}
    for tower, prefix in ((image, ""), (text, "text_")):
        act, norm = tower.pop("act_kwargs", None) or {}, tower.pop("norm_kwargs", None) or {}
        fields[f"{prefix}activation"] = _activation(usual, act)
        if norm.keys() - {"eps"}:
            raise UserError(f"open_clip's model_cfg says norm_kwargs={norm}; vitax knows eps only")
        fields[f"{prefix}norm_epsilon"] = norm.get("eps", 1e-5)
    fields["end_token"] = _end(text)
    fields |= read_keys(_TEXT, text, "open_clip's text_cfg")
    layers, ratio = image.pop("layers", 12), image.pop("mlp_ratio", 4.0)
    head_width, patch_size = image.pop("head_width", 64), image.pop("patch_size", 16)
    fields |= read_keys(_IMAGE, image, "open_clip's vision_cfg")
    width = image.get("width", 768)
    if isinstance(layers, list):
        return fields | dict(image_depths=tuple(layers), image_heads=width * 32 // head_width)
    return fields | dict(
        image_depth=layers, image_mlp_width=int(width * ratio), image_heads=width // head_width, patch_size=patch_size
    )


def _activation(usual: str, arguments: Config) -> str:
    """The activation of a tower, from the arguments of torch.nn.GELU.

    Raises:
        UserError: other arguments.
    """
    if not arguments:
        return usual
    if usual == "gelu" and arguments in ({"approximate": "tanh"}, {"approximate": "none"}):
        return "gelu_tanh" if arguments["approximate"] == "tanh" else "gelu"
    raise UserError(f"open_clip's model_cfg says act_kwargs={arguments} with {usual}, which vitax does not have")


def _end(text: dict[str, Any]) -> int:
    """The field end_token; removes its keys.

    Raises:
        UserError: texts are pooled in another way than at their end token.
    """
    pooling, end = text.pop("pool_type", "argmax"), text.pop("eos_id", 2)
    if pooling not in ("argmax", "eos"):
        raise UserError(f"open_clip's text_cfg says pool_type={pooling!r}; vitax has 'argmax' and 'eos' only")
    return end if pooling == "eos" else -1
