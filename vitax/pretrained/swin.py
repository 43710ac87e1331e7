"""Swin as the official code, timm and Hugging Face name it, the detection backbone included."""

import re
from collections.abc import Callable
from typing import Any

from vitax.errors import UserError
from vitax.models.swin import Swin
from vitax.pretrained import rules as r
from vitax.pretrained.format import HUGGING_FACE_5, Fields, Format, Tensors, count, has, pair, renaming
from vitax.pretrained.rules import Rules


def _fields(
    tensors: Tensors, given: Fields, patch: str, blocks: str, mlp: str, qkv_bias: str, head: str
) -> dict[str, Any]:
    """``blocks`` is a pattern of block names with the stage in group 1 and the block in group 2."""
    weight = tensors[f"{patch}.weight"]
    width, patch_size = weight.shape[0], weight.shape[2]
    numbers = {(int(m[1]), int(m[2])) for name in tensors if (m := re.match(blocks, name))}
    stages = max(stage for stage, _ in numbers) + 1
    tables = {}
    for name, value in tensors.items():
        if (m := re.match(blocks, name)) and name.endswith("relative_position_bias_table"):
            tables[int(m[1])] = value.shape
    sides = [(int(tables[stage][0] ** 0.5) + 1) // 2 for stage in range(stages)]
    window = sides[0]
    # If the map of a stage is smaller than the window, the window has shrunk to the map, which determines the image
    # size. If there is no such stage, any size fits at which the last stage has a whole window.
    last = next((stage for stage in range(stages) if sides[stage] < window), stages - 1)
    native = pair(sides[last] * patch_size * 2**last)
    requested = given.get("image_size", native)
    fits = all(
        min(window, *(-(-n // (patch_size * 2**stage)) for n in requested)) == sides[stage] for stage in range(stages)
    )
    return dict(
        num_classes=len(tensors[head]) if head in tensors else 0,
        image_size=requested if fits else native,
        patch_size=patch_size,
        width=width,
        depths=tuple(sum(stage == s for stage, _ in numbers) for s in range(stages)),
        num_heads=tuple(tables[stage][1] for stage in range(stages)),
        window=window,
        mlp_ratio=len(tensors[mlp]) / width,
        qkv_bias=qkv_bias in tensors,
    )


def _rules(model: Swin, block: Callable[..., Rules], blocks: str, attention: str, merge: str) -> Rules:
    """Rules for blocks and mergings, which the other project numbers by stage."""
    rules, number = [], 0
    for stage, depth in enumerate(model.depths):
        side = model.window_of(stage)
        if stage:
            theirs = merge.format(stage=stage, before=stage - 1)
            rules += r.norm(f"{theirs}.norm", f"merge{stage - 1}/norm")
            rules += r.linear(f"{theirs}.reduction", f"merge{stage - 1}/reduction", bias=False)
        for j in range(depth):
            theirs, ours = blocks.format(stage=stage, block=j), f"block{number}"
            rules += block(theirs, ours, model.qkv_bias)
            if model.relative_bias:
                rules += r.relative_bias(
                    f"{theirs}.{attention}.relative_position_bias_table",
                    f"{ours}/positions",
                    (side, side),
                    model.num_heads[stage],
                )
            number += 1
    return rules


def official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the official code's tensors.

    Raises:
        UserError: the file holds a variant that vitax does not have.
    """
    block = "layers.0.blocks.0"
    fields = _fields(
        tensors,
        given,
        "patch_embed.proj",
        r"layers\.(\d+)\.blocks\.(\d+)\.",
        f"{block}.mlp.fc1.weight",
        f"{block}.attn.qkv.bias",
        "head.fc.weight" if "head.fc.weight" in tensors else "head.weight",
    )
    if "absolute_pos_embed" in tensors or "patch_embed.norm.weight" not in tensors:
        raise UserError("Swin with absolute positions (ape) or without patch_norm is not supported")
    if any(re.match(r"norm\d\.weight$", name) for name in tensors):
        fields |= dict(pyramid=True, shrink_window=False)
    return fields


def official_rules(model: Swin) -> Rules:
    """Rules for the official code's tensors."""
    rules = r.patches("patch_embed.proj", "patch_embed", model.patch_size)
    rules += r.norm("patch_embed.norm", "patch_norm")
    rules += _rules(model, r.timm_block, "layers.{stage}.blocks.{block}", "attn", "layers.{before}.downsample")
    if model.pyramid:
        for stage in range(len(model.depths)):
            rules += r.norm(f"norm{stage}", f"norm{stage}")
        return rules
    return rules + r.norm("norm", "norm") + (r.linear("head", "head") if model.num_classes else [])


def timm_rules(model: Swin) -> Rules:
    """Rules for timm's tensors."""
    rules = r.patches("patch_embed.proj", "patch_embed", model.patch_size)
    rules += r.norm("patch_embed.norm", "patch_norm")
    rules += _rules(model, r.timm_block, "layers.{stage}.blocks.{block}", "attn", "layers.{stage}.downsample")
    rules += r.norm("norm", "norm")
    return rules + (r.linear("head.fc", "head") if model.num_classes else [])


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    block = "swin.encoder.layers.0.blocks.0"
    return _fields(
        tensors,
        given,
        "swin.embeddings.patch_embeddings.projection",
        r"swin\.encoder\.layers\.(\d+)\.blocks\.(\d+)\.",
        f"{block}.intermediate.dense.weight",
        f"{block}.attention.self.query.bias",
        "classifier.weight",
    )


def hugging_face_block(theirs: str, ours: str, qkv_bias: bool) -> Rules:
    """Rules for a Swin block of Hugging Face."""
    return r.hugging_face_block(theirs, ours, "self", qkv_bias)


def hugging_face_rules(model: Swin) -> Rules:
    """Rules for Hugging Face's tensors."""
    embed = "swin.embeddings"
    rules = r.patches(f"{embed}.patch_embeddings.projection", "patch_embed", model.patch_size)
    rules += r.norm(f"{embed}.norm", "patch_norm")
    rules += _rules(
        model,
        hugging_face_block,
        "swin.encoder.layers.{stage}.blocks.{block}",
        "attention.self",
        "swin.encoder.layers.{before}.downsample",
    )
    rules += r.norm("swin.layernorm", "norm")
    return rules + (r.linear("classifier", "head") if model.num_classes else [])


_FIRST = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table")
_stages = lambda names: count(names, r"layers\.(\d+)\.")


def _timm(names: Any) -> bool:
    """Recognises timm, whose stages begin with a merging: the first stage has none, the last stage has one."""
    last = _stages(names) - 1
    return has(*_FIRST)(names) and ("head.fc.weight" in names or f"layers.{last}.downsample.norm.weight" in names)


FORMATS = (
    Format("timm Swin", "swin", _timm, official_fields, timm_rules, tells=("num_heads",)),
    Format(
        "official Swin",
        "swin",
        has(*_FIRST),
        official_fields,
        official_rules,
        rename=renaming((r"^backbone\.", "")),  # the prefix in a detector
        tells=("num_heads",),
    ),
    Format(
        "Hugging Face Swin",
        "swin",
        has("swin.encoder.layers.0.blocks.0.attention.self.query.weight"),
        hugging_face_fields,
        hugging_face_rules,
        rename=renaming(
            (r"^(embeddings|encoder|layernorm)\.", r"swin.\1."),
            *HUGGING_FACE_5,
            (r"\.attention\.attention\.", ".attention.self."),
            (r"\.attention\.relative_position_bias\.", ".attention.self."),
        ),
        tells=("num_heads",),
    ),
)
