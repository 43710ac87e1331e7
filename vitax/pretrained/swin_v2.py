"""Swin V2 as the official code, timm and Hugging Face name it.

No tensor of timm and Hugging Face depends on the side of the windows or of the images: their config.json tells both.
Official files have buffers that do.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from vitax.errors import UserError
from vitax.models.swin_v2 import SwinV2
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, pair, renaming
from vitax.pretrained.rules import Rules
from vitax.pretrained.swin import check_windows, embedding_rules, first_layers, staged_rules

_FIRST = "layers.0.blocks.0.attn"
_HUGGING_FACE = "swinv2.encoder.layers.0.blocks.0"


def _fields(tensors: Tensors, patch: str, blocks: str, scale: str, mlp: str, bias: str, head: str) -> dict[str, Any]:
    """Fields that the tensors show.

    Args:
        patch: name of the patch embedding.
        blocks: pattern of block names with the stage in group 1 and the block in group 2.
        scale: end of the name of the factors of the cosines.
        mlp, bias, head: names of the first weight of an MLP, of a bias of queries, and of the weight of the head.
    """
    weight = tensors[f"{patch}.weight"]
    found = [(int(m[1]), int(m[2]), name) for name in tensors if (m := re.match(blocks, name))]
    stages = range(max(stage for stage, _, _ in found) + 1)
    heads = {stage: tensors[name].size for stage, _, name in found if name.endswith(scale)}
    return dict(
        num_classes=len(tensors[head]) if head in tensors else 0,
        patch_size=weight.shape[2],
        width=len(weight),
        depths=tuple(len({block for s, block, _ in found if s == stage}) for stage in stages),
        num_heads=tuple(heads[stage] for stage in stages),
        mlp_ratio=len(tensors[mlp]) / len(weight),
        qkv_bias=bias in tensors,
    )


def _sizes(given: Fields) -> dict[str, Any]:
    """Window and image size as given.

    Raises:
        UserError: one of them is missing.
    """
    for key in ("window", "image_size"):
        if key not in given:
            raise UserError(
                f"these weights do not record the {key} of their model; put its config.json beside them, or give {key}=..."
            )
    return dict(window=given["window"], image_size=pair(given["image_size"]))


def _image_size(tensors: Tensors, given: Fields, windows: list[tuple[int, ...]], patch_size: int) -> tuple[int, int]:
    """Image size of an official file: as given, as the number of shifted windows of a stage tells, or any that fits."""
    if "image_size" in given:
        return pair(given["image_size"])
    for stage, window in enumerate(windows):
        mask = tensors.get(f"layers.{stage}.blocks.1.attn_mask")
        if mask is not None and math.isqrt(len(mask)) ** 2 == len(mask):
            return pair(math.isqrt(len(mask)) * window[0] * patch_size * 2**stage)
    return pair(windows[-1][0] * patch_size * 2 ** (len(windows) - 1))


def official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors and buffers of the official code.

    Raises:
        UserError: a size must be given, or the windows in the file are not those of the size.
    """
    fields = _official(tensors, "head.weight")
    names = [f"layers.{stage}.blocks.0.attn.relative_coords_table" for stage in range(len(fields["depths"]))]
    if not all(name in tensors for name in names):
        return fields | _with_positions(
            tensors, fields | _sizes(given), "absolute_pos_embed", "patch_embed.norm.weight"
        )
    tables = [tensors[name] for name in names]
    windows = [tuple((side + 1) // 2 for side in table.shape[1:3]) for table in tables]
    sizes = dict(window=max(windows[0]), image_size=_image_size(tensors, given, windows, fields["patch_size"]))
    model = SwinV2(**(fields | sizes))
    if [model.window_of(stage) for stage in range(len(windows))] != windows:
        listed = ", ".join(f"{h}x{w}" for h, w in windows)
        raise UserError(
            f"the file has windows of {listed} in its stages, which image_size={model.image_size} does not have; give the "
            "size for which the weights were trained"
        )
    fields |= dict(trained_windows=_trained_windows(tables))
    return fields | _with_positions(tensors, fields | sizes, "absolute_pos_embed", "patch_embed.norm.weight")


def _trained_windows(tables: list[Any]) -> tuple[tuple[int, int], ...]:
    """The windows of pre-training, from tables of offsets [1, 2h-1, 2w-1, 2]: the logarithm of the largest offset tells them."""
    found = []
    for table in tables:
        side, largest = (table.shape[1] + 1) // 2, 2 ** (3 * float(table.max())) - 1
        found.append((round(1 + 8 * (side - 1) / largest),) * 2 if largest else (0, 0))
    return tuple(found)


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from timm's tensors."""
    fields = _official(tensors, "head.fc.weight") | dict(timm_windows=True)
    return fields | _with_positions(tensors, fields | _sizes(given), "absolute_pos_embed", "patch_embed.norm.weight")


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    embed = "swinv2.embeddings"
    fields = _fields(
        tensors,
        f"{embed}.patch_embeddings.projection",
        r"swinv2\.encoder\.layers\.(\d+)\.blocks\.(\d+)\.",
        ".logit_scale",
        f"{_HUGGING_FACE}.intermediate.dense.weight",
        f"{_HUGGING_FACE}.attention.self.query.bias",
        "classifier.weight",
    )
    return fields | _with_positions(
        tensors, fields | _sizes(given), f"{embed}.position_embeddings", f"{embed}.norm.weight"
    )


def _official(tensors: Tensors, head: str) -> dict[str, Any]:
    return _fields(
        tensors,
        "patch_embed.proj",
        r"layers\.(\d+)\.blocks\.(\d+)\.",
        ".logit_scale",
        "layers.0.blocks.0.mlp.fc1.weight",
        f"{_FIRST}.q_bias",
        head,
    )


def _with_positions(tensors: Tensors, fields: dict[str, Any], positions: str, norm: str) -> dict[str, Any]:
    return fields | first_layers(tensors, fields, positions, norm)


def _block(theirs: str, ours: str, qkv_bias: bool) -> Rules:
    """Rules for a block of the official code and timm, without its positions."""
    attention = f"{ours}/attention"
    rules = r.linear(f"{theirs}.attn.qkv", f"{attention}/qkv", bias=False)
    if qkv_bias:
        rules += r.biases((f"{theirs}.attn.q_bias", f"{theirs}.attn.v_bias"), f"{attention}/qkv/bias")
    rules += r.linear(f"{theirs}.attn.proj", f"{attention}/out")
    rules += r.norm(f"{theirs}.norm1", f"{ours}/norm1") + r.norm(f"{theirs}.norm2", f"{ours}/norm2")
    return (
        rules
        + r.linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1")
        + r.linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2")
    )


def _hugging_face_block(theirs: str, ours: str, qkv_bias: bool) -> Rules:
    """Rules for a block of Hugging Face, without its positions."""
    inner, attention = f"{theirs}.attention.self", f"{ours}/attention"
    rules = r.linears([f"{inner}.{name}" for name in ("query", "key", "value")], f"{attention}/qkv", bias=False)
    if qkv_bias:
        rules += r.biases((f"{inner}.query.bias", f"{inner}.value.bias"), f"{attention}/qkv/bias")
    rules += r.linear(f"{theirs}.attention.output.dense", f"{attention}/out")
    rules += r.norm(f"{theirs}.layernorm_before", f"{ours}/norm1") + r.norm(
        f"{theirs}.layernorm_after", f"{ours}/norm2"
    )
    rules += r.linear(f"{theirs}.intermediate.dense", f"{ours}/mlp/dense1")
    return rules + r.linear(f"{theirs}.output.dense", f"{ours}/mlp/dense2")


def _cosine(
    model: SwinV2, block: Callable[[str, str, bool], Rules], attention: str, network: str
) -> Callable[[str, str, int], Rules]:
    """Rules for a block with the factors of its cosines and the network of its positions."""

    def rules(theirs: str, ours: str, stage: int) -> Rules:
        part, heads = f"{theirs}.{attention}", model.num_heads[stage]
        found = block(theirs, ours, model.qkv_bias)
        found += r.shaped(f"{part}.logit_scale", f"{ours}/attention/logit_scale", (heads, 1, 1), (heads,))
        if model.relative_bias:
            found += r.linear(f"{part}.{network}.0", f"{ours}/positions/dense1")
            found += r.linear(f"{part}.{network}.2", f"{ours}/positions/dense2", bias=False)
        return found

    return rules


def _rules(model: SwinV2, timm: bool) -> Rules:
    check_windows(model, timm)
    rules = embedding_rules(model, "patch_embed.proj", "patch_embed.norm", "absolute_pos_embed")
    merge = "layers.{stage}.downsample" if timm else "layers.{before}.downsample"
    rules += staged_rules(model, _cosine(model, _block, "attn", "cpb_mlp"), "layers.{stage}.blocks.{block}", merge)
    rules += r.norm("norm", "norm")
    return rules + (r.linear("head.fc" if timm else "head", "head") if model.num_classes else [])


def official_rules(model: SwinV2) -> Rules:
    """Rules for the official code's tensors."""
    return _rules(model, timm=False)


def timm_rules(model: SwinV2) -> Rules:
    """Rules for timm's tensors."""
    return _rules(model, timm=True)


def _check_windows_of_hugging_face(model: SwinV2) -> None:
    """Raises an error if transformers computes with other windows: it rounds maps down, and takes the rows for both axes."""
    for stage in range(len(model.depths)):
        rows = model.image_size[0] // model.patch_size // 2**stage
        side = min(rows, model.window)
        theirs = ((side, side), (0, 0) if rows <= side else (model.window // 2,) * 2)
        if model._window(stage, (rows, rows), odd=True) != theirs:
            raise UserError(
                f"at image_size={model.image_size}, transformers computes stage {stage} with other windows or shifts; choose "
                "a square size whose maps are whole numbers of windows"
            )


def hugging_face_rules(model: SwinV2) -> Rules:
    """Rules for Hugging Face's tensors."""
    _check_windows_of_hugging_face(model)
    embed, layers = "swinv2.embeddings", "swinv2.encoder.layers"
    rules = embedding_rules(
        model, f"{embed}.patch_embeddings.projection", f"{embed}.norm", f"{embed}.position_embeddings"
    )
    block = _cosine(model, _hugging_face_block, "attention.self", "continuous_position_bias_mlp")
    rules += staged_rules(model, block, f"{layers}.{{stage}}.blocks.{{block}}", f"{layers}.{{before}}.downsample")
    rules += r.norm("swinv2.layernorm", "norm")
    return rules + (r.linear("classifier", "head") if model.num_classes else [])


def _timm(names: Any) -> bool:
    """Recognises timm, whose stages begin with a merging: the first stage has none, the last stage has one."""
    last = count(names, r"layers\.(\d+)\.") - 1 if has(f"{_FIRST}.logit_scale")(names) else 0
    return last > 0 and f"layers.{last}.downsample.norm.weight" in names


_BUFFERS = r"(relative_position_index|relative_coords_table|attn_mask)$"
FORMATS = (
    Format("timm Swin V2", "swin_v2", _timm, timm_fields, timm_rules, ignore=_BUFFERS, tells=("num_heads",)),
    Format(
        "official Swin V2",
        "swin_v2",
        has(f"{_FIRST}.logit_scale"),
        official_fields,
        official_rules,
        ignore=_BUFFERS,
        tells=("num_heads",),
    ),
    Format(
        "Hugging Face Swin V2",
        "swin_v2",
        has(f"{_HUGGING_FACE}.attention.self.logit_scale"),
        hugging_face_fields,
        hugging_face_rules,
        ignore=_BUFFERS,
        rename=renaming((r"^(embeddings|encoder|layernorm)\.", r"swinv2.\1.")),
        tells=("num_heads",),
    ),
)
