"""CLIP as OpenAI, open_clip (with the same names as OpenAI) and Hugging Face name it."""

from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.clip import CLIP
from vitax.pretrained import resnet
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, image_size, pair
from vitax.pretrained.rules import Rules

# Heads have 64 channels, except in open_clip's large towers.
IMAGE_HEADS = {1280: 16, 1408: 16, 1664: 16, 1792: 16}


def _image_heads(given: Fields, width: int) -> int:
    return given.get("image_heads", IMAGE_HEADS.get(width, width // 64))


def activation(tensors: Tensors, given: Fields) -> str:
    """The variant of GELU; OpenAI's own files, which contain ``input_resolution``, use the quick one.

    Raises:
        UserError: the file does not record the variant, and none is given.
    """
    if "activation" in given:
        return given["activation"]
    if "input_resolution" in tensors:
        return "quick_gelu"
    raise UserError(
        "the file does not record which GELU it was trained with; give activation='quick_gelu' (weights of OpenAI, "
        "models named -quickgelu) or activation='gelu' (other models of open_clip)"
    )


def openai_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from OpenAI's tensors."""
    text_width = tensors["ln_final.weight"].shape[0]
    fields = dict(
        out_width=tensors["text_projection"].shape[1],
        vocab_size=len(tensors["token_embedding.weight"]),
        context_length=len(tensors["positional_embedding"]),
        text_width=text_width,
        text_depth=count(tensors, r"transformer\.resblocks\.(\d+)\."),
        text_heads=given.get("text_heads", max(1, text_width // 64)),
        activation=activation(tensors, given),
    )
    if "visual.proj" in tensors:
        weight = tensors["visual.conv1.weight"]
        width, patch_size = weight.shape[0], weight.shape[2]
        tokens = len(tensors["visual.positional_embedding"])
        return fields | dict(
            image_tower="vit",
            image_size=image_size(given, tokens - 1, patch_size),
            patch_size=patch_size,
            image_width=width,
            image_depth=count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
            image_heads=_image_heads(given, width),
            image_mlp_width=len(tensors["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
        )
    width = tensors["visual.layer1.0.conv1.weight"].shape[0]
    places = len(tensors["visual.attnpool.positional_embedding"]) - 1
    return fields | dict(
        image_tower="resnet",
        image_size=image_size(given, places, 32),
        image_width=width,
        image_depths=tuple(count(tensors, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)),
        image_heads=given.get("image_heads", max(1, width * 32 // 64)),
    )


def _block(theirs: str, ours: str) -> Rules:
    return (
        r.norm(f"{theirs}.ln_1", f"{ours}/norm1")
        + r.one(f"{theirs}.attn.in_proj_weight", f"{ours}/attention/qkv/kernel", np.transpose, np.transpose)
        + r.one(f"{theirs}.attn.in_proj_bias", f"{ours}/attention/qkv/bias")
        + r.linear(f"{theirs}.attn.out_proj", f"{ours}/attention/out")
        + r.norm(f"{theirs}.ln_2", f"{ours}/norm2")
        + r.linear(f"{theirs}.mlp.c_fc", f"{ours}/mlp/dense1")
        + r.linear(f"{theirs}.mlp.c_proj", f"{ours}/mlp/dense2")
    )


def _positions(theirs: str, ours: str, grid: tuple[int, int]) -> Rules:
    """Rules for positions that a file stores as [1 + h*w, D], without the leading axis of other projects."""
    ((names, paths, load, save, _),) = r.positions(theirs, ours, grid, 1)
    return [r.Rule(names, paths, load, lambda x: (save(x)[0][0],))]


def openai_rules(model: CLIP) -> Rules:
    """Rules for OpenAI's tensors."""
    rules = r.one("logit_scale", "logit_scale")
    rules += r.one("token_embedding.weight", "text/word_embed/embedding")
    rules += r.one("positional_embedding", "text/pos_embed")
    for i in range(model.text_depth):
        rules += _block(f"transformer.resblocks.{i}", f"text/block{i}")
    rules += r.norm("ln_final", "text/norm")
    rules += r.one("text_projection", "text/projection/kernel")
    if model.image_tower == "resnet":
        return rules + _resnet_rules(model)
    grid = (model.image_size[0] // model.patch_size, model.image_size[1] // model.patch_size)
    rules += r.one("visual.class_embedding", "image/cls_token")
    rules += _positions("visual.positional_embedding", "image/pos_embed", grid)
    rules += r.patches("visual.conv1", "image/patch_embed", model.patch_size, bias=False)
    rules += r.norm("visual.ln_pre", "image/norm_first")
    for i in range(model.image_depth):
        rules += _block(f"visual.transformer.resblocks.{i}", f"image/block{i}")
    rules += r.norm("visual.ln_post", "image/norm")
    return rules + r.one("visual.proj", "image_projection/kernel")


def _resnet_rules(model: CLIP) -> Rules:
    rules = []
    for i in (1, 2, 3):
        rules += r.convolution(f"visual.conv{i}", f"image/conv{i}", bias=False)
        rules += r.batch_norm(f"visual.bn{i}", f"image/norm{i}")
    rules += resnet.stages("visual.", "image/", model.image_depths)
    pool = "visual.attnpool"
    grid = (model.image_size[0] // 32, model.image_size[1] // 32)
    rules += _positions(f"{pool}.positional_embedding", "image/pos_embed", grid)
    rules += r.linear(f"{pool}.q_proj", "image/pool/q")
    rules += r.linears([f"{pool}.k_proj", f"{pool}.v_proj"], "image/pool/kv")
    return rules + r.linear(f"{pool}.c_proj", "image/pool/out")


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    weight = tensors["vision_model.embeddings.patch_embedding.weight"]
    width, patch_size = weight.shape[0], weight.shape[2]
    table = tensors["vision_model.embeddings.position_embedding.weight"]
    text = "text_model.embeddings"
    text_width = tensors["text_model.final_layer_norm.weight"].shape[0]
    return dict(
        out_width=len(tensors["text_projection.weight"]),
        image_tower="vit",
        image_size=image_size(given, len(table) - 1, patch_size),
        patch_size=patch_size,
        image_width=width,
        image_depth=count(tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        image_heads=_image_heads(given, width),
        image_mlp_width=len(tensors["vision_model.encoder.layers.0.mlp.fc1.weight"]),
        vocab_size=len(tensors[f"{text}.token_embedding.weight"]),
        context_length=len(tensors[f"{text}.position_embedding.weight"]),
        text_width=text_width,
        text_depth=count(tensors, r"text_model\.encoder\.layers\.(\d+)\."),
        text_heads=given.get("text_heads", max(1, text_width // 64)),
        activation=activation(tensors, given),
        antialias=False,
    )


def _hugging_face_block(theirs: str, ours: str) -> Rules:
    qkv = [f"{theirs}.self_attn.{name}_proj" for name in "qkv"]
    return (
        r.norm(f"{theirs}.layer_norm1", f"{ours}/norm1")
        + r.linears(qkv, f"{ours}/attention/qkv")
        + r.linear(f"{theirs}.self_attn.out_proj", f"{ours}/attention/out")
        + r.norm(f"{theirs}.layer_norm2", f"{ours}/norm2")
        + r.linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1")
        + r.linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2")
    )


def hugging_face_rules(model: CLIP) -> Rules:
    """Rules for Hugging Face's tensors."""
    image, text = "vision_model", "text_model"
    height, width = pair(model.image_size)
    grid = (height // model.patch_size, width // model.patch_size)
    rules = r.one("logit_scale", "logit_scale")
    rules += r.one(f"{text}.embeddings.token_embedding.weight", "text/word_embed/embedding")
    rules += r.one(f"{text}.embeddings.position_embedding.weight", "text/pos_embed")
    for i in range(model.text_depth):
        rules += _hugging_face_block(f"{text}.encoder.layers.{i}", f"text/block{i}")
    rules += r.norm(f"{text}.final_layer_norm", "text/norm")
    rules += r.linear("text_projection", "text/projection", bias=False)
    rules += r.one(f"{image}.embeddings.class_embedding", "image/cls_token")
    table = f"{image}.embeddings.position_embedding.weight"
    rules += _positions(table, "image/pos_embed", grid)
    patch = f"{image}.embeddings.patch_embedding"
    rules += r.patches(patch, "image/patch_embed", model.patch_size, bias=False)
    rules += r.norm(f"{image}.pre_layrnorm", "image/norm_first")  # sic
    for i in range(model.image_depth):
        rules += _hugging_face_block(f"{image}.encoder.layers.{i}", f"image/block{i}")
    rules += r.norm(f"{image}.post_layernorm", "image/norm")
    return rules + r.linear("visual_projection", "image_projection", bias=False)


FORMATS = (
    Format(
        "OpenAI CLIP",
        "clip",
        has("visual.conv1.weight", "token_embedding.weight", "text_projection"),
        openai_fields,
        openai_rules,
        ignore=r"(^input_resolution|^context_length|^vocab_size|attn_mask|num_batches_tracked)$",
    ),
    Format(
        "Hugging Face CLIP",
        "clip",
        has("vision_model.embeddings.patch_embedding.weight", "text_projection.weight"),
        hugging_face_fields,
        hugging_face_rules,
    ),
)
