"""Swin as the official code, timm and Hugging Face name it, the detection backbone included."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

from vitax.errors import UserError
from vitax.models.segmenter import gives_maps
from vitax.models.swin import Swin
from vitax.pretrained import rules as r
from vitax.pretrained.format import (
    HUGGING_FACE_5,
    Fields,
    Format,
    Tensors,
    count,
    has,
    image_size,
    pair,
    patch_side,
    renaming,
)
from vitax.pretrained.rules import Rules


def _fields(
    tensors: Tensors, given: Fields, patch: str, blocks: str, mlp: str, qkv_bias: str, head: str, timm: bool = False
) -> dict[str, Any]:
    """``blocks`` is a pattern of block names with the stage in group 1 and the block in group 2."""
    weight = tensors[f"{patch}.weight"]
    width, patch_size = weight.shape[0], patch_side(weight)
    numbers = {(int(m[1]), int(m[2])) for name in tensors if (m := re.match(blocks, name))}
    stages = max(stage for stage, _ in numbers) + 1
    tables = {}
    for name, value in tensors.items():
        if (m := re.match(blocks, name)) and name.endswith("relative_position_bias_table"):
            tables[int(m[1])] = value.shape
    rows = [tables[stage][0] for stage in range(stages)]
    window, size = _window_and_size(rows, given, patch_size, timm)
    return dict(
        num_classes=len(tensors[head]) if head in tensors else 0,
        image_size=size,
        timm_windows=timm,
        patch_size=patch_size,
        width=width,
        depths=tuple(sum(stage == s for stage, _ in numbers) for s in range(stages)),
        num_heads=tuple(tables[stage][1] for stage in range(stages)),
        window=window,
        mlp_ratio=len(tensors[mlp]) / width,
        qkv_bias=qkv_bias in tensors,
    )


def _window_and_size(rows: list[int], given: Fields, patch_size: int, timm: bool) -> tuple[int, tuple[int, int]]:
    """Window and image size that fit the tables of relative positions, whose numbers of rows are given.

    Raises:
        UserError: a window that is no square, and no image size that explains it.
    """
    sides = [(math.isqrt(count) + 1) // 2 for count in rows]
    window = given.get("window", sides[0])

    def fits(size: tuple[int, int], window: int) -> bool:
        model = Swin(image_size=size, patch_size=patch_size, window=window, timm_windows=timm)
        return rows == [(2 * h - 1) * (2 * w - 1) for h, w in map(model.window_of, range(len(rows)))]

    if "image_size" in given and fits(pair(given["image_size"]), window):
        return window, pair(given["image_size"])
    # If the map of a stage is smaller than the window, the window has shrunk to the map, which determines the image
    # size. If there is no such stage, any size fits at which the last stage has a whole window.
    last = next((stage for stage in range(len(rows)) if sides[stage] < sides[0]), len(rows) - 1)
    native = pair(sides[last] * patch_size * 2**last)
    if not fits(native, sides[0]):
        raise UserError(
            f"tables of relative positions with {', '.join(map(str, rows))} rows fit no square image; "
            "give window=... and image_size=(height, width), for which the weights were trained"
        )
    return sides[0], native


def staged_rules(model: Swin, block: Callable[[str, str, int], Rules], blocks: str, merge: str) -> Rules:
    """Rules for blocks and mergings, which the other project numbers by stage.

    Args:
        block: function (their name of a block, ours, number of its stage) -> rules.
        blocks: their names of blocks, with places for the numbers {stage} and {block}.
        merge: their names of mergings, with a place for {stage}, or for the one {before} it.
    """
    rules, number = [], 0
    for stage, depth in enumerate(model.depths):
        if stage:
            theirs = merge.format(stage=stage, before=stage - 1)
            rules += r.norm(f"{theirs}.norm", f"merge{stage - 1}/norm")
            rules += r.linear(f"{theirs}.reduction", f"merge{stage - 1}/reduction", bias=False)
        for j in range(depth):
            rules += block(blocks.format(stage=stage, block=j), f"block{number}", stage)
            number += 1
    return rules


def _with_bias(model: Swin, block: Callable[..., Rules], attention: str) -> Callable[[str, str, int], Rules]:
    """Rules for a block with its relative positions, which are in its part ``attention``."""

    def rules(theirs: str, ours: str, stage: int) -> Rules:
        found = block(theirs, ours, qkv_bias=model.qkv_bias)
        if not model.relative_bias:
            return found
        table = f"{theirs}.{attention}.relative_position_bias_table"
        return found + r.relative_bias(table, f"{ours}/positions", model.window_of(stage), model.num_heads[stage])

    return rules


def official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the official code's tensors."""
    return _named_as_official(tensors, given, timm=False)


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from timm's tensors."""
    return _named_as_official(tensors, given, timm=True)


def _named_as_official(tensors: Tensors, given: Fields, timm: bool) -> dict[str, Any]:
    block = "layers.0.blocks.0"
    fields = _fields(
        tensors,
        given,
        "patch_embed.proj",
        r"layers\.(\d+)\.blocks\.(\d+)\.",
        f"{block}.mlp.fc1.weight",
        f"{block}.attn.qkv.bias",
        "head.fc.weight" if "head.fc.weight" in tensors else "head.weight",
        timm,
    )
    fields |= first_layers(tensors, fields, "absolute_pos_embed", "patch_embed.norm.weight")
    if any(re.match(r"norm\d\.weight$", name) for name in tensors):
        fields |= dict(pyramid=True, shrink_window=False)
    return fields


def first_layers(tensors: Tensors, fields: Fields, positions: str, norm: str) -> dict[str, Any]:
    """Fields of what precedes the first block. A table of positions determines the image size.

    Raises:
        UserError: the table fits no known image size.
    """
    found: dict[str, Any] = dict(patch_norm=norm in tensors, absolute_positions=positions in tensors)
    if positions in tensors:
        table, size = tensors[positions], fields["image_size"]
        grid = table.shape[2:]  # [1, D, h, w] in the detection code, [1, h*w, D] elsewhere
        if table.ndim == 3:
            return found | dict(image_size=image_size(dict(image_size=size), table.shape[1], fields["patch_size"]))
        found["image_size"] = tuple(side * fields["patch_size"] for side in grid)
    return found


def embedding_rules(model: Swin, patch: str, norm: str, positions: str, as_map: bool = False) -> Rules:
    """Rules for what precedes the first block; ``as_map``: positions are [1, D, h, w] in the file."""
    rules = r.patches(patch, "patch_embed", model.patch_size)
    if model.patch_norm:
        rules += r.norm(norm, "patch_norm")
    if not model.absolute_positions:
        return rules
    grid = (model.image_size[0] // model.patch_size, model.image_size[1] // model.patch_size)
    if not as_map:
        return rules + r.positions(positions, "pos_embed", grid, 0)
    channels_last = lambda x: x[0].transpose(1, 2, 0)
    return rules + r.one(positions, "pos_embed/grid", channels_last, lambda x: x.transpose(2, 0, 1)[None])


def check_windows(model: Swin, timm: bool) -> None:
    """Compares the windows of a model with those of the code that reads its tensors.

    Raises:
        UserError: they differ.
    """
    if model.timm_windows != timm and not model.same_windows():
        raise UserError(
            f"timm_windows={model.timm_windows}: at image_size={model.image_size} the code that has these names computes "
            "with other windows and shifts; choose a size whose maps the windows divide"
        )


def official_rules(model: Swin) -> Rules:
    """Rules for the official code's tensors."""
    rules = official_backbone(model)
    if model.pyramid:
        return rules
    return rules + r.norm("norm", "norm") + (r.linear("head", "head") if model.num_classes else [])


def official_backbone(model: Swin) -> Rules:
    """Rules for the patches and the stages and, of a model that gives the maps of all stages, their norms."""
    check_windows(model, timm=False)
    maps = gives_maps(model)
    rules = embedding_rules(model, "patch_embed.proj", "patch_embed.norm", "absolute_pos_embed", as_map=maps)
    rules += staged_rules(
        model, _with_bias(model, r.timm_block, "attn"), "layers.{stage}.blocks.{block}", "layers.{before}.downsample"
    )
    if maps:
        for stage in range(len(model.depths)):
            rules += r.norm(f"norm{stage}", f"norm{stage}")
    return rules


def timm_rules(model: Swin) -> Rules:
    """Rules for timm's tensors."""
    check_windows(model, timm=True)
    rules = embedding_rules(model, "patch_embed.proj", "patch_embed.norm", "absolute_pos_embed")
    rules += staged_rules(
        model, _with_bias(model, r.timm_block, "attn"), "layers.{stage}.blocks.{block}", "layers.{stage}.downsample"
    )
    rules += r.norm("norm", "norm")
    return rules + (r.linear("head.fc", "head") if model.num_classes else [])


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    block = "swin.encoder.layers.0.blocks.0"
    fields = _fields(
        tensors,
        given,
        "swin.embeddings.patch_embeddings.projection",
        r"swin\.encoder\.layers\.(\d+)\.blocks\.(\d+)\.",
        f"{block}.intermediate.dense.weight",
        f"{block}.attention.self.query.bias",
        "classifier.weight",
    )
    return fields | first_layers(tensors, fields, "swin.embeddings.position_embeddings", "swin.embeddings.norm.weight")


def hugging_face_rules(model: Swin) -> Rules:
    """Rules for Hugging Face's tensors."""
    rules = hugging_face_backbone(model) + r.norm("swin.layernorm", "norm")
    return rules + (r.linear("classifier", "head") if model.num_classes else [])


def hugging_face_backbone(model: Swin) -> Rules:
    """Rules for the patches and the stages."""
    check_windows(model, timm=False)
    embed = "swin.embeddings"
    rules = embedding_rules(
        model, f"{embed}.patch_embeddings.projection", f"{embed}.norm", f"{embed}.position_embeddings"
    )
    block = functools.partial(r.hugging_face_block, inner="self")
    return rules + staged_rules(
        model,
        _with_bias(model, block, "attention.self"),
        "swin.encoder.layers.{stage}.blocks.{block}",
        "swin.encoder.layers.{before}.downsample",
    )


_FIRST = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table")
_stages = lambda names: count(names, r"layers\.(\d+)\.")


def _timm(names: Any) -> bool:
    """Recognises timm, whose stages begin with a merging: the first stage has none, the last stage has one."""
    last = _stages(names) - 1
    return has(*_FIRST)(names) and ("head.fc.weight" in names or f"layers.{last}.downsample.norm.weight" in names)


FORMATS = (
    Format("timm Swin", "swin", _timm, timm_fields, timm_rules, tells=("num_heads",)),
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
