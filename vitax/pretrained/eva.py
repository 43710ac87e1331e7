"""EVA and EVA-02 as timm and their authors name them: `vitax.models.vit.ViT` with gated MLPs, inner norms and rotary positions."""

from typing import Any

import numpy as np

from vitax.models.vit import ViT
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, image_size, renaming
from vitax.pretrained.rules import Arrays, Rule, Rules
from vitax.pretrained.vit import grid

# Number of heads of the published models by their width; EVA-02 takes those of ViT.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1408: 16}


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from timm's tensors."""
    weight, block = tensors["patch_embed.proj.weight"], "blocks.0"
    width, patch_size = weight.shape[0], weight.shape[2]
    packed = f"{block}.mlp.fc1_x.weight" not in tensors
    first = tensors[f"{block}.mlp.{'fc1' if packed else 'fc1_x'}.weight"]
    second = tensors[f"{block}.mlp.fc2.weight"]
    gated = not packed or len(first) == 2 * second.shape[1]
    after = "fc_norm.weight" in tensors
    return dict(
        num_classes=len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        image_size=image_size(given, tensors["pos_embed"].shape[1] - 1, patch_size),
        patch_size=patch_size,
        width=width,
        depth=count(tensors, r"blocks\.(\d+)\."),
        num_heads=heads(given, width, HEADS),
        mlp_width=second.shape[1],
        positions="learned_rotary" if gated else "learned_1d",
        pooling=given.get("pooling", "mean" if after else "token"),
        norm_after_pooling=after,
        qkv_bias=f"{block}.attn.{'q_proj.bias' if _apart(tensors) else 'q_bias'}" in tensors,
        key_bias=False,
        attention_norm=f"{block}.attn.norm.weight" in tensors,
        mlp_norm=f"{block}.mlp.norm.weight" in tensors,
        gated_mlp=gated,
        activation="swish" if gated else "gelu",
    )


def timm_rules(model: ViT) -> Rules:
    """Rules for the tensors of timm's EVA-02 of the sizes base and large, whose queries, keys and values lie apart."""
    return _rules(model, apart=True)


def joined_rules(model: ViT) -> Rules:
    """Rules for the tensors of timm's EVA, and of EVA-02 of the sizes tiny and small."""
    return _rules(model, apart=False)


def _rules(model: ViT, apart: bool) -> Rules:
    rules = r.vector("cls_token", "cls_token") + r.patches("patch_embed.proj", "patch_embed", model.patch_size)
    rules += r.positions("pos_embed", "pos_embed", grid(model), 1)
    turned = model.positions == "learned_rotary"
    for i in range(model.depth):
        theirs, ours = f"blocks.{i}", f"block{i}"
        rules += _attention(f"{theirs}.attn", f"{ours}/attention", model, apart, turned)
        rules += r.norm(f"{theirs}.norm1", f"{ours}/norm1") + r.norm(f"{theirs}.norm2", f"{ours}/norm2")
        mlp, own = f"{theirs}.mlp", f"{ours}/mlp"
        if apart:
            rules += r.linear(f"{mlp}.fc1_g", f"{own}/gate") + r.linear(f"{mlp}.fc1_x", f"{own}/dense1")
        else:
            rules += r.parts(f"{mlp}.fc1.", (f"{own}/gate", f"{own}/dense1")) if model.gated_mlp else []
            rules += [] if model.gated_mlp else r.linear(f"{mlp}.fc1", f"{own}/dense1")
        if model.mlp_norm:
            rules += r.norm(f"{mlp}.norm", f"{own}/norm")
        rules += r.linear(f"{mlp}.fc2", f"{own}/dense2")
    rules += r.norm("fc_norm", "fc_norm") if model.norm_after_pooling else r.norm("norm", "norm")
    return rules + (r.linear("head", "head") if model.num_classes else [])


def _attention(theirs: str, ours: str, model: ViT, apart: bool, turned: bool) -> Rules:
    """Rules for an attention; EVA turns neighbouring channels with one another, vitax those of the two halves of a head."""
    a, e = model.num_heads, model.width // model.num_heads

    def reordered(x: Arrays, channels: tuple[int, int]) -> Arrays:
        """Kernels [D, 3D] or biases [2D] or [3D], whose last part belongs to the values, with the two axes of channels swapped."""
        *turned, values = np.split(x[0], 3 if x[0].ndim == 2 or model.key_bias else 2, axis=-1)
        parts = [part.reshape(*part.shape[:-1], a, *channels).swapaxes(-1, -2) for part in turned]
        return (np.concatenate([*(part.reshape(values.shape) for part in parts), values], axis=-1),)

    names = [f"{theirs}.{name}_proj" for name in "qkv"]
    rules = (
        r.linears(names, f"{ours}/qkv", bias=False) if apart else r.linear(f"{theirs}.qkv", f"{ours}/qkv", bias=False)
    )
    if model.qkv_bias:
        pair = (f"{names[0]}.bias", f"{names[2]}.bias") if apart else (f"{theirs}.q_bias", f"{theirs}.v_bias")
        rules += r.biases(pair, f"{ours}/qkv/bias", model.key_bias)
    if turned:
        rules = [
            _then(rule, lambda x: reordered(x, (e // 2, 2)), lambda x: reordered(x, (2, e // 2))) for rule in rules
        ]
    if model.attention_norm:
        rules += r.norm(f"{theirs}.norm", f"{ours}/norm")
    return rules + r.linear(f"{theirs}.proj", f"{ours}/out")


def _then(rule: Rule, load: Any, save: Any) -> Rule:
    """A rule that is followed by another conversion of its variable."""
    return rule._replace(load=lambda x: load(rule.load(x)), save=lambda x: rule.save(save(x)))


def _apart(names: Any) -> bool:
    return "blocks.0.attn.q_proj.weight" in names


def _joined(names: Any) -> bool:
    return has("blocks.0.attn.q_bias", "blocks.0.attn.qkv.weight", "pos_embed", "cls_token")(names)


# What the authors call the same tensors.
_OFFICIAL = renaming(
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_IGNORED = r"rope|mask_token$|lm_head\.|k_bias$"


def _official_apart(name: str) -> str:
    return renaming((r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias"))(_OFFICIAL(name))


FORMATS = (
    Format(
        "timm EVA-02",
        "vit",
        lambda names: _apart(names) and has("pos_embed", "blocks.0.mlp.fc1_g.weight")(names),
        timm_fields,
        timm_rules,
        ignore=_IGNORED,
        rename=_official_apart,
    ),
    Format("timm EVA", "vit", _joined, timm_fields, joined_rules, ignore=_IGNORED, rename=_OFFICIAL),
)
