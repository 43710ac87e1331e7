"""Fields of a model as the config.json of timm, for `vitax.pretrained.config_writing`."""

from typing import Any

from vitax.errors import UserError
from vitax.pretrained import timm_names
from vitax.pretrained.config_timm import POOLINGS
from vitax.pretrained.preprocessing import Preprocessing

Config = dict[str, Any]
TIMM_POOLINGS = {ours: theirs for theirs, ours in POOLINGS.items()}
MIXERS = {(512, 8): "s", (768, 12): "b", (1024, 24): "l"}


def _timm(model: Any, architecture: str, arguments: Config, images: Preprocessing | None, names: tuple[str, ...]):
    """The config.json that timm reads from a folder or from the hub."""
    settings: Config = {
        "num_classes": model.num_classes,
        "input_size": [len(images.mean) if images else 3, *model.image_size],
        "fixed_input_size": True,
        "classifier": "head.fc" if hasattr(model, "window") else "head",
        "first_conv": None,  # another number of channels was trained, not adapted
    }
    if images:
        crop = images.test_crop_fraction
        settings |= {"mean": list(images.mean), "std": list(images.std), "interpolation": images.interpolation}
        settings |= {"crop_pct": crop or 1.0, "crop_mode": "center" if crop else "squash"}
        if len(images.mean) != 3:
            arguments = arguments | {"in_chans": len(images.mean)}
    config = {"architecture": architecture, "num_classes": model.num_classes, "model_args": arguments}
    if names and model.num_classes:
        config["label_names"] = list(names)
    return {"config.json": config | {"pretrained_cfg": settings}}


def timm_vit(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    """The config.json of a ViT.

    Args:
        model: the model.
        images: how images are prepared; None = not told.
        names: names of the classes; () = not told.

    Raises:
        UserError: timm has no such model.
    """
    arguments: Config = {
        "img_size": list(model.image_size),
        "patch_size": model.patch_size,
        "embed_dim": model.width,
        "depth": model.depth,
        "num_heads": model.num_heads,
        "mlp_ratio": _ratio(model.mlp_width, model.width),
        "class_token": model.class_token,
        "reg_tokens": model.register_tokens,
        "qkv_bias": model.qkv_bias,
        "qk_norm": model.qk_norm,
        "init_values": model.layer_scale or None,
        "pre_norm": model.norm_first_tokens,
        "global_pool": TIMM_POOLINGS.get(model.pooling, ""),
        "fc_norm": model.norm_after_pooling,
    }
    if model.patch_bias == model.norm_first_tokens:
        raise UserError(f"timm has no ViT with patch_bias={model.patch_bias} and norm_first_tokens={model.patch_bias}")
    if model.activation != "gelu":
        arguments["act_layer"] = {"swish": "silu"}.get(model.activation, model.activation)
    names_by_epsilon = {1e-6: "vit_base_patch16_224", 1e-5: "vit_base_patch16_clip_224"}
    if model.norm_epsilon not in names_by_epsilon:
        raise UserError(f"timm has ViTs with norm_epsilon 1e-6 and 1e-5, not {model.norm_epsilon:g}")
    architecture = names_by_epsilon[model.norm_epsilon]
    if model.distillation_token and (model.register_tokens or model.norm_after_pooling or not model.class_token):
        raise UserError(
            "timm has distilled ViTs with a class token and without register_tokens or norm_after_pooling only"
        )
    if model.distillation_token:
        architecture = "deit_base_distilled_patch16_224"
        arguments = {
            key: value for key, value in arguments.items() if key not in ("class_token", "reg_tokens", "fc_norm")
        }
    return _timm(model, _published(model, architecture), arguments, images, names)


def _published(model: Any, architecture: str) -> str:
    """timm's own name of a ViT of a published size; ``architecture`` for any other."""
    height, width = model.image_size
    size = {192: "tiny", 384: "small", 768: "base", 1024: "large"}.get(model.width)
    name = f"vit_{size}_patch{model.patch_size}_{height}"
    told = (model.activation, model.norm_epsilon, model.pooling)
    known = timm_names.VIT.get(told, "").split()
    return name if name in known and height == width and not model.distillation_token else architecture


def _ratio(width: int, of: int) -> float:
    """The factor from which timm computes exactly this width."""
    return width / of if int(of * (width / of)) == width else (width + 0.5) / of


def timm_swin(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    """The config.json of a Swin.

    Args:
        model: the model.
        images: how images are prepared; None = not told.
        names: names of the classes; () = not told.
    """
    arguments = {
        "img_size": list(model.image_size),
        "patch_size": model.patch_size,
        "embed_dim": model.width,
        "depths": list(model.depths),
        "num_heads": list(model.num_heads),
        "window_size": model.window,
        "mlp_ratio": model.mlp_ratio,
    }
    return _timm(model, "swin_tiny_patch4_window7_224", arguments, images, names)


def timm_swin_v2(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    """The config.json of a Swin V2.

    Args:
        model: the model.
        images: how images are prepared; None = not told.
        names: names of the classes; () = not told.
    """
    config = timm_swin(model, images, names)
    about = config["config.json"]
    about["architecture"] = "swinv2_tiny_window8_256"
    about["model_args"] |= dict(qkv_bias=model.qkv_bias, pretrained_window_sizes=list(model.windows_of_training()))
    return config


def timm_mixer(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    """The config.json of a Mixer.

    Args:
        model: the model.
        images: how images are prepared; None = not told.
        names: names of the classes; () = not told.

    Raises:
        UserError: timm has no such model.
    """
    # timm's functions for Mixers accept no other width, depth and patch size than those of their names.
    size = MIXERS.get((model.width, model.depth))
    name = f"mixer_{size}{model.patch_size}_224"
    if name not in timm_names.MIXER.split():
        shape = f"width={model.width}, depth={model.depth} and patch_size={model.patch_size}"
        raise UserError(f"timm opens Mixers of published sizes only, and this one has {shape}")
    widths = (model.token_mlp_width, model.mlp_width)
    arguments = {"img_size": list(model.image_size), "mlp_ratio": [_ratio(width, model.width) for width in widths]}
    return _timm(model, name, arguments, images, names)
