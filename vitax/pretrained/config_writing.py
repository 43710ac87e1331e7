"""Fields of a model as the config.json of Hugging Face, timm or open_clip: what `hub_config` reads, in the other direction.

A config is never trusted on its own: `vitax.pretrained.save` reads the folder back and compares every field.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from vitax.errors import UserError
from vitax.pretrained import timm_names
from vitax.pretrained.config_hugging_face import CLIP_IMAGE, CLIP_TEXT, HUGGING_FACE
from vitax.pretrained.config_keys import Kind
from vitax.pretrained.config_timm import POOLINGS
from vitax.pretrained.convert import IMPLIED, settled
from vitax.pretrained.preprocessing import RESAMPLING, Preprocessing

Config = dict[str, Any]
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "swish": "silu",
}
TIMM_POOLINGS = {ours: theirs for theirs, ours in POOLINGS.items()}
RESAMPLE = {name: number for number, name in RESAMPLING.items()}
MIXERS = {(512, 8): "s", (768, 12): "b", (1024, 24): "l"}
HEADS = {"classes": "ForSequenceClassification", "pretraining": "ForPreTraining", "masked_words": "ForMaskedLM"}


class Layout(NamedTuple):
    """The folder of a model as one project lays it out.

    Attributes:
        weights: name of the file of weights.
        configs: (model, preprocessing, names of the classes) -> {file: JSON object}.
        fixed: fields that the code of the project always has, although its files could be read otherwise.
        square: whether that code takes square images only.
    """

    weights: str
    configs: Callable[[Any, Preprocessing | None, tuple[str, ...]], dict[str, Config]]
    fixed: dict[str, Any] = {}
    square: bool = False


def _hugging_face(model_type: str, architecture: Callable[[Any], str]) -> Callable[..., dict[str, Config]]:
    def configs(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
        config: Config = {"model_type": model_type, "architectures": [architecture(model)]}
        if model_type == "clip":
            config |= {"text_config": _keys(CLIP_TEXT, model), "vision_config": _keys(CLIP_IMAGE, model)}
            config["projection_dim"] = model.out_width
            config["text_config"] |= dict(intermediate_size=4 * model.text_width, bos_token_id=None, pad_token_id=None)
        else:
            config |= _keys(HUGGING_FACE[model_type], model)
        if model_type == "marian":
            last = model.vocab_size - 1
            config |= dict(pad_token_id=last, decoder_start_token_id=last, eos_token_id=0)  # as Marian numbers them
        if model_type == "vit_mae":
            config["decoder_intermediate_size"] = int(model.decoder_width * model.decoder_mlp_ratio)
        if model_type in ("vit", "deit") and model.num_classes and model.pre_logits:
            raise UserError(f"Hugging Face has no {model_type} with classes and pre_logits={model.pre_logits}")
        if getattr(model, "pre_logits", 0):
            config["pooler_output_size"] = model.pre_logits
        if channels := images and len(images.mean):
            (config["vision_config"] if model_type == "clip" else config)["num_channels"] = channels
        if classes := getattr(model, "num_classes", 0):
            listed = names or tuple(f"LABEL_{k}" for k in range(classes))
            config["id2label"] = {str(k): name for k, name in enumerate(listed)}
            config["label2id"] = {name: k for k, name in enumerate(listed)}
        files = {"config.json": config}
        return files | ({"preprocessor_config.json": _image_processor(images)} if images else {})

    return configs


def _keys(kind: Kind, model: Any) -> Config:
    """The keys of one object of a config of Hugging Face."""
    names = {key.field for key in kind.keys.values()}
    fields = settled(
        {name: getattr(model, name, IMPLIED.get(name)) for name in (*type(model).__dataclass_fields__, *names)}
    )
    return {key: _theirs(about.field, fields[about.field]) for key, about in kind.keys.items()}


def _theirs(field: str, value: Any) -> Any:
    """A field's value as Hugging Face writes it."""
    if field.endswith("activation"):
        return ACTIVATIONS.get(value, value)
    if field == "image_size":
        return value[0] if value[0] == value[1] else list(value)
    if field == "end_token":
        return 2 if value == -1 else value  # transformers reads 2 as "the largest id"
    return value


def _image_processor(images: Preprocessing) -> Config:
    """A preprocessor_config.json: the short side is resized, and the centre cropped; or the whole image is resized."""
    height, width = images.image_size
    common = dict(
        do_resize=True,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(images.mean),
        image_std=list(images.std),
        resample=RESAMPLE[images.interpolation],
    )
    if not images.test_crop_fraction:
        size = dict(height=height, width=width)
        return dict(image_processor_type="ViTImageProcessor", size=size, do_center_crop=False, **common)
    return dict(
        image_processor_type="CLIPImageProcessor",
        size=dict(shortest_edge=int(min(height, width) / images.test_crop_fraction)),
        do_center_crop=True,
        crop_size=dict(height=height, width=width),
        do_convert_rgb=len(images.mean) == 3,
        **common,
    )


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


def _timm_vit(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
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


def _timm_swin(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
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


def _timm_mixer(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    # timm's functions for Mixers accept no other width, depth and patch size than those of their names.
    size = MIXERS.get((model.width, model.depth))
    name = f"mixer_{size}{model.patch_size}_224"
    if name not in timm_names.MIXER.split():
        shape = f"width={model.width}, depth={model.depth} and patch_size={model.patch_size}"
        raise UserError(f"timm opens Mixers of published sizes only, and this one has {shape}")
    widths = (model.token_mlp_width, model.mlp_width)
    arguments = {"img_size": list(model.image_size), "mlp_ratio": [_ratio(width, model.width) for width in widths]}
    return _timm(model, name, arguments, images, names)


def _open_clip(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    fields = settled({name: getattr(model, name) for name in type(model).__dataclass_fields__ if name != "parent"})
    quick = {name: fields[name] == "quick_gelu" for name in ("activation", "text_activation")}
    if len(set(quick.values())) > 1:
        raise UserError("open_clip has one quick_gelu for both towers; here they differ")
    image: Config = {"image_size": _theirs("image_size", model.image_size), "width": model.image_width}
    text: Config = {
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
        "width": model.text_width,
        "heads": model.text_heads,
        "layers": model.text_depth,
    }
    if model.image_tower == "resnet":
        image |= {"layers": list(model.image_depths), "head_width": model.image_width * 32 // model.image_heads}
    else:
        image |= {"layers": model.image_depth, "patch_size": model.patch_size}
        image |= {
            "head_width": model.image_width // model.image_heads,
            "mlp_ratio": model.image_mlp_width / model.image_width,
        }
    for tower, prefix in ((image, ""), (text, "text_")):
        if fields[f"{prefix}activation"] == "gelu_tanh":
            tower["act_kwargs"] = {"approximate": "tanh"}
        if fields[f"{prefix}norm_epsilon"] != 1e-5:
            tower["norm_kwargs"] = {"eps": fields[f"{prefix}norm_epsilon"]}
    if model.end_token != -1:
        text |= {"pool_type": "eos", "eos_id": model.end_token}
    settings = {"embed_dim": model.out_width, "vision_cfg": image, "text_cfg": text, "quick_gelu": quick["activation"]}
    config: Config = {"model_cfg": settings}
    if images:
        if images.test_crop_fraction not in (0, 1):
            raise UserError(
                f"open_clip takes the whole centre (1) or the whole image (0), not {images.test_crop_fraction:g}: no "
                "test_crop_fraction between them can be said"
            )
        mode = "shortest" if images.test_crop_fraction else "squash"
        prepared = {"mean": list(images.mean), "std": list(images.std)}
        config["preprocess_cfg"] = prepared | {"interpolation": images.interpolation, "resize_mode": mode}
    return {"open_clip_config.json": config}


def _classes(name: str, head: str = "ForImageClassification") -> Callable[[nn.Module], str]:
    return lambda model: name + (head if model.num_classes else "Model")


def _deit(model: Any) -> str:
    return _classes("DeiT", "ForImageClassification" + ("WithTeacher" if model.distillation_token else ""))(model)


def _texts(name: str) -> Callable[[Any], str]:
    return lambda model: name + HEADS.get(model.heads, "Model")


_SWIN = dict(patch_norm=True, relative_bias=True, pyramid=False, shifted=True, shrink_window=True)
# {format: its folder}
LAYOUTS = {
    "Hugging Face ViT": Layout("model.safetensors", _hugging_face("vit", _classes("ViT"))),
    "Hugging Face DeiT": Layout("model.safetensors", _hugging_face("deit", _deit)),
    "Hugging Face ViTMAE": Layout(
        "model.safetensors", _hugging_face("vit_mae", lambda model: "ViTMAEForPreTraining"), square=True
    ),
    "Hugging Face Swin": Layout("model.safetensors", _hugging_face("swin", _classes("Swin")), _SWIN),
    "Hugging Face CLIP": Layout("model.safetensors", _hugging_face("clip", lambda model: "CLIPModel"), square=True),
    "Hugging Face BERT": Layout("model.safetensors", _hugging_face("bert", _texts("Bert"))),
    "Hugging Face FNet": Layout("model.safetensors", _hugging_face("fnet", _texts("FNet")), dict(attention_depth=0)),
    "Hugging Face Marian": Layout("model.safetensors", _hugging_face("marian", lambda model: "MarianMTModel")),
    "timm ViT": Layout("model.safetensors", _timm_vit, dict(pre_logits=0, positions="learned_1d")),
    "timm Swin": Layout(
        "model.safetensors", _timm_swin, {**_SWIN, "qkv_bias": True, "absolute_positions": False, "activation": "gelu"}
    ),
    "timm Mixer": Layout("model.safetensors", _timm_mixer, dict(activation="gelu")),
    "OpenAI CLIP": Layout("open_clip_model.safetensors", _open_clip),
}
