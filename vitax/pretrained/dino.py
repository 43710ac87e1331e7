"""DINOv2 and DINOv3 as Hugging Face and timm name them: `vitax.models.vit.ViT` with registers, layer scale, rotary positions.

timm has the names of its ViT for DINOv2, and those of its EVA for DINOv3.
"""

from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, image_size, renaming
from vitax.pretrained.rules import Arrays, Rule, Rules
from vitax.pretrained.vit import grid

# Number of heads of the published models by their width.
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 20, 1536: 24, 4096: 32}


def _shared(tensors: Tensors, given: Fields, patch: str, blocks: str, registers: str) -> dict[str, Any]:
    weight = tensors[f"{patch}.weight"]
    width = weight.shape[0]
    return dict(
        num_classes=0,
        patch_size=weight.shape[2],
        width=width,
        depth=count(tensors, blocks),
        num_heads=heads(given, width, HEADS),
        register_tokens=tensors[registers].shape[1] if registers in tensors else 0,
        layer_scale=1e-5,  # the initial value in training; the factors are tensors
        pooling="token",
    )


def v2_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of Hugging Face's DINOv2."""
    fields = _shared(tensors, given, _V2_PATCH, r"encoder\.layer\.(\d+)\.", "embeddings.register_tokens")
    layer, gated = "encoder.layer.0", "encoder.layer.0.mlp.weights_in.weight" in tensors
    hidden = len(tensors[f"{layer}.mlp.weights_in.weight"]) // 2 if gated else len(tensors[f"{layer}.mlp.fc1.weight"])
    tokens = tensors["embeddings.position_embeddings"].shape[1]
    return fields | dict(
        image_size=image_size(given, tokens - 1, fields["patch_size"]),
        mlp_width=hidden,
        qkv_bias=f"{layer}.attention.attention.query.bias" in tensors,
        gated_mlp=gated,
        activation="swish" if gated else "gelu",
        antialias=bool(
            fields["register_tokens"]
        ),  # the models with registers interpolate with it, those without do not
    )


def v2_rules(model: ViT) -> Rules:
    """Rules for the tensors of Hugging Face's DINOv2."""
    rules = _head(model, "embeddings.", "embeddings.register_tokens", _V2_PATCH)
    rules += _positions(model)
    for i in range(model.depth):
        theirs, ours = f"encoder.layer.{i}", f"block{i}"
        qkv = [f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value")]
        rules += r.linears(qkv, f"{ours}/attention/qkv", model.qkv_bias)
        rules += r.linear(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
        rules += _block(theirs, ours, "layer_scale{}.lambda1")
        if model.gated_mlp:
            rules += r.parts(f"{theirs}.mlp.weights_in.", (f"{ours}/mlp/gate", f"{ours}/mlp/dense1"))
            rules += r.linear(f"{theirs}.mlp.weights_out", f"{ours}/mlp/dense2")
        else:
            rules += r.linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/dense1")
            rules += r.linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/dense2")
    return rules + r.norm("layernorm", "norm")


def v3_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of Hugging Face's DINOv3."""
    fields = _shared(tensors, given, _V3_PATCH, r"layer\.(\d+)\.", "embeddings.register_tokens")
    gated = "layer.0.mlp.gate_proj.weight" in tensors
    return fields | _rotary(len(tensors["layer.0.mlp.up_proj.weight"]), gated, True)


def v3_rules(model: ViT) -> Rules:
    """Rules for the tensors of Hugging Face's DINOv3."""
    rules = _head(model, "embeddings.", "embeddings.register_tokens", _V3_PATCH)
    for i in range(model.depth):
        theirs, ours = f"layer.{i}", f"block{i}"
        attention = f"{theirs}.attention"
        qkv = [f"{attention}.{name}_proj" for name in "qkv"]
        rules += r.linears(qkv, f"{ours}/attention/qkv", False)
        rules += r.biases((f"{qkv[0]}.bias", f"{qkv[2]}.bias"), f"{ours}/attention/qkv/bias", model.key_bias)
        rules += r.linear(f"{attention}.o_proj", f"{ours}/attention/out")
        rules += _block(theirs, ours, "layer_scale{}.lambda1")
        names = {"up_proj": "dense1", "down_proj": "dense2"} | ({"gate_proj": "gate"} if model.gated_mlp else {})
        for name, own in names.items():
            rules += r.linear(f"{theirs}.mlp.{name}", f"{ours}/mlp/{own}")
    return rules + r.norm("norm", "norm")


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the tensors of timm's DINOv3."""
    fields = _shared(tensors, given, "patch_embed.proj", r"blocks\.(\d+)\.", "reg_token")
    gated = "blocks.0.mlp.fc1_g.weight" in tensors
    hidden = len(tensors[f"blocks.0.mlp.{'fc1_x' if gated else 'fc1'}.weight"])
    classes = dict(num_classes=len(tensors["head.weight"])) if "head.weight" in tensors else {}
    return fields | _rotary(hidden, gated, "blocks.0.attn.q_bias" in tensors) | classes | dict(pooling="mean")


def timm_rules(model: ViT) -> Rules:
    """Rules for the tensors of timm's DINOv3."""
    rules = _head(model, "", "reg_token", "patch_embed.proj")
    for i in range(model.depth):
        theirs, ours = f"blocks.{i}", f"block{i}"
        rules += r.linear(f"{theirs}.attn.qkv", f"{ours}/attention/qkv", False)
        if model.qkv_bias:
            rules += r.biases(
                (f"{theirs}.attn.q_bias", f"{theirs}.attn.v_bias"), f"{ours}/attention/qkv/bias", model.key_bias
            )
        rules += r.linear(f"{theirs}.attn.proj", f"{ours}/attention/out")
        rules += _block(theirs, ours, "gamma_{}")
        names = {"fc1_g": "gate", "fc1_x": "dense1"} if model.gated_mlp else {"fc1": "dense1"}
        for name, own in (names | {"fc2": "dense2"}).items():
            rules += r.linear(f"{theirs}.mlp.{name}", f"{ours}/mlp/{own}")
    rules += r.norm("norm", "norm")
    return rules + (r.linear("head", "head") if model.num_classes else [])


def _rotary(mlp_width: int, gated: bool, qkv_bias: bool) -> dict[str, Any]:
    """Fields that all of DINOv3 have; no tensor depends on the size of images."""
    return dict(
        mlp_width=mlp_width,
        gated_mlp=gated,
        activation="swish" if gated else "gelu",
        qkv_bias=qkv_bias,
        key_bias=False,
        positions="rotary",
        norm_epsilon=1e-5,
    )


def _head(model: ViT, embed: str, registers: str, patch: str) -> Rules:
    """Rules for what precedes the blocks."""
    rules = r.vector(f"{embed}cls_token", "cls_token") + r.patches(patch, "patch_embed", model.patch_size)
    if model.register_tokens:
        rules += r.shaped(registers, "register_tokens", (1, -1, model.width), (-1, model.width))
    return rules


def _block(theirs: str, ours: str, scale: str) -> Rules:
    """Rules for the norms and the layer scale of a block."""
    rules = r.norm(f"{theirs}.norm1", f"{ours}/norm1") + r.norm(f"{theirs}.norm2", f"{ours}/norm2")
    rules += r.one(f"{theirs}.{scale.format(1)}", f"{ours}/attention_scale")
    return rules + r.one(f"{theirs}.{scale.format(2)}", f"{ours}/mlp_scale")


def _positions(model: ViT) -> Rules:
    """Positions [1, 1 + h*w, D] of the class token and the patches; registers have none, which are zeros here."""
    rows, columns = grid(model)

    def load(x: Arrays) -> Arrays:
        token, places = x[0][0, :1], x[0][0, 1:]
        none = np.zeros((model.register_tokens, model.width), token.dtype)
        return np.concatenate([token, none]), places.reshape(rows, columns, -1)

    def save(x: Arrays) -> Arrays:
        if x[0][1:].any():
            raise UserError("Hugging Face DINOv2 has no positions of registers, and those of this model are not zero")
        return (np.concatenate([x[0][:1], x[1].reshape(rows * columns, -1)])[None],)

    return [Rule(("embeddings.position_embeddings",), ("params/pos_embed/prefix", "params/pos_embed/grid"), load, save)]


def _doubt(tensors: Tensors) -> str:
    """Other models of timm's EVA have the same names, and other rotary positions."""
    return "timm has these names for DINOv3 and for other models with other rotary positions"


_V2_PATCH = "embeddings.patch_embeddings.projection"
_V3_PATCH = "embeddings.patch_embeddings"
_MASK = r"mask_token$|rope_embed|position_ids$"

FORMATS = (
    Format(
        "Hugging Face DINOv2",
        "vit",
        has("embeddings.position_embeddings", "encoder.layer.0.layer_scale1.lambda1", without=("classifier.weight",)),
        v2_fields,
        v2_rules,
        ignore=_MASK,
        rename=renaming((r"^(dinov2|dinov2_with_registers)\.", "")),
    ),
    Format(
        "Hugging Face DINOv3",
        "vit",
        has("embeddings.cls_token", "layer.0.layer_scale1.lambda1"),
        v3_fields,
        v3_rules,
        ignore=_MASK,
        rename=renaming((r"^model\.layer\.", "layer.")),
    ),
    Format(
        "timm DINOv3",
        "vit",
        has("blocks.0.gamma_1", "reg_token", "patch_embed.proj.weight", without=("pos_embed",)),
        timm_fields,
        timm_rules,
        ignore=_MASK,
        doubt=_doubt,
    ),
)
