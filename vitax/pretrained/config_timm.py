"""The config.json of timm: architecture and arguments of the model, as fields of ours."""

from typing import Any

from vitax.errors import UserError
from vitax.pretrained import timm_names
from vitax.pretrained.config_keys import Config, Key, Kind, act, read_keys, square, tuples, windows
from vitax.pretrained.format import pair

POOLINGS = {"token": "token", "avg": "mean", "map": "map"}


def _pooling(name: Any) -> str:
    if name not in POOLINGS:
        raise UserError(f"config.json says global_pool={name!r}; vitax has {', '.join(POOLINGS)} only")
    return POOLINGS[name]


_VIT = Kind(
    ("timm ViT",),
    {
        "img_size": Key("image_size", None, pair),
        "patch_size": Key("patch_size", None, square),
        "embed_dim": Key("width"),
        "depth": Key("depth"),
        "num_heads": Key("num_heads"),
        "class_token": Key("class_token"),
        "reg_tokens": Key("register_tokens"),
        "num_classes": Key("num_classes"),
        "qkv_bias": Key("qkv_bias"),
        "qk_norm": Key("qk_norm"),
        "act_layer": act(""),
        "global_pool": Key("pooling", None, _pooling),
    },
    {
        "final_norm": (True,),
        "pool_include_prefix": (False,),
        "dynamic_img_pad": (False,),
        "proj_bias": (True,),
        "scale_attn_norm": (False,),
        "scale_mlp_norm": (False,),
        "always_partition": (False,),
        "strict_img_size": (True, False),
    },
    # The tensors show these, or they matter in training alone.
    inert=r"mlp_ratio|init_values|pre_norm|fc_norm|no_embed_class|pos_embed|in_chans|dynamic_img_size|weight_init|fix_init"
    r"|dynamic_mask|drop_rate",
)
_SWIN = _VIT._replace(
    formats=("timm Swin",),
    keys={
        "img_size": Key("image_size", None, pair),
        "patch_size": Key("patch_size", None, square),
        "embed_dim": Key("width"),
        "depths": Key("depths", None, tuples),
        "num_heads": Key("num_heads", None, tuples),
        "window_size": Key("window", None, square),
        "num_classes": Key("num_classes"),
    },
    fixed={**_VIT.fixed, "global_pool": ("avg",), "head_dim": (None,)},
)
_SWIN_V2 = _SWIN._replace(
    formats=("timm Swin V2",),
    keys={
        **_SWIN.keys,
        "qkv_bias": Key("qkv_bias"),
        "pretrained_window_sizes": Key("trained_windows", None, windows),
        "mlp_ratio": Key("mlp_ratio", None, float),
    },
    fixed={
        "global_pool": ("avg",),
        "act_layer": ("gelu",),
        "always_partition": (False,),
        "strict_img_size": (True, False),
    },
)
_MIXER = _VIT._replace(
    formats=("timm Mixer",),
    keys={
        "img_size": Key("image_size", None, pair),
        "patch_size": Key("patch_size", None, square),
        "embed_dim": Key("width"),
        "num_blocks": Key("depth"),
        "num_classes": Key("num_classes"),
    },
    fixed={"global_pool": ("avg",)},
)
_DINO = _VIT._replace(
    formats=("timm DINOv3",),
    keys={
        "img_size": Key("image_size", None, pair),
        "patch_size": Key("patch_size", None, square),
        "embed_dim": Key("width"),
        "depth": Key("depth"),
        "num_heads": Key("num_heads"),
        "num_classes": Key("num_classes"),
        "num_reg_tokens": Key("register_tokens"),
        "global_pool": Key("pooling", None, _pooling),
    },
)
_EVA = _DINO._replace(
    formats=("timm EVA", "timm EVA-02"),
    keys={key: value for key, value in _DINO.keys.items() if key != "num_reg_tokens"},
    inert=f"{_DINO.inert}|qkv_fused|swiglu_mlp|scale_mlp|scale_attn_inner",
)


def _dilated(stride: Any) -> bool:
    if stride not in (16, 32):
        raise UserError(f"config.json says output_stride={stride!r}; vitax has 32, and 16 with a dilated last stage")
    return stride == 16


_RESNET = Kind(
    ("timm ResNet",),
    {
        "num_classes": Key("num_classes"),
        "layers": Key("depths", None, tuple),
        "output_stride": Key("dilated", None, _dilated),
    },
    {
        "global_pool": ("avg",),
        "act_layer": ("relu",),
        "stem_type": ("",),
        "stem_width": (64,),
        "cardinality": (1,),
        "base_width": (64,),
        "block": ("bottleneck",),
    },
    inert=r"in_chans|drop_rate|drop_path_rate|zero_init_last",
)
# Keys that may be absent, but not have another value, not even null: the architecture has these.
_TURNED = {"use_rot_pos_emb": True, "rope_grid_offset": 0.0, "rope_grid_indexing": "ij"}
_EXACT: dict[str, dict[str, Any]] = {
    "dinov3": {"use_rot_pos_emb": True, "rope_rotate_half": True, "rope_type": "dinov3", "use_abs_pos_emb": False},
    "eva02": {**_TURNED, "ref_feat_shape": [16, 16], "rope_rotate_half": False, "use_abs_pos_emb": True},
    "eva_giant": {"use_rot_pos_emb": False, "use_abs_pos_emb": True},
}
_TIMM = {format: kind for kind in (_VIT, _SWIN, _SWIN_V2, _MIXER, _DINO, _EVA, _RESNET) for format in kind.formats}


def timm_fields(config: Config, format_name: str) -> dict[str, Any]:
    """Fields of our model: from the architecture, then from pretrained_cfg, then from model_args, which has the last word.

    Raises:
        UserError: the config describes another model than the tensors, or one that vitax does not have.
    """
    if format_name not in _TIMM:
        raise UserError(
            f"config.json names timm's architecture {config['architecture']!r}, "
            f"but the tensors are named as those of {format_name}"
        )
    kind, fields = _TIMM[format_name], timm_names.fields_of(config["architecture"], format_name)
    settings = config.get("pretrained_cfg", config)
    given = {key: settings[key] for key in ("global_pool", "num_classes") if settings.get(key) is not None}
    given |= config.get("model_args") or {}
    if given.get("global_pool") == "":
        raise UserError(
            "config.json says global_pool='': such a model gives all tokens, which vitax has no classifier for"
        )
    if "num_heads" in kind.keys and "num_heads" not in given and given.get("embed_dim"):
        raise UserError(
            "config.json's model_args change embed_dim and not num_heads, which is then that of the architecture "
            f"{config['architecture']!r}: add num_heads to a copy of that file"
        )
    for kind_of, exact in _EXACT.items():
        for key, value in exact.items() if kind_of in config["architecture"] else ():
            if given.pop(key, value) != value:
                raise UserError(f"config.json's model_args change {key}, which vitax has as {value!r} only")
    if isinstance(size := settings.get("input_size"), list):
        fields["image_size"] = pair(size[1:])
    told = fields | read_keys(kind, given, "config.json's model_args")
    if config.get("num_classes") is not None:
        told["num_classes"] = config["num_classes"]
    if "pooling" in told and config.get("global_pool") and _pooling(config["global_pool"]) != told["pooling"]:
        raise UserError(
            f"config.json says global_pool={config['global_pool']!r}, but its architecture and model_args pool by "
            f"{told['pooling']!r}: set it in model_args"
        )
    return told
