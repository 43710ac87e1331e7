"""Segmenters with UPerNet as Hugging Face and the official code of Swin and NAT, which is that of mmsegmentation, name them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from vitax.errors import UserError
from vitax.models.heads.upernet import POOLED
from vitax.models.segmenter import Segmenter, SwinSegmenter
from vitax.pretrained import nat, swin
from vitax.pretrained import rules as r
from vitax.pretrained.format import HUGGING_FACE_5, Fields, Format, Tensors, has, renaming
from vitax.pretrained.rules import Rules


class Names(NamedTuple):
    """What a project calls the parts of a head: the batch norm of a layer, and the classifier."""

    norm: str
    classifier: str


HUGGING_FACE, OFFICIAL = Names("batch_norm", "classifier"), Names("bn", "conv_seg")
BACKBONE = "backbone."


def _head_fields(tensors: Tensors, names: Names) -> dict[str, Any]:
    """The fields of the heads.

    Raises:
        UserError: the heads have other layers than those of `UPerNet` and `FCN`.
    """
    for name in ("decode_head.psp_modules.4.1.conv.weight", "auxiliary_head.convs.1.conv.weight"):
        if name in tensors or "auxiliary_head.conv_cat.conv.weight" in tensors:
            raise UserError(f"the heads have more layers than vitax has in UPerNet ({name.rpartition('.conv')[0]})")
    auxiliary = tensors.get("auxiliary_head.convs.0.conv.weight")
    return dict(
        num_classes=len(tensors[f"decode_head.{names.classifier}.weight"]),
        head="upernet",
        head_width=len(tensors["decode_head.bottleneck.conv.weight"]),
        auxiliary_width=0 if auxiliary is None else len(auxiliary),
    )


def _head_rules(model: Segmenter, names: Names) -> Rules:
    """Rules for the heads.

    Raises:
        UserError: the model has another head, or its auxiliary head is on another map.
    """
    if model.head != "upernet" or (model.auxiliary_width and model.auxiliary_map != 2):
        raise UserError(
            f"head={model.head!r} with auxiliary_map={model.auxiliary_map}: these names are those of UPerNet, with map 2"
        )
    levels = len(model.depths) - 1
    layers = [(f"decode_head.psp_modules.{i}.1", f"decode_head/pool{side}") for i, side in enumerate(POOLED)]
    layers += [("decode_head.bottleneck", "decode_head/bottleneck"), ("decode_head.fpn_bottleneck", "decode_head/join")]
    for i in range(levels):
        layers += [(f"decode_head.lateral_convs.{i}", f"decode_head/lateral{i}")]
        layers += [(f"decode_head.fpn_convs.{i}", f"decode_head/smooth{i}")]
    heads = ["decode_head"]
    if model.auxiliary_width:
        layers.append(("auxiliary_head.convs.0", "auxiliary_head/conv0"))
        heads.append("auxiliary_head")
    rules: Rules = []
    for theirs, ours in layers:
        rules += r.convolution(f"{theirs}.conv", f"{ours}/conv", bias=False)
        rules += r.batch_norm(f"{theirs}.{names.norm}", f"{ours}/norm")
    for head in heads:
        ours = f"{head}/classifier/logits"
        rules += r.one(
            f"{head}.{names.classifier}.weight",
            f"{ours}/kernel",
            lambda x: x[:, :, 0, 0].T,
            lambda x: x.T[:, :, None, None],
        )
        rules += r.one(f"{head}.{names.classifier}.bias", f"{ours}/bias")
    return rules


def _named(tensors: Tensors, before: str) -> Tensors:
    """The tensors of the backbone, with names that begin otherwise."""
    return {before + name.removeprefix(BACKBONE): x for name, x in tensors.items() if name.startswith(BACKBONE)}


def _of_backbone(rules: Rules, before: str) -> Rules:
    """Rules with the names of the tensors in a segmenter; ``before`` = how the names of the backbone begin elsewhere."""
    return [rule._replace(theirs=tuple(BACKBONE + name.removeprefix(before) for name in rule.theirs)) for rule in rules]


def _hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    fields = swin.hugging_face_fields(_named(tensors, "swin."), given) | _head_fields(tensors, HUGGING_FACE)
    for stage in range(len(fields["depths"])):
        if f"backbone.hidden_states_norms.stage{stage + 1}.weight" not in tensors:
            raise UserError(f"the backbone gives no map of stage {stage + 1}; UPerNet takes the maps of all stages")
    return fields | dict(shrink_window=False)


def _hugging_face_rules(model: SwinSegmenter) -> Rules:
    """Rules for Hugging Face's tensors."""
    rules = swin.hugging_face_backbone(model)
    for stage in range(len(model.depths)):
        rules += r.norm(f"swin.hidden_states_norms.stage{stage + 1}", f"norm{stage}")
    return _of_backbone(rules, "swin.") + _head_rules(model, HUGGING_FACE)


def _official(family: Any, **fixed: Any) -> tuple[Callable[..., dict[str, Any]], Callable[[Any], Rules]]:
    """Fields and rules for the official code's tensors; ``fixed`` = fields that it always has."""

    def fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
        found = family.official_fields(_named(tensors, ""), given)
        return {**found, **_head_fields(tensors, OFFICIAL), **fixed}

    def rules(model: Any) -> Rules:
        return _of_backbone(family.official_backbone(model), "") + _head_rules(model, OFFICIAL)

    return fields, rules


_HEAD = "decode_head.fpn_bottleneck.conv.weight"

FORMATS = (
    Format(
        "Hugging Face UPerNet",
        "swin_segmenter",
        has(_HEAD, "backbone.encoder.layers.0.blocks.0.attention.self.query.weight"),
        _hugging_face_fields,
        _hugging_face_rules,
        # The norm after the last stage of a classifier is not used.
        ignore=r"(relative_position_index|attn_mask|num_batches_tracked|^backbone\.layernorm\.(weight|bias))$",
        rename=renaming(
            (r"^backbone\.swin\.", BACKBONE),
            *HUGGING_FACE_5,
            (r"\.attention\.attention\.", ".attention.self."),
            (r"\.attention\.relative_position_bias\.", ".attention.self."),
        ),
        tells=("num_heads",),
    ),
    Format(
        "official Swin UPerNet",
        "swin_segmenter",
        has(_HEAD, "backbone.layers.0.blocks.0.attn.relative_position_bias_table"),
        *_official(swin, shrink_window=False),
        tells=("num_heads",),
    ),
    Format(
        "official NAT UPerNet",
        "nat_segmenter",
        has(_HEAD, "backbone.levels.0.blocks.0.attn.rpb"),
        *_official(nat),
        tells=("num_heads",),
    ),
)
