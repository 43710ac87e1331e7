"""MAE with its decoder, as the official code and Hugging Face name it; without its decoder, an MAE is a timm ViT."""

from typing import Any

import numpy as np

from vitax.models.mae import MAE
from vitax.nn.positions import sincos_2d
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
from vitax.pretrained.rules import Rule, Rules
from vitax.pretrained.vit import HEADS, grid

# Every published decoder has 16 heads.
DECODER_HEADS = {512: 16}


def _fields(
    tensors: Tensors, given: Fields, patch: str, tables: tuple[str, str], mlps: tuple[str, str]
) -> dict[str, Any]:
    weight = tensors[f"{patch}.weight"]
    width, patch_size = weight.shape[0], patch_side(weight)
    encoder, decoder = (tensors[name] for name in tables)
    size = image_size(given, encoder.shape[1] - 1, patch_size)
    shape = (size[0] // patch_size, size[1] // patch_size)
    fixed = all(_is_sincos(table, shape) for table in (encoder, decoder))
    return dict(
        image_size=size,
        patch_size=patch_size,
        width=width,
        num_heads=heads(given, width, HEADS),
        mlp_width=len(tensors[mlps[0]]),
        decoder_width=decoder.shape[-1],
        decoder_num_heads=heads(given, decoder.shape[-1], DECODER_HEADS, "decoder_num_heads"),
        decoder_mlp_ratio=len(tensors[mlps[1]]) / decoder.shape[-1],
        positions="sincos_2d" if fixed else "learned_1d",
    )


def _is_sincos(table: np.ndarray, shape: tuple[int, int]) -> bool:
    expected = sincos_2d(shape, table.shape[-1]).reshape(-1, table.shape[-1])
    return not table[0, 0].any() and np.allclose(table[0, 1:], expected, atol=1e-3)


def _positions(theirs: str, ours: str, model: MAE, width: int) -> Rules:
    if model.positions == "learned_1d":
        return r.positions(theirs, f"{ours}/pos_embed", grid(model), 1)
    table = sincos_2d(grid(model), width).reshape(1, -1, width)
    table = np.concatenate([np.zeros_like(table[:, :1]), table], axis=1)
    # None of our parameters corresponds to the table: the model computes it.
    return [Rule((theirs,), (), lambda x: (), lambda x: (table,))]


def official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the official code's tensors."""
    fields = _fields(
        tensors,
        given,
        "patch_embed.proj",
        ("pos_embed", "decoder_pos_embed"),
        ("blocks.0.mlp.fc1.weight", "decoder_blocks.0.mlp.fc1.weight"),
    )
    return fields | dict(
        depth=count(tensors, r"blocks\.(\d+)\."), decoder_depth=count(tensors, r"decoder_blocks\.(\d+)\.")
    )


def official_rules(model: MAE) -> Rules:
    """Rules for the official code's tensors."""
    rules = r.vector("cls_token", "encoder/cls_token")
    rules += _positions("pos_embed", "encoder", model, model.width)
    rules += r.patches("patch_embed.proj", "encoder/patch_embed", model.patch_size)
    for i in range(model.depth):
        rules += r.timm_block(f"blocks.{i}", f"encoder/block{i}")
    rules += r.norm("norm", "encoder/norm")
    rules += r.vector("mask_token", "decoder/mask_token")
    rules += _positions("decoder_pos_embed", "decoder", model, model.decoder_width)
    rules += r.linear("decoder_embed", "decoder/embed")
    for i in range(model.decoder_depth):
        rules += r.timm_block(f"decoder_blocks.{i}", f"decoder/block{i}")
    return rules + r.norm("decoder_norm", "decoder/norm") + r.linear("decoder_pred", "decoder/prediction")


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    fields = _fields(
        tensors,
        given,
        "vit.embeddings.patch_embeddings.projection",
        ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"),
        ("vit.encoder.layer.0.intermediate.dense.weight", "decoder.decoder_layers.0.intermediate.dense.weight"),
    )
    return fields | dict(
        depth=count(tensors, r"vit\.encoder\.layer\.(\d+)\."),
        decoder_depth=count(tensors, r"decoder\.decoder_layers\.(\d+)\."),
        norm_epsilon=1e-12,
    )


def hugging_face_rules(model: MAE) -> Rules:
    """Rules for Hugging Face's tensors."""
    embed = "vit.embeddings"
    rules = r.vector(f"{embed}.cls_token", "encoder/cls_token")
    rules += _positions(f"{embed}.position_embeddings", "encoder", model, model.width)
    patch = f"{embed}.patch_embeddings.projection"
    rules += r.patches(patch, "encoder/patch_embed", model.patch_size)
    for i in range(model.depth):
        rules += r.hugging_face_block(f"vit.encoder.layer.{i}", f"encoder/block{i}")
    rules += r.norm("vit.layernorm", "encoder/norm")
    rules += r.vector("decoder.mask_token", "decoder/mask_token")
    rules += _positions("decoder.decoder_pos_embed", "decoder", model, model.decoder_width)
    rules += r.linear("decoder.decoder_embed", "decoder/embed")
    for i in range(model.decoder_depth):
        rules += r.hugging_face_block(f"decoder.decoder_layers.{i}", f"decoder/block{i}")
    return (
        rules + r.norm("decoder.decoder_norm", "decoder/norm") + r.linear("decoder.decoder_pred", "decoder/prediction")
    )


FORMATS = (
    Format(
        "official MAE",
        "mae",
        has("mask_token", "decoder_embed.weight", "patch_embed.proj.weight"),
        official_fields,
        official_rules,
    ),
    Format(
        "Hugging Face ViTMAE",
        "mae",
        has("decoder.mask_token", "vit.embeddings.cls_token"),
        hugging_face_fields,
        hugging_face_rules,
        rename=renaming(
            (r"^vit\.layers\.(\d+)\.", r"vit.encoder.layer.\1."),
            # Names that version 5 of transformers writes.
            (r"^decoder\.decoder_encoder\.layer\.(\d+)\.", r"decoder.decoder_layers.\1."),
            *HUGGING_FACE_5,
        ),
    ),
)
