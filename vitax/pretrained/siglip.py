"""The image tower of SigLIP and SigLIP 2 as Hugging Face names it: a ViT with attention pooling.

The files of both towers and of the image tower alone are read; the text tower is left out, and the report says so.
"""

from typing import Any

import numpy as np

from vitax.models.vit import ViT
from vitax.pretrained import rules as r
from vitax.pretrained import timm_names
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, image_size, renaming
from vitax.pretrained.rules import Arrays, Rule, Rules
from vitax.pretrained.vit import grid


def siglip_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of Hugging Face's SigLIP."""
    weight = tensors["embeddings.patch_embedding.weight"]
    width, patch_size = weight.shape[0], weight.shape[2]
    return dict(
        num_classes=0,
        image_size=image_size(given, len(tensors["embeddings.position_embedding.weight"]), patch_size),
        patch_size=patch_size,
        width=width,
        depth=count(tensors, r"encoder\.layers\.(\d+)\."),
        num_heads=heads(given, width, timm_names.HEADS),
        mlp_width=len(tensors["encoder.layers.0.mlp.fc1.weight"]),
        class_token=False,
        antialias=False,
        pooling="map",
        activation="gelu_tanh",
        norm_epsilon=1e-6,
    )


def siglip_rules(model: ViT) -> Rules:
    """Rules for the tensors of Hugging Face's SigLIP."""
    rules = r.patches("embeddings.patch_embedding", "patch_embed", model.patch_size)
    rows, columns = grid(model)
    rules += r.shaped("embeddings.position_embedding.weight", "pos_embed/grid", (-1, model.width), (rows, columns, -1))
    for i in range(model.depth):
        theirs, ours = f"encoder.layers.{i}", f"block{i}"
        qkv = [f"{theirs}.self_attn.{name}_proj" for name in "qkv"]
        rules += r.norm(f"{theirs}.layer_norm1", f"{ours}/norm1") + r.norm(f"{theirs}.layer_norm2", f"{ours}/norm2")
        rules += r.linears(qkv, f"{ours}/attention/qkv")
        rules += r.linear(f"{theirs}.self_attn.out_proj", f"{ours}/attention/out")
        rules += r.linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1") + r.linear(
            f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2"
        )
    rules += r.norm("post_layernorm", "norm") + r.vector("head.probe", "pool/query_token")
    rules += _query_apart("head.attention.in_proj_weight", "kernel", np.transpose)
    rules += _query_apart("head.attention.in_proj_bias", "bias", np.asarray)
    rules += r.linear("head.attention.out_proj", "pool/attention/out") + r.norm("head.layernorm", "pool/norm")
    return rules + r.linear("head.mlp.fc1", "pool/mlp/dense1") + r.linear("head.mlp.fc2", "pool/mlp/dense2")


def _query_apart(theirs: str, leaf: str, turned: Any) -> Rules:
    """One matrix [3 D, D] in the file; the queries, and keys with values, in the model."""

    def load(x: Arrays) -> Arrays:
        query, keys = np.split(x[0], [len(x[0]) // 3])
        return turned(query), turned(keys)

    ours = tuple(f"params/pool/attention/{name}/{leaf}" for name in ("q", "kv"))
    return [Rule((theirs,), ours, load, lambda x: (np.concatenate([turned(part) for part in x]),))]


FORMATS = (
    Format(
        "Hugging Face SigLIP",
        "vit",
        has("embeddings.patch_embedding.weight", "head.probe", without=("classifier.weight",)),
        siglip_fields,
        siglip_rules,
        ignore=r"^text_model\.|^logit_(scale|bias)$|position_ids$",
        rename=renaming((r"^vision_model\.", "")),
    ),
)
