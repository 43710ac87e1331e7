"""ViT and DeiT as Hugging Face names them."""

from typing import Any

from vitax.models.vit import ViT
from vitax.pretrained import rules as r
from vitax.pretrained.format import (
    HUGGING_FACE_5,
    Fields,
    Format,
    Tensors,
    count,
    has,
    heads,
    image_size,
    patch_side,
    renaming,
)
from vitax.pretrained.rules import Rules
from vitax.pretrained.vit import HEADS, check_positions, grid


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of Hugging Face's ViT."""
    return _hugging_face_fields(tensors, given, "vit", 1)


def hugging_face_deit_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of Hugging Face's DeiT.

    Without the two heads of a distilled model, nothing reads the distillation token: it is a register.
    """
    both = "cls_classifier.weight" in tensors
    fields = _hugging_face_fields(tensors, given, "deit", 2)
    if both:
        return fields | dict(num_classes=len(tensors["cls_classifier.weight"]), distillation_token=True)
    return fields | dict(register_tokens=1)


def _hugging_face_fields(tensors: Tensors, given: Fields, root: str, prefix: int) -> dict[str, Any]:
    weight = tensors[f"{root}.embeddings.patch_embeddings.projection.weight"]
    layer = f"{root}.encoder.layer.0"
    width, patch_size = weight.shape[0], patch_side(weight)
    tokens = tensors[f"{root}.embeddings.position_embeddings"].shape[1]
    # The pooler belongs to models without classes; a new head reads the class token itself.
    pooler = None if given.get("num_classes") else tensors.get(f"{root}.pooler.dense.weight")
    return dict(
        num_classes=len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 0,
        pre_logits=given.get("pre_logits", 0 if pooler is None else len(pooler)),
        antialias=False,
        image_size=image_size(given, tokens - prefix, patch_size),
        patch_size=patch_size,
        width=width,
        depth=count(tensors, rf"{root}\.encoder\.layer\.(\d+)\."),
        num_heads=heads(given, width, HEADS),
        mlp_width=len(tensors[f"{layer}.intermediate.dense.weight"]),
        qkv_bias=f"{layer}.attention.attention.query.bias" in tensors,
        norm_epsilon=1e-12,
    )


def hugging_face_rules(model: ViT) -> Rules:
    """Rules for the tensors of Hugging Face's ViT.

    Raises:
        UserError: it has no names for the positions of the model.
    """
    return _hugging_face_rules(model, "vit") + (r.linear("classifier", "head") if model.num_classes else [])


def hugging_face_deit_rules(model: ViT) -> Rules:
    """Rules for the tensors of Hugging Face's DeiT.

    Raises:
        UserError: it has no names for the positions of the model.
    """
    token = "deit.embeddings.distillation_token"
    rules = _hugging_face_rules(model, "deit")
    if not model.distillation_token:
        rules += r.shaped(token, "register_tokens", (1, -1, model.width), (-1, model.width))
        return rules + (r.linear("classifier", "head") if model.num_classes else [])
    rules += r.vector(token, "dist_token")
    return rules + r.linear("cls_classifier", "head") + r.linear("distillation_classifier", "head_dist")


def _hugging_face_rules(model: ViT, root: str) -> Rules:
    check_positions(model, "Hugging Face")
    embed = f"{root}.embeddings"
    rules = r.vector(f"{embed}.cls_token", "cls_token")
    rules += r.positions(f"{embed}.position_embeddings", "pos_embed", grid(model), model.prefix)
    rules += r.patches(f"{embed}.patch_embeddings.projection", "patch_embed", model.patch_size)
    for i in range(model.depth):
        rules += r.hugging_face_block(f"{root}.encoder.layer.{i}", f"block{i}", qkv_bias=model.qkv_bias)
    if model.pre_logits:
        rules += r.linear(f"{root}.pooler.dense", "pre_logits")
    return rules + r.norm(f"{root}.layernorm", "norm")


FORMATS = (
    Format(
        "Hugging Face DeiT",
        "vit",
        has("deit.encoder.layer.0.attention.attention.query.weight", "deit.embeddings.distillation_token"),
        hugging_face_deit_fields,
        hugging_face_deit_rules,
        ignore=r"deit\.pooler\.|position_ids$",
        rename=renaming(
            (r"^(embeddings|encoder|layernorm|pooler|layers)\.", r"deit.\1."),
            (r"^deit\.layers\.(\d+)\.", r"deit.encoder.layer.\1."),
            *HUGGING_FACE_5,
        ),
    ),
    Format(
        "Hugging Face ViT",
        "vit",
        has("vit.encoder.layer.0.attention.attention.query.weight"),
        hugging_face_fields,
        hugging_face_rules,
        ignore=r"vit\.pooler\.|position_ids$",
        rename=renaming(
            # Files without a head lack the prefix; version 5 of transformers uses other names at run time.
            (r"^(embeddings|encoder|layernorm|pooler|layers)\.", r"vit.\1."),
            (r"^vit\.layers\.(\d+)\.", r"vit.encoder.layer.\1."),
            *HUGGING_FACE_5,
        ),
    ),
)
