"""Fields of a model as the config.json of Hugging Face, timm or open_clip: what `hub_config` reads, in the other direction.

A config is never trusted on its own: `vitax.pretrained.save` reads the folder back and compares every field.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from vitax.errors import UserError
from vitax.models.swin_v2 import SwinV2
from vitax.pretrained.config_detr import detr_config
from vitax.pretrained.config_hugging_face import CLIP_IMAGE, CLIP_TEXT, HUGGING_FACE, UPERNET
from vitax.pretrained.config_keys import Kind
from vitax.pretrained.config_writing_timm import timm_mixer, timm_swin, timm_swin_v2, timm_vit
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
RESAMPLE = {name: number for number, name in RESAMPLING.items()}
HEADS = {"classes": "ForSequenceClassification", "pretraining": "ForPreTraining", "masked_words": "ForMaskedLM"}


class Layout(NamedTuple):
    """The folder of a model as one project lays it out.

    Attributes:
        weights: name of the file of weights.
        configs: (model, preprocessing, names of the classes) -> {file: JSON object}.
        fixed: fields that the code of the project always has, although its files could be read otherwise.
        square: whether that code takes square images only.
        frozen_norms: whether its batch norms do not count batches.
    """

    weights: str
    configs: Callable[[Any, Preprocessing | None, tuple[str, ...]], dict[str, Config]]
    fixed: dict[str, Any] = {}
    square: bool = False
    frozen_norms: bool = False


def _hugging_face(model_type: str, architecture: Callable[[Any], str]) -> Callable[..., dict[str, Config]]:
    def configs(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
        config: Config = {"model_type": model_type, "architectures": [architecture(model)]}
        if model_type == "upernet":
            stages = [f"stage{i + 1}" for i in range(len(model.depths))]
            backbone = _keys(HUGGING_FACE["swin"], model) | {"model_type": "swin", "out_features": stages}
            config |= _keys(UPERNET, model) | {
                "backbone_config": backbone,
                "use_auxiliary_head": bool(model.auxiliary_width),
            }
        elif model_type == "detr":
            config |= detr_config(model, lambda kind: _keys(kind, model), HUGGING_FACE["swin"])
        elif model_type == "clip":
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
    if isinstance(model, SwinV2):  # 0 stands for the window itself; transformers divides by the side - 1
        own = [model.window_of(stage) for stage in range(len(model.depths))]
        before = zip(model.windows_of_training(), own, strict=True)
        fields["trained_windows"] = [0 if trained == window else trained[0] for trained, window in before]
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


def _open_clip(model: Any, images: Preprocessing | None, names: tuple[str, ...]) -> dict[str, Config]:
    fields = settled({name: getattr(model, name) for name in type(model).__dataclass_fields__ if name != "parent"})
    quick = {name: fields[name] == "quick_gelu" for name in ("activation", "text_activation")}
    if len(set(quick.values())) > 1:
        raise UserError("open_clip has one quick_gelu for both towers; here they differ")
    if images and len(images.mean) != 3:
        raise UserError(f"open_clip has image towers of 3 channels, and this one has {len(images.mean)}")
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


_DETR = _hugging_face("detr", lambda model: "DetrForObjectDetection")
_SWIN = dict(patch_norm=True, relative_bias=True, pyramid=False, shifted=True, shrink_window=True)
# {format: its folder}
LAYOUTS = {
    "Hugging Face ViT": Layout("model.safetensors", _hugging_face("vit", _classes("ViT"))),
    "Hugging Face DeiT": Layout("model.safetensors", _hugging_face("deit", _deit)),
    "Hugging Face ViTMAE": Layout(
        "model.safetensors", _hugging_face("vit_mae", lambda model: "ViTMAEForPreTraining"), square=True
    ),
    "Hugging Face Swin": Layout("model.safetensors", _hugging_face("swin", _classes("Swin")), _SWIN),
    "Hugging Face UPerNet": Layout(
        "model.safetensors",
        _hugging_face("upernet", lambda model: "UperNetForSemanticSegmentation"),
        {**_SWIN, "shrink_window": False, "head": "upernet", "auxiliary_map": 2},
    ),
    # transformers freezes the norms of every backbone of DETR: the numbers of a prediction are the same.
    "Hugging Face DETR, own ResNet": Layout("model.safetensors", _DETR, {"dilated": False}, frozen_norms=True),
    "Hugging Face DETR, Swin": Layout("model.safetensors", _DETR, {**_SWIN, "shrink_window": False}),
    "Hugging Face Swin V2": Layout(
        "model.safetensors", _hugging_face("swinv2", _classes("Swinv2")), _SWIN, square=True
    ),
    "Hugging Face CLIP": Layout("model.safetensors", _hugging_face("clip", lambda model: "CLIPModel"), square=True),
    "Hugging Face BERT": Layout("model.safetensors", _hugging_face("bert", _texts("Bert"))),
    "Hugging Face FNet": Layout(
        "model.safetensors", _hugging_face("fnet", _texts("FNet")), dict(attention_depth=0, mixing="fourier")
    ),
    "Hugging Face Marian": Layout("model.safetensors", _hugging_face("marian", lambda model: "MarianMTModel")),
    "timm ViT": Layout("model.safetensors", timm_vit, dict(pre_logits=0, positions="learned_1d")),
    "timm Swin": Layout(
        "model.safetensors", timm_swin, {**_SWIN, "qkv_bias": True, "absolute_positions": False, "activation": "gelu"}
    ),
    "timm Swin V2": Layout(
        "model.safetensors", timm_swin_v2, {**_SWIN, "absolute_positions": False, "activation": "gelu"}
    ),
    "timm Mixer": Layout("model.safetensors", timm_mixer, dict(activation="gelu")),
    "OpenAI CLIP": Layout("open_clip_model.safetensors", _open_clip),
}
