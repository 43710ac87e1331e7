"""Segmenters with UPerNet as Hugging Face and the official code of Swin and NAT, which is that of mmsegmentation, name them."""

from collections.abc import Callable, Iterable
from typing import Any

from vitax.errors import UserError
from vitax.models.heads.upernet import POOLED
from vitax.models.segmenter import Segmenter, SwinSegmenter
from vitax.pretrained import nat, swin
from vitax.pretrained import rules as r
from vitax.pretrained.format import HUGGING_FACE_5, Fields, Format, Tensors, has, renaming
from vitax.pretrained.rules import Rules

# The names of the official code, and those of Hugging Face, which are in the tables here.
HEADS = (
    (r"^((?:decode|auxiliary)_head\..*)\.bn\.", r"\1.batch_norm."),
    (r"^((?:decode|auxiliary)_head)\.conv_seg\.", r"\1.classifier."),
)


def _head_fields(tensors: Tensors) -> dict[str, Any]:
    """The fields of the heads.

    Raises:
        UserError: the heads have other layers than those of `UPerNet` and `FCN`.
    """
    for name in ("decode_head.psp_modules.4.1.conv.weight", "auxiliary_head.convs.1.conv.weight"):
        if name in tensors or "auxiliary_head.conv_cat.conv.weight" in tensors:
            raise UserError(f"the heads have more layers than vitax has in UPerNet ({name.rpartition('.conv')[0]})")
    auxiliary = tensors.get("auxiliary_head.convs.0.conv.weight")
    return dict(
        num_classes=len(tensors["decode_head.classifier.weight"]),
        head="upernet",
        head_width=len(tensors["decode_head.bottleneck.conv.weight"]),
        auxiliary_width=0 if auxiliary is None else len(auxiliary),
    )


def _head_rules(model: Segmenter) -> Rules:
    """Rules for the heads.

    Raises:
        UserError: the model has another head, or its auxiliary head is on another map.
    """
    if model.head != "upernet" or (model.auxiliary_width and model.auxiliary_map != 2):
        raise UserError(
            f"head={model.head!r} with auxiliary_map={model.auxiliary_map}: these names are those of UPerNet, with map 2"
        )
    levels = len(model.depths) - 1  # type: ignore[attr-defined]
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
        rules += r.batch_norm(f"{theirs}.batch_norm", f"{ours}/norm")
    for head in heads:
        ours = f"{head}/classifier/logits"
        rules += r.one(
            f"{head}.classifier.weight", f"{ours}/kernel", lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None]
        )
        rules += r.one(f"{head}.classifier.bias", f"{ours}/bias")
    return rules


def _hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    fields = swin.hugging_face_fields(tensors, given) | _head_fields(tensors)
    for stage in range(len(fields["depths"])):
        if f"swin.hidden_states_norms.stage{stage + 1}.weight" not in tensors:
            raise UserError(f"the backbone gives no map of stage {stage + 1}; UPerNet takes the maps of all stages")
    return fields | dict(shrink_window=False)


def _hugging_face_rules(model: SwinSegmenter) -> Rules:
    """Rules for Hugging Face's tensors."""
    rules = swin.hugging_face_backbone(model)
    for stage in range(len(model.depths)):
        rules += r.norm(f"swin.hidden_states_norms.stage{stage + 1}", f"norm{stage}")
    return rules + _head_rules(model)


def _official(family: Any) -> tuple[Callable[..., dict[str, Any]], Callable[[Any], Rules]]:
    """Fields and rules for the official code's tensors."""

    def fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
        return family.official_fields(tensors, given) | _head_fields(tensors)

    def rules(model: Any) -> Rules:
        return family.official_rules(model.clone(num_classes=0)) + _head_rules(model)

    return fields, rules


def _with_head(names: Iterable[str], *backbone: str) -> bool:
    """Recognises the head by any of its names, and the backbone by all of the given ones."""
    found = set(names)
    return has("decode_head.fpn_bottleneck.conv.weight", *backbone)(found)


FORMATS = (
    Format(
        "Hugging Face UperNet",
        "swin_segmenter",
        lambda names: _with_head(names, "swin.encoder.layers.0.blocks.0.attention.self.query.weight"),
        _hugging_face_fields,
        _hugging_face_rules,
        # The norm after the last stage of a classifier is not used.
        ignore=r"(relative_position_index|attn_mask|num_batches_tracked|^swin\.(swin\.)?layernorm\.(weight|bias))$",
        rename=renaming(
            (r"^backbone\.(swin\.)?", "swin."),
            *HUGGING_FACE_5,
            (r"\.attention\.attention\.", ".attention.self."),
            (r"\.attention\.relative_position_bias\.", ".attention.self."),
            *HEADS,
        ),
        tells=("num_heads",),
    ),
    Format(
        "official Swin UperNet",
        "swin_segmenter",
        lambda names: _with_head(names, "patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"),
        *_official(swin),
        rename=renaming((r"^backbone\.", ""), *HEADS),
        tells=("num_heads",),
    ),
    Format(
        "official NAT UperNet",
        "nat_segmenter",
        lambda names: _with_head(names, "levels.0.blocks.0.attn.rpb"),
        *_official(nat),
        rename=renaming((r"^backbone\.", ""), *HEADS),
        tells=("num_heads",),
    ),
)
