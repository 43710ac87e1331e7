"""BERT and FNet as Hugging Face names them."""

from typing import Any

from vitax.models.bert import BERT, SIZES
from vitax.models.fnet import FNet
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads, renaming
from vitax.pretrained.rules import Rules

HEADS = {size["width"]: size["num_heads"] for size in SIZES.values()}


def _fields(tensors: Tensors, root: str) -> dict[str, Any]:
    embed = f"{root}.embeddings"
    words = tensors[f"{embed}.word_embeddings.weight"]
    kinds = {
        "classes": "classifier.weight",
        "pretraining": "cls.seq_relationship.weight",
        "masked_words": "cls.predictions.bias",
    }
    kind = next((kind for kind, name in kinds.items() if name in tensors), "none")
    return dict(
        heads=kind,
        num_classes=len(tensors["classifier.weight"]) if kind == "classes" else 2,
        vocab_size=len(words),
        max_length=len(tensors[f"{embed}.position_embeddings.weight"]),
        num_segments=len(tensors[f"{embed}.token_type_embeddings.weight"]),
        width=words.shape[1],
        depth=count(tensors, rf"{root}\.encoder\.layer\.(\d+)\."),
        mlp_width=len(tensors[f"{root}.encoder.layer.0.intermediate.dense.weight"]),
    )


def _embed_rules(root: str) -> Rules:
    embed = f"{root}.embeddings"
    return (
        r.one(f"{embed}.word_embeddings.weight", "embed/word_embed")
        + r.one(f"{embed}.position_embeddings.weight", "embed/pos_embed")
        + r.one(f"{embed}.token_type_embeddings.weight", "embed/segment_embed")
        + r.norm(f"{embed}.LayerNorm", "embed/norm")
    )


def _mlp_rules(theirs: str, ours: str) -> Rules:
    return (
        r.linear(f"{theirs}.intermediate.dense", f"{ours}/mlp/dense1")
        + r.linear(f"{theirs}.output.dense", f"{ours}/mlp/dense2")
        + r.norm(f"{theirs}.output.LayerNorm", f"{ours}/norm2")
    )


def _head_rules(kind: str, root: str) -> Rules:
    rules: Rules = []
    if kind != "masked_words":
        rules += r.linear(f"{root}.pooler.dense", "heads/pooler/dense")
    if kind in ("pretraining", "masked_words"):
        words, theirs = "heads/words", "cls.predictions"
        rules += r.linear(f"{theirs}.transform.dense", f"{words}/dense")
        rules += r.norm(f"{theirs}.transform.LayerNorm", f"{words}/norm")
        rules += r.copies(r.one(f"{theirs}.bias", f"{words}/bias"), [f"{theirs}.decoder.bias"])
    if kind == "pretraining":
        rules += r.linear("cls.seq_relationship", "heads/next")
    if kind == "classes":
        rules += r.linear("classifier", "heads/head")
    return rules


def _tied(rules: Rules, kind: str) -> Rules:
    """Adds a second name of the word table: the last layer of the head for masked words."""
    if kind not in ("pretraining", "masked_words"):
        return rules
    return r.copies(rules[:1], ["cls.predictions.decoder.weight"]) + rules[1:]


def bert_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from BERT's tensors."""
    fields = _fields(tensors, "bert")
    return fields | dict(num_heads=heads(given, fields["width"], HEADS))


def bert_rules(model: BERT) -> Rules:
    """Rules for BERT's tensors."""
    rules = _embed_rules("bert")
    for i in range(model.depth):
        theirs, ours = f"bert.encoder.layer.{i}", f"block{i}"
        rules += _attention_rules(theirs, ours) + _mlp_rules(theirs, ours)
    return _tied(rules, model.heads) + _head_rules(model.heads, "bert")


def _attention_rules(theirs: str, ours: str) -> Rules:
    qkv = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
    return (
        r.linears(qkv, f"{ours}/attention/qkv")
        + r.linear(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
        + r.norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/norm1")
    )


def fnet_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from FNet's tensors."""
    fields = _fields(tensors, "fnet")
    return fields | dict(num_heads=given.get("num_heads", HEADS.get(fields["width"], 1)), mixing="fourier")


def fnet_rules(model: FNet) -> Rules:
    """Rules for FNet's tensors."""
    rules = _embed_rules("fnet")
    for i in range(model.depth):
        theirs, ours = f"fnet.encoder.layer.{i}", f"block{i}"
        rules += r.norm(f"{theirs}.fourier.output.LayerNorm", f"{ours}/norm1")
        rules += _mlp_rules(theirs, ours)
    rules = _tied(rules, model.heads) + r.linear("fnet.embeddings.projection", "embed/dense")
    return rules + _head_rules(model.heads, "fnet")


def _doubt(tensors: Tensors) -> str:
    """Signs of RoBERTa, whose tensors have the same names; its positions begin at the id of the padding + 1."""
    table = tensors["bert.embeddings.position_embeddings.weight"]
    segments = len(tensors["bert.embeddings.token_type_embeddings.weight"])
    if segments == 1 or len(table) % 8 == 2 or not table[:2].any(axis=1).all():
        return f"the tables of {len(table)} positions and {segments} segments are as those of RoBERTa, not of BERT"
    return ""


def _rename(root: str):
    return renaming(
        (r"^(embeddings|encoder|pooler)\.", rf"{root}.\1."),
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
    )


FORMATS = (
    Format(
        "Hugging Face BERT",
        "bert",
        has("bert.encoder.layer.0.attention.self.query.weight"),
        bert_fields,
        bert_rules,
        rename=_rename("bert"),
        doubt=_doubt,
    ),
    Format(
        "Hugging Face FNet",
        "fnet",
        has("fnet.encoder.layer.0.fourier.output.LayerNorm.weight"),
        fnet_fields,
        fnet_rules,
        rename=_rename("fnet"),
    ),
)
