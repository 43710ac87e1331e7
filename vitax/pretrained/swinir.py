"""SwinIR as the official code names it."""

import math
from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.swinir import SwinIR, upsample_steps
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has
from vitax.pretrained.rules import Rules

BLOCK = "layers.{}.residual_group.blocks.{}"


def fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors.

    Raises:
        UserError: the file holds a variant that vitax does not have.
    """
    table_side = math.isqrt(tensors["absolute_pos_embed"].shape[1]) if "absolute_pos_embed" in tensors else 0
    if "absolute_pos_embed" in tensors and table_side**2 != tensors["absolute_pos_embed"].shape[1]:
        raise UserError("the table of absolute positions in the file belongs to no square image")
    first = tensors["conv_first.weight"]
    width, channels = first.shape[:2]
    groups = count(tensors, r"layers\.(\d+)\.")
    table = "attn.relative_position_bias_table"
    window = (int(len(tensors[f"{BLOCK.format(0, 0)}.{table}"]) ** 0.5) + 1) // 2
    upsampler, scale, features = _head(tensors, channels)
    return dict(
        channels=channels,
        scale=scale,
        upsampler=upsampler,
        residual="3conv" if "conv_after_body.0.weight" in tensors else "1conv",
        # Of the published models, only those for JPEG have a window of 7 and no upsampling; they compute with 0..255.
        pixel_range=255.0 if window == 7 and upsampler == "none" else 1.0,
        width=width,
        depths=tuple(count(tensors, rf"layers\.{i}\.residual_group\.blocks\.(\d+)\.") for i in range(groups)),
        num_heads=tuple(tensors[f"{BLOCK.format(i, 0)}.{table}"].shape[1] for i in range(groups)),
        window=window,
        patch_norm="patch_embed.norm.weight" in tensors,
        position_table=(table_side, table_side),
        mlp_ratio=len(tensors[f"{BLOCK.format(0, 0)}.mlp.fc1.weight"]) / width,
        features=features,
    )


def _head(tensors: Tensors, channels: int) -> tuple[str, int, int]:
    """Upsampler, scale, and number of channels in the reconstruction."""
    if "conv_hr.weight" in tensors:
        return ("nearest_conv", 4 if "conv_up2.weight" in tensors else 2, len(tensors["conv_hr.weight"]))
    if "conv_before_upsample.0.weight" in tensors:
        features, scale = len(tensors["conv_before_upsample.0.weight"]), 1
        for name in tensors:
            if name.startswith("upsample.") and name.endswith("weight"):
                scale *= int(np.sqrt(len(tensors[name]) // features))
        return "pixelshuffle", scale, features
    if "upsample.0.weight" in tensors:
        return ("pixelshuffle_direct", int(np.sqrt(len(tensors["upsample.0.weight"]) // channels)), 64)
    return "none", 1, 64


def rules(model: SwinIR) -> Rules:
    """Rules for the tensors of the official code."""
    all_rules = r.convolution("conv_first", "conv_first")
    if model.patch_norm:
        all_rules += r.norm("patch_embed.norm", "patch_norm")
    if any(model.position_table):
        all_rules += r.positions("absolute_pos_embed", "pos_embed", model.position_table, 0)
    for i, (depth, heads) in enumerate(zip(model.depths, model.num_heads, strict=True)):
        for j in range(depth):
            theirs, ours = BLOCK.format(i, j), f"group{i}/block{j}"
            all_rules += r.timm_block(theirs, ours)
            table = f"{theirs}.attn.relative_position_bias_table"
            all_rules += r.relative_bias(table, f"{ours}/positions", (model.window,) * 2, heads)
        all_rules += _residual(f"layers.{i}.conv", f"group{i}/conv", model.residual)
    all_rules += r.norm("norm", "norm")
    all_rules += _residual("conv_after_body", "conv_after_body", model.residual)
    if model.upsampler == "pixelshuffle_direct":
        return all_rules + r.convolution("upsample.0", "upsample0")
    steps = upsample_steps(model.scale)
    if model.upsampler != "none":
        all_rules += r.convolution("conv_before_upsample.0", "conv_before_upsample")
    if model.upsampler == "pixelshuffle":
        for i in range(len(steps)):
            # Every second entry is a pixel shuffle without parameters.
            all_rules += r.convolution(f"upsample.{2 * i}", f"upsample{i}")
    if model.upsampler == "nearest_conv":
        for i in range(len(steps)):
            all_rules += r.convolution(f"conv_up{i + 1}", f"conv_up{i + 1}")
        all_rules += r.convolution("conv_hr", "conv_hr")
    return all_rules + r.convolution("conv_last", "conv_last")


def _residual(theirs: str, ours: str, kind: str) -> Rules:
    if kind == "1conv":
        return r.convolution(theirs, f"{ours}/conv")
    # Activations are in between.
    return [rule for i in range(3) for rule in r.convolution(f"{theirs}.{2 * i}", f"{ours}/conv{i + 1}")]


FORMATS = (
    Format(
        "official SwinIR",
        "swinir",
        has("conv_first.weight", "layers.0.residual_group.blocks.0.norm1.weight"),
        fields,
        rules,
        tells=("num_heads",),
    ),
)
