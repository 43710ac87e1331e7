"""NAT and DiNAT as the official code and Hugging Face name them."""

from typing import Any

from vitax.models.nat import NAT
from vitax.models.segmenter import gives_maps
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, renaming
from vitax.pretrained.rules import Rules


def _fields(
    tensors: Tensors, given: Fields, level: str, block: str, table: str, scale: str, head: str
) -> dict[str, Any]:
    """``level`` and ``block`` are names up to the number. Files lack dilations, which must be given for DiNAT."""
    levels = count(tensors, rf"{level}(\d+)\.")
    tables = [tensors[f"{level}{i}.{block}0.{table}"].shape for i in range(levels)]
    first = next(
        n
        for n in tensors
        if n.startswith(f"{level}0.{block}0.") and n.endswith(("fc1.weight", "intermediate.dense.weight"))
    )
    hidden, width = tensors[first].shape
    return dict(
        num_classes=len(tensors[head]) if head in tensors else 0,
        width=width,
        depths=tuple(count(tensors, rf"{level}{i}\.{block}(\d+)\.") for i in range(levels)),
        num_heads=tuple(shape[0] for shape in tables),
        kernel=(tables[0][1] + 1) // 2,
        mlp_ratio=hidden / width,
        # The initial value in training; for loading, it matters only that it is not 0.
        layer_scale=1e-5 if f"{level}0.{block}0.{scale}" in tensors else 0.0,
    )


def official_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from the official code's tensors."""
    return _fields(tensors, given, "levels.", "blocks.", "attn.rpb", "gamma1", "head.weight") | dict(
        qkv_bias="levels.0.blocks.0.attn.qkv.bias" in tensors, pyramid="norm0.weight" in tensors
    )


def _stem(embed: str, conv: str) -> Rules:
    rules = [rule for i in (0, 1) for rule in r.convolution(f"{embed}{conv}.{i}", f"tokenizer{i}")]
    return rules + r.norm(f"{embed}.norm", "patch_norm")


def _downsample(theirs: str, ours: str) -> Rules:
    return r.convolution(f"{theirs}.reduction", ours, bias=False) + r.norm(f"{theirs}.norm", f"{ours}_norm")


def official_rules(model: NAT) -> Rules:
    """Rules for the official code's tensors."""
    rules = official_backbone(model)
    if model.pyramid:
        return rules
    return rules + r.norm("norm", "norm") + (r.linear("head", "head") if model.num_classes else [])


def official_backbone(model: NAT) -> Rules:
    """Rules for the stem and the stages and, of a model that gives the maps of all stages, their norms."""
    rules, number = _stem("patch_embed", ".proj"), 0
    for stage, depth in enumerate(model.depths):
        if stage:
            rules += _downsample(f"levels.{stage - 1}.downsample", f"downsample{stage - 1}")
        for j in range(depth):
            theirs, ours = f"levels.{stage}.blocks.{j}", f"block{number}"
            rules += r.timm_block(theirs, ours, model.qkv_bias)
            rules += r.one(f"{theirs}.attn.rpb", f"{ours}/attention/relative_bias")
            if model.layer_scale:
                rules += r.one(f"{theirs}.gamma1", f"{ours}/attention_scale")
                rules += r.one(f"{theirs}.gamma2", f"{ours}/mlp_scale")
            number += 1
    if gives_maps(model):
        for stage in range(len(model.depths)):
            rules += r.norm(f"norm{stage}", f"norm{stage}")
    return rules


def hugging_face_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Hugging Face's tensors."""
    return _fields(
        tensors,
        given,
        "dinat.encoder.levels.",
        "layers.",
        "attention.self.rpb",
        "layer_scale_parameters",
        "classifier.weight",
    ) | dict(qkv_bias="dinat.encoder.levels.0.layers.0.attention.self.query.bias" in tensors)


def hugging_face_rules(model: NAT) -> Rules:
    """Rules for Hugging Face's tensors."""
    rules, number = _stem("dinat.embeddings", ".patch_embeddings.projection"), 0
    # The norm is beside the projection, not inside it.
    for stage, depth in enumerate(model.depths):
        level = f"dinat.encoder.levels.{stage}"
        if stage:
            before = f"dinat.encoder.levels.{stage - 1}.downsample"
            rules += _downsample(before, f"downsample{stage - 1}")
        for j in range(depth):
            theirs, ours = f"{level}.layers.{j}", f"block{number}"
            rules += r.hugging_face_block(theirs, ours, "self", model.qkv_bias)
            rules += r.one(f"{theirs}.attention.self.rpb", f"{ours}/attention/relative_bias")
            if model.layer_scale:
                names = (f"{ours}/attention_scale", f"{ours}/mlp_scale")
                rules += r.stacked(f"{theirs}.layer_scale_parameters", names)
            number += 1
    rules += r.norm("dinat.layernorm", "norm")
    return rules + (r.linear("classifier", "head") if model.num_classes else [])


FORMATS = (
    Format(
        "official NAT",
        "nat",
        has("patch_embed.proj.0.weight", "levels.0.blocks.0.attn.rpb"),
        official_fields,
        official_rules,
        tells=("num_heads",),
    ),
    Format(
        "Hugging Face DiNAT",
        "nat",
        has("dinat.encoder.levels.0.layers.0.attention.self.query.weight"),
        hugging_face_fields,
        hugging_face_rules,
        rename=renaming((r"^(embeddings|encoder|layernorm)\.", r"dinat.\1.")),
        tells=("num_heads",),
    ),
)
