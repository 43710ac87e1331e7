"""ViT and DeiT as timm names them; MAE's encoder and fine-tuned models use timm's names."""

import math
from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.vit import SIZES, ViT
from vitax.nn.positions import FIXED, sincos, sincos_2d
from vitax.pretrained import rules as r
from vitax.pretrained import timm_names
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, image_size, patch_side
from vitax.pretrained.rules import Rules

HEADS = {size["width"]: size["num_heads"] for size in SIZES.values()}


def grid(model: Any) -> tuple[int, int]:
    """Rows and columns of a model's position table."""
    height, width = model.image_size
    return height // model.patch_size, width // model.patch_size


def table_prefix(given: Fields, tokens: int, prefix: int, patch_size: int) -> int:
    """Number of vectors of a position table that belong to the ``prefix`` tokens: ``prefix`` or 0.

    Some tables have no vectors for these tokens. The given image size decides, if it fits the table; otherwise a table
    whose vectors form a square has none.
    """
    if "image_size" in given:
        patches = math.prod(side // patch_size for side in given["image_size"])
        if patches in (tokens, tokens - prefix):
            return tokens - patches
    return 0 if prefix and math.isqrt(tokens) ** 2 == tokens else prefix


def with_table(model: Any, variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A ViT whose computed positions are a table, as other projects have them; any other model unchanged."""
    if not isinstance(model, ViT) or model.positions not in FIXED or model.positions_at != "input":
        return model, variables
    kind, (rows, columns) = model.positions, grid(model)
    if kind == "sincos_2d":
        places = sincos_2d((rows, columns), model.width)
    else:
        places = sincos(np.arange(rows * columns), model.width).reshape(rows, columns, model.width)
    table = {"grid": places}
    if model.prefix:
        table["prefix"] = np.zeros((model.prefix, model.width), np.float32)
    params = {**variables["params"], "pos_embed": table}
    return model.clone(positions="learned_1d"), {**variables, "params": params}


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from timm's tensors."""
    weight = tensors["patch_embed.proj.weight"]
    width, patch_size = weight.shape[0], patch_side(weight)
    class_token, distilled = "cls_token" in tensors, "dist_token" in tensors
    tokens = tensors["pos_embed"].shape[1]
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    prefix = class_token + distilled + registers
    prefix = table_prefix(given, tokens, prefix, patch_size)
    norm_after_pooling = "fc_norm.weight" in tensors
    pooling = "map" if "attn_pool.latent" in tensors else "token" if class_token and not norm_after_pooling else "mean"
    old_pre_logits = tensors.get("pre_logits.fc.weight")
    return dict(
        num_classes=len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        image_size=image_size(given, tokens - prefix, patch_size),
        patch_size=patch_size,
        width=width,
        depth=count(tensors, r"blocks\.(\d+)\."),
        num_heads=heads(given, width, timm_names.HEADS),
        mlp_width=len(tensors["blocks.0.mlp.fc1.weight"]),
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
        qk_norm="blocks.0.attn.q_norm.weight" in tensors,
        # The initial value in training; for loading, it matters only that it is not 0.
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in tensors else 0.0,
        register_tokens=registers,
        patch_bias="patch_embed.proj.bias" in tensors,
        norm_first_tokens="norm_pre.weight" in tensors,
        # Models with norm_pre are towers of CLIP.
        norm_epsilon=1e-5 if "norm_pre.weight" in tensors else 1e-6,
        class_token=class_token,
        distillation_token=distilled,
        pooling=pooling,
        norm_after_pooling=norm_after_pooling,
        pre_logits=0 if old_pre_logits is None else len(old_pre_logits),
    )


def check_positions(model: ViT, library: str, known: tuple[str, ...] = ("learned_1d",)) -> None:
    """Checks that a library has names for the positions of a model.

    Raises:
        UserError: it has none.
    """
    if model.positions not in known:
        raise UserError(f"{library} has no names for positions {model.positions!r}")


def timm_rules(model: ViT) -> Rules:
    """Rules for timm's tensors.

    Raises:
        UserError: timm has no names for the positions of the model.
    """
    check_positions(model, "timm", ("learned_1d", "none"))
    rules = r.patches("patch_embed.proj", "patch_embed", model.patch_size, model.patch_bias)
    if model.class_token:
        rules += r.vector("cls_token", "cls_token")
    if model.distillation_token:
        rules += r.vector("dist_token", "dist_token")
    if model.register_tokens:
        rules += r.shaped("reg_token", "register_tokens", (1, -1, model.width), (-1, model.width))
    if model.positions == "learned_1d":
        rules += r.positions("pos_embed", "pos_embed", grid(model), model.prefix)
    if model.norm_first_tokens:
        rules += r.norm("norm_pre", "norm_first")
    for i in range(model.depth):
        rules += r.timm_block(f"blocks.{i}", f"block{i}", model.qkv_bias, bool(model.layer_scale), model.qk_norm)
    name = "fc_norm" if model.norm_after_pooling else "norm"
    rules += r.norm(name, name)
    if model.pooling == "map":
        pool = "pool/attention"
        rules += r.vector("attn_pool.latent", "pool/query_token")
        rules += r.linear("attn_pool.q", f"{pool}/q") + r.linear("attn_pool.kv", f"{pool}/kv")
        rules += r.linear("attn_pool.proj", f"{pool}/out") + r.norm("attn_pool.norm", "pool/norm")
        rules += r.linear("attn_pool.mlp.fc1", "pool/mlp/dense1")
        rules += r.linear("attn_pool.mlp.fc2", "pool/mlp/dense2")
    if model.pre_logits:
        rules += r.linear("pre_logits.fc", "pre_logits")
    if model.num_classes:
        rules += r.linear("head", "head")
    if model.num_classes and model.distillation_token:
        rules += r.linear("head_dist", "head_dist")
    return rules


_TIMM = has("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight")

FORMATS = (
    Format(
        "timm ViT",
        "vit",
        _TIMM,
        timm_fields,
        timm_rules,
        # The decoder of an MAE, when its encoder is loaded as a ViT.
        ignore=r"^decoder_|^mask_token$",
        guesses=("pooling",),
    ),
)
