"""The config.json of Hugging Face's transformers: which model it describes, and which fields of ours its keys are."""

import re
from collections.abc import Callable
from typing import Any

from vitax.errors import UserError
from vitax.pretrained.config_detr import DETR, RESNET, detr_fields
from vitax.pretrained.config_keys import Config, Key, Kind, act, read_keys, square, tuples, windows
from vitax.pretrained.format import pair

_IMAGES = {"image_size": Key("image_size", None, pair), "patch_size": Key("patch_size", None, square)}
_TEXTS = {
    "vocab_size": Key("vocab_size"),
    "max_position_embeddings": Key("max_length"),
    "type_vocab_size": Key("num_segments"),
}
_STACK = {
    "hidden_size": Key("width"),
    "num_hidden_layers": Key("depth"),
    "intermediate_size": Key("mlp_width"),
    "num_attention_heads": Key("num_heads", 12),
}
_STAGES = {
    "embed_dim": Key("width"),
    "depths": Key("depths", None, tuples),
    "num_heads": Key("num_heads", None, tuples),
    "mlp_ratio": Key("mlp_ratio", None, float),
    "qkv_bias": Key("qkv_bias"),
    "hidden_act": act("gelu"),
}
# The config counts for the norms of the blocks only; others have PyTorch's default.
_STAGES_FIXED = {"layer_norm_eps": (1e-5,)}
_VIT = (
    _IMAGES
    | _STACK
    | {"qkv_bias": Key("qkv_bias"), "hidden_act": act("gelu"), "layer_norm_eps": Key("norm_epsilon", 1e-12)}
)

_DILATIONS = [[1, 8, 1], [1, 4, 1, 4], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1]]

_DINO = _IMAGES | {
    "hidden_size": Key("width"),
    "num_hidden_layers": Key("depth"),
    "num_attention_heads": Key("num_heads", 12),
}
_DINO_2 = _DINO | {
    "qkv_bias": Key("qkv_bias"),
    "layer_norm_eps": Key("norm_epsilon", 1e-6),
    "use_swiglu_ffn": Key("gated_mlp", False),
    "num_register_tokens": Key("register_tokens"),
}
_BACKBONE = "apply_layernorm|reshape_hidden_states|layerscale_value|use_mask_token|image_mean|image_std"

# {model_type: what its keys mean}, from the config classes of transformers.
HUGGING_FACE = {
    "vit": Kind(("Hugging Face ViT",), _VIT, {"pooler_act": ("tanh",)}, "pooler_output_size"),
    "deit": Kind(("Hugging Face DeiT",), _VIT, {"pooler_act": ("tanh",)}, "pooler_output_size"),
    # With SwiGLU, hidden_act is not used.
    "dinov2": Kind(("Hugging Face DINOv2",), _DINO_2, {"hidden_act": ("gelu",)}, f"mlp_ratio|{_BACKBONE}"),
    "dinov2_with_registers": Kind(
        ("Hugging Face DINOv2",), _DINO_2, {"hidden_act": ("gelu",)}, f"mlp_ratio|{_BACKBONE}"
    ),
    "dinov3_vit": Kind(
        ("Hugging Face DINOv3",),
        _DINO
        | {
            "num_attention_heads": Key("num_heads", 6),
            "intermediate_size": Key("mlp_width"),
            "hidden_act": act("gelu"),
            "layer_norm_eps": Key("norm_epsilon", 1e-5),
            "num_register_tokens": Key("register_tokens"),
            "use_gated_mlp": Key("gated_mlp", False),
        },
        {
            "key_bias": (False,),
            "query_bias": (True,),
            "value_bias": (True,),
            "proj_bias": (True,),
            "mlp_bias": (True,),
            "rope_theta": (100.0,),
        },
        f"pos_embed_(shift|jitter|rescale)|{_BACKBONE}",
    ),
    "siglip_vision_model": Kind(
        ("Hugging Face SigLIP",),
        _IMAGES | _STACK | {"hidden_act": act("gelu_tanh"), "layer_norm_eps": Key("norm_epsilon", 1e-6)},
        {"vision_use_head": (True,)},
    ),
    "vit_mae": Kind(
        ("Hugging Face ViTMAE", "Hugging Face ViT"),
        _VIT
        | {
            "decoder_num_attention_heads": Key("decoder_num_heads", 16),
            "decoder_hidden_size": Key("decoder_width"),
            "decoder_num_hidden_layers": Key("decoder_depth"),
        },
        inert="mask_ratio|norm_pix_loss|decoder_intermediate_size",
    ),
    "swin": Kind(
        ("Hugging Face Swin",),
        _IMAGES
        | _STAGES
        | {"window_size": Key("window", None, square), "use_absolute_embeddings": Key("absolute_positions")},
        _STAGES_FIXED,
        inert="path_norm|patch_norm|num_layers|hidden_size",
    ),
    "swinv2": Kind(
        ("Hugging Face Swin V2",),
        _IMAGES
        | _STAGES
        | {
            "window_size": Key("window", 7, square),
            "image_size": Key("image_size", 224, pair),
            "use_absolute_embeddings": Key("absolute_positions"),
            "pretrained_window_sizes": Key("trained_windows", None, windows),
        },
        {"layer_norm_eps": (1e-5,)},
        inert="path_norm|patch_norm|num_layers|hidden_size",
    ),
    "dinat": Kind(
        ("Hugging Face DiNAT",),
        _STAGES | {"kernel_size": Key("kernel"), "dilations": Key("dilations", _DILATIONS, tuples)},
        {**_STAGES_FIXED, "patch_size": (4,)},
        inert="layer_scale_init_value|num_layers|hidden_size",
    ),
    "resnet": RESNET._replace(formats=("Hugging Face ResNet",)),
    "bert": Kind(
        ("Hugging Face BERT",),
        _TEXTS | _STACK | {"hidden_act": act("gelu"), "layer_norm_eps": Key("norm_epsilon", 1e-12)},
        {
            "is_decoder": (False,),
            "add_cross_attention": (False,),
            "position_embedding_type": ("absolute",),
            "directionality": ("bidi",),
            "pooler_type": ("first_token_transform",),
        },
        inert=r"pooler_(fc_size|num_attention_heads|num_fc_layers|size_per_head)",
    ),
    "fnet": Kind(
        ("Hugging Face FNet",),
        {key: value for key, value in (_TEXTS | _STACK).items() if key != "num_attention_heads"}
        | {"hidden_act": act("gelu_new"), "layer_norm_eps": Key("norm_epsilon", 1e-12)},
        inert="use_tpu_fourier_optimizations|use_fft|tpu_short_seq_length",
    ),
    "marian": Kind(
        ("Hugging Face Marian",),
        {
            "vocab_size": Key("vocab_size"),
            "decoder_vocab_size": Key("vocab_size"),
            "d_model": Key("width"),
            "encoder_layers": Key("encoder_depth"),
            "decoder_layers": Key("decoder_depth"),
            "encoder_attention_heads": Key("num_heads", 16),
            "decoder_attention_heads": Key("decoder_heads", 16),
            "encoder_ffn_dim": Key("mlp_width"),
            "decoder_ffn_dim": Key("mlp_width"),
            "activation_function": act("gelu"),
            "scale_embedding": Key("scale_embedding", False),
        },
        {
            "normalize_before": (False,),
            "normalize_embedding": (False,),
            "add_final_layer_norm": (False,),
            "add_bias_logits": (False,),
            "static_position_embeddings": (True,),
            "share_encoder_decoder_embeddings": (True,),
            "is_decoder": (False,),
        },
        inert="max_position_embeddings|num_hidden_layers|extra_pos_embeddings|classif_dropout|hidden_size",
    ),
}


def _end_token(value: Any) -> int:
    """The field of our model for an eos_token_id of CLIP.

    Raises:
        UserError: it is not a single id.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"config.json says eos_token_id={value!r}; vitax has such models with a single id only")
    return -1 if value == 2 else value


CLIP_TEXT = Kind(
    (),
    {
        "vocab_size": Key("vocab_size"),
        "max_position_embeddings": Key("context_length"),
        "hidden_size": Key("text_width"),
        "num_hidden_layers": Key("text_depth"),
        "num_attention_heads": Key("text_heads", 8),
        "projection_dim": Key("out_width"),
        "hidden_act": act("quick_gelu", "text_activation"),
        "layer_norm_eps": Key("text_norm_epsilon", 1e-5),
        # transformers reads 2, the value in the first configs, as "the largest id"
        "eos_token_id": Key("end_token", 49407, _end_token),
    },
    {"add_cross_attention": (False,), "is_decoder": (False,)},
    inert="intermediate_size",
)
CLIP_IMAGE = Kind(
    (),
    _IMAGES
    | {
        "hidden_size": Key("image_width"),
        "num_hidden_layers": Key("image_depth"),
        "intermediate_size": Key("image_mlp_width"),
        "num_attention_heads": Key("image_heads", 12),
        "projection_dim": Key("out_width"),
        "hidden_act": act("quick_gelu"),
        "layer_norm_eps": Key("norm_epsilon", 1e-5),
    },
    {"add_cross_attention": (False,), "is_decoder": (False,)},
)


UPERNET = Kind(
    ("Hugging Face UPerNet",),
    {"hidden_size": Key("head_width", 512), "auxiliary_channels": Key("auxiliary_width", 256)},
    {"pool_scales": ([1, 2, 3, 6],), "auxiliary_num_convs": (1,), "use_timm_backbone": (False,), "backbone": (None,)},
    inert="use_pretrained_backbone|use_auxiliary_head|auxiliary_loss_weight|auxiliary_in_channels|loss_ignore_index",
)


HEADS = re.compile("(Model|ForPreTraining|ForMaskedLM|ForSequenceClassification)$")  # of encoders of texts
KNOWN_HEADS = "it reads those for masked words, pre-training and classes of whole texts"


def hugging_face_fields(config: Config, format_name: str) -> dict[str, Any]:
    """Fields of our model; {} if the config does not describe weights of this format.

    Raises:
        UserError: the config describes another model, or one that vitax does not have.
    """
    kinds = {name for name, kind in HUGGING_FACE.items() if format_name in kind.formats}
    kinds |= {name for name, (formats, _) in _NESTED.items() if format_name in formats}
    name = config.get("model_type")
    if name == "siglip" and "siglip_vision_model" in kinds:  # both towers: of the image tower's config
        config = dict(config.get("vision_config") or {})
        name = config.setdefault("model_type", "siglip_vision_model")
    if name is None:
        if not kinds:  # some other file with that name: nothing in it is about these weights
            return {}
        name = sorted(kinds)[0]  # "vit" before "vit_mae"
    made = [str(each) for each in config.get("architectures") or ()]
    if name in ("bert", "fnet") and (other := [each for each in made if not HEADS.search(each)]):
        raise UserError(f"config.json says architectures={other[0]!r}, whose head vitax does not have; {KNOWN_HEADS}")
    if name not in kinds:
        known = ", ".join((*HUGGING_FACE, *_NESTED))
        raise UserError(
            f"config.json says model_type={name!r}, but the tensors are named as those of {format_name}; "
            f"of Hugging Face's models vitax reads {known}"
        )
    return _NESTED[name][1](config) if name in _NESTED else read_keys(HUGGING_FACE[name], config)


def _clip(config: Config) -> dict[str, Any]:
    """CLIP of Hugging Face; in older configs text_config_dict, with the defaults of what it lacks, overrides text_config."""
    text, image = (
        config.get(f"{tower}_config_dict") or config.get(f"{tower}_config", {}) for tower in ("text", "vision")
    )
    top = {key: value for key, value in config.items() if not re.fullmatch(r"(text|vision)_config(_dict)?", key)}
    fields = read_keys(Kind((), {"projection_dim": Key("out_width")}, inert="logit_scale_init_value"), top)
    # The towers of a CLIPModel use the width of the common space that is recorded at the top.
    for tower, kind, where in ((text, CLIP_TEXT, "text_config"), (image, CLIP_IMAGE, "vision_config")):
        told = read_keys(kind, tower, f"config.json's {where}")
        fields = told | fields
    return fields


def _upernet(config: Config) -> dict[str, Any]:
    """UPerNet of Hugging Face on a Swin backbone, which has an object of its own."""
    backbone = config.get("backbone_config") or {}
    if backbone.get("model_type") != "swin":
        raise UserError(
            f"config.json names the backbone {backbone.get('model_type') or config.get('backbone')!r}; vitax reads UperNet on "
            "'swin'"
        )
    fields = read_keys(HUGGING_FACE["swin"], backbone, "config.json's backbone_config")
    fields |= read_keys(UPERNET, {key: value for key, value in config.items() if key != "backbone_config"})
    return fields | ({} if config.get("use_auxiliary_head", True) else {"auxiliary_width": 0})


# {model_type: its formats, and the function that reads a config of several objects}
_NESTED: dict[str, tuple[tuple[str, ...], Callable[[Config], dict[str, Any]]]] = {
    "clip": (("Hugging Face CLIP",), _clip),
    "upernet": (UPERNET.formats, _upernet),
    "detr": (DETR.formats, lambda config: detr_fields(config, HUGGING_FACE["swin"])),
}
