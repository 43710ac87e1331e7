"""DynamicViT on DeiT as the official code names it."""

from typing import Any

from vitax.models.dynamic_vit import SIZES, DynamicViT
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, image_size
from vitax.pretrained.rules import Rules
from vitax.pretrained.vit import grid

HEADS = {size["width"]: size["num_heads"] for size in SIZES.values()}


def fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors."""
    weight = tensors["patch_embed.proj.weight"]
    width, patch_size = weight.shape[0], weight.shape[2]
    depth, stages = count(tensors, r"blocks\.(\d+)\."), count(tensors, r"score_predictor\.(\d+)\.")
    blocks_per_stage = depth // (stages + 1)
    return dict(
        num_classes=len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        image_size=image_size(given, tensors["pos_embed"].shape[1] - 1, patch_size),
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=heads(given, width, HEADS),
        mlp_width=len(tensors["blocks.0.mlp.fc1.weight"]),
        # Files do not record the places of the predictors and the shares that they keep. As in published models, the
        # predictors are spaced evenly, and each keeps 0.7.
        stages=tuple(blocks_per_stage * (i + 1) for i in range(stages)),
        keep_ratios=tuple(0.7 ** (i + 1) for i in range(stages)),
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
    )


def rules(model: DynamicViT) -> Rules:
    """Rules for the tensors of the official code."""
    all_rules = r.patches("patch_embed.proj", "patch_embed", model.patch_size)
    all_rules += r.vector("cls_token", "cls_token")
    all_rules += r.positions("pos_embed", "pos_embed", grid(model), 1)
    for i in range(model.depth):
        all_rules += r.timm_block(f"blocks.{i}", f"block{i}", model.qkv_bias)
    for i in range(len(model.stages)):
        theirs, ours = f"score_predictor.{i}", f"predictor{i}"
        all_rules += r.norm(f"{theirs}.in_conv.0", f"{ours}/norm")
        all_rules += r.linear(f"{theirs}.in_conv.1", f"{ours}/dense_in")
        for j in range(3):  # activations are in between
            all_rules += r.linear(f"{theirs}.out_conv.{2 * j}", f"{ours}/dense{j + 1}")
    return all_rules + r.norm("norm", "norm") + (r.linear("head", "head") if model.num_classes else [])


FORMATS = (
    Format(
        "official DynamicViT",
        "dynamic_vit",
        has("score_predictor.0.in_conv.0.weight", "patch_embed.proj.weight", "cls_token"),
        fields,
        rules,
    ),
)
