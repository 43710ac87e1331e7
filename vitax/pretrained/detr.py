"""DETR as the official code and Hugging Face name it, with the backbones that they use."""

import re
from typing import Any, NamedTuple

from vitax.errors import UserError
from vitax.models.detector import Detector, ResNetDetector, SwinDetector
from vitax.pretrained import resnet, swin
from vitax.pretrained import rules as r
from vitax.pretrained.format import HUGGING_FACE_5, Fields, Format, Tensors, count, has, heads, renaming
from vitax.pretrained.rules import Rules


class Names(NamedTuple):
    """What a project calls the parts of the Transformer.

    Attributes:
        encoder, decoder: what precedes the number of a layer.
        decoder_norm: norm after the last layer of the decoder.
        cross: attention to the picture in a layer of the decoder.
        norms: norms of a layer of the encoder, and of the decoder.
        mlp: both layers of an MLP.
        queries, projection, classes, boxes: the tables and layers around it.
    """

    encoder: str
    decoder: str
    decoder_norm: str
    cross: str
    norms: tuple[tuple[str, ...], tuple[str, ...]]
    mlp: tuple[str, str]
    queries: str
    projection: str
    classes: str
    boxes: str


OFFICIAL = Names(
    "transformer.encoder.layers",
    "transformer.decoder.layers",
    "transformer.decoder.norm",
    "multihead_attn",
    (("norm1", "norm2"), ("norm1", "norm2", "norm3")),
    ("linear1", "linear2"),
    "query_embed",
    "input_proj",
    "class_embed",
    "bbox_embed.layers",
)
HUGGING_FACE = Names(
    "model.encoder.layers",
    "model.decoder.layers",
    "model.decoder.layernorm",
    "encoder_attn",
    (
        ("self_attn_layer_norm", "final_layer_norm"),
        ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    ),
    ("fc1", "fc2"),
    "model.query_position_embeddings",
    "model.input_projection",
    "class_labels_classifier",
    "bbox_predictor.layers",
)
BODY, CONV_ENCODER = "backbone.0.body.", "model.backbone.conv_encoder.model."


def _head_fields(tensors: Tensors, given: Fields, names: Names) -> dict[str, Any]:
    """The fields of the Transformer."""
    queries, width = tensors[f"{names.queries}.weight"].shape
    return dict(
        num_classes=len(tensors[f"{names.classes}.weight"]) - 1,
        num_queries=queries,
        head_width=width,
        encoder_depth=count(tensors, rf"{re.escape(names.encoder)}\.(\d+)\."),
        decoder_depth=count(tensors, rf"{re.escape(names.decoder)}\.(\d+)\."),
        head_heads=heads(given, width, {256: 8}, "head_heads"),
        head_mlp_width=len(tensors[f"{names.encoder}.0.{names.mlp[0]}.weight"]),
    )


def _attention(theirs: str, ours: str, joined: bool) -> Rules:
    """Rules for an attention, whose projections are one matrix in the official code."""
    names = tuple(f"{ours}/{letter}" for letter in "qkv")
    rules = r.linear(f"{theirs}.out_proj", f"{ours}/out")
    if joined:
        return rules + r.parts(f"{theirs}.in_proj_", names)
    for letter, name in zip("qkv", names, strict=True):
        rules += r.linear(f"{theirs}.{letter}_proj", name)
    return rules


def _head_rules(model: Detector, names: Names) -> Rules:
    """Rules for the Transformer, and for the layers before and after it."""
    head, joined = "detection_head", names is OFFICIAL
    rules = r.one(f"{names.queries}.weight", f"{head}/queries")
    rules += r.one(
        f"{names.projection}.weight",
        f"{head}/projection/kernel",
        lambda x: x[:, :, 0, 0].T,
        lambda x: x.T[:, :, None, None],
    )
    rules += r.one(f"{names.projection}.bias", f"{head}/projection/bias")
    for part, depth, norms in zip(
        ("encoder", "decoder"), (model.encoder_depth, model.decoder_depth), names.norms, strict=True
    ):
        for i in range(depth):
            theirs, ours = f"{getattr(names, part)}.{i}", f"{head}/{part}{i}"
            if part == "encoder":
                rules += _attention(f"{theirs}.self_attn", f"{ours}/attention", joined)
            else:
                rules += _attention(f"{theirs}.self_attn", f"{ours}/self_attention", joined)
                rules += _attention(f"{theirs}.{names.cross}", f"{ours}/cross_attention", joined)
            for number, norm in enumerate(norms, start=1):
                rules += r.norm(f"{theirs}.{norm}", f"{ours}/norm{number}")
            for number, layer in enumerate(names.mlp, start=1):
                rules += r.linear(f"{theirs}.{layer}", f"{ours}/mlp/dense{number}")
    rules += r.norm(names.decoder_norm, f"{head}/decoder_norm")
    rules += r.linear(names.classes, f"{head}/classes")
    for i in range(3):
        rules += r.linear(f"{names.boxes}.{i}", f"{head}/box{i}")
    return rules


def _dilated(given: Fields) -> dict[str, bool]:
    """Whether the last stage is dilated, which leaves no tensor.

    Raises:
        UserError: it is not given.
    """
    if "dilated" not in given:
        raise UserError(
            "the file does not record whether the last stage of the ResNet is dilated (DC5): give dilated=False or True, or put "
            "the config.json of these weights beside them"
        )
    return {"dilated": given["dilated"]}


def _official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the official code's tensors."""
    return resnet.torchvision_fields(tensors, BODY) | _head_fields(tensors, given, OFFICIAL) | _dilated(given)


def _official_rules(model: ResNetDetector) -> Rules:
    return resnet.torchvision_backbone(model, BODY) + _head_rules(model, OFFICIAL)


def _timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors with timm's ResNet."""
    found = resnet.torchvision_fields(tensors, CONV_ENCODER) | _head_fields(tensors, given, HUGGING_FACE)
    return found | _dilated(given)


def _timm_rules(model: ResNetDetector) -> Rules:
    return resnet.torchvision_backbone(model, CONV_ENCODER) + _head_rules(model, HUGGING_FACE)


def _own_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors with its own ResNet."""
    found = resnet.hugging_face_fields(tensors, CONV_ENCODER) | _head_fields(tensors, given, HUGGING_FACE)
    return found | dict(dilated=False)


def _own_rules(model: ResNetDetector) -> Rules:
    return resnet.hugging_face_backbone(model, CONV_ENCODER) + _head_rules(model, HUGGING_FACE)


def _swin_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors with its Swin."""
    backbone = {
        f"swin.{name.removeprefix(CONV_ENCODER)}": x for name, x in tensors.items() if name.startswith(CONV_ENCODER)
    }
    fields = swin.hugging_face_fields(backbone, given) | _head_fields(tensors, given, HUGGING_FACE)
    return fields | dict(shrink_window=False)


def _swin_rules(model: SwinDetector) -> Rules:
    rules = swin.hugging_face_backbone(model)
    rules += r.norm(f"swin.hidden_states_norms.stage{len(model.depths)}", "norm")
    renamed = [
        rule._replace(theirs=tuple(CONV_ENCODER + name.removeprefix("swin.") for name in rule.theirs)) for rule in rules
    ]
    return renamed + _head_rules(model, HUGGING_FACE)


# transformers 5 has new names in memory, and writes the old ones.
_RENAME = (
    (r"^model\.backbone\.model\.", CONV_ENCODER),
    (r"^(model\.(?:en|de)coder\..*)\.o_proj\.", r"\1.out_proj."),
    (r"^(model\.(?:en|de)coder\.layers\.\d+)\.mlp\.(fc\d)\.", r"\1.\2."),
)
_IGNORE = r"(relative_position_index|attn_mask|num_batches_tracked)$"
_DETR = f"{HUGGING_FACE.queries}.weight"

FORMATS = (
    Format(
        "official DETR",
        "resnet_detector",
        has("query_embed.weight", f"{BODY}layer1.0.conv1.weight"),
        _official_fields,
        _official_rules,
    ),
    Format(
        "Hugging Face DETR",
        "resnet_detector",
        has(_DETR, f"{CONV_ENCODER}layer1.0.conv1.weight"),
        _timm_fields,
        _timm_rules,
        rename=renaming(*_RENAME),
    ),
    Format(
        "Hugging Face DETR, own ResNet",
        "resnet_detector",
        has(_DETR, f"{CONV_ENCODER}embedder.embedder.convolution.weight"),
        _own_fields,
        _own_rules,
        rename=renaming(*_RENAME),
    ),
    Format(
        "Hugging Face DETR, Swin",
        "swin_detector",
        has(_DETR, f"{CONV_ENCODER}encoder.layers.0.blocks.0.attention.self.query.weight"),
        _swin_fields,
        _swin_rules,
        # The norm after the last stage of a classifier is not used.
        ignore=_IGNORE + rf"|^{re.escape(CONV_ENCODER)}layernorm\.(weight|bias)$",
        rename=renaming(
            *_RENAME,
            (r"^(model\.backbone\.conv_encoder\.model\.)swin\.", r"\1"),
            *HUGGING_FACE_5,
            (r"\.attention\.attention\.", ".attention.self."),
            (r"\.attention\.relative_position_bias\.", ".attention.self."),
        ),
        tells=("num_heads",),
    ),
)
