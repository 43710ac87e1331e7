"""The Transformer as Hugging Face's Marian names it, and rules for the stacks of PyTorch's nn.Transformer."""

from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.transformer import Transformer
from vitax.nn.positions import sincos
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, heads
from vitax.pretrained.rules import Rule, Rules

# Published models of Marian: opus-mt and its big variants.
HEADS = {512: 8, 1024: 16}


def marian_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Marian's tensors."""
    _check_positions(tensors)
    vocab_size, width = tensors["model.shared.weight"].shape
    return dict(
        vocab_size=vocab_size,
        width=width,
        encoder_depth=count(tensors, r"model\.encoder\.layers\.(\d+)\."),
        decoder_depth=count(tensors, r"model\.decoder\.layers\.(\d+)\."),
        num_heads=heads(given, width, HEADS),
        mlp_width=len(tensors["model.encoder.layers.0.fc1.weight"]),
        logits_bias="final_logits_bias" in tensors,
        positions="halves",
        activation="swish",
    )


def marian_rules(model: Transformer) -> Rules:
    """Rules for Marian's tensors."""
    embed = [f"model.{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")]
    rules = r.copies(r.one("model.shared.weight", "word_embed"), [*embed, "lm_head.weight"])
    for stack, depth in (("encoder", model.encoder_depth), ("decoder", model.decoder_depth)):
        for i in range(depth):
            theirs, ours = f"model.{stack}.layers.{i}", f"{stack}/block{i}"
            rules += r.linears(_names(theirs, "self_attn", "qkv"), f"{ours}/attention/qkv")
            rules += r.linear(f"{theirs}.self_attn.out_proj", f"{ours}/attention/out")
            rules += r.norm(f"{theirs}.self_attn_layer_norm", f"{ours}/norm1")
            if stack == "decoder":
                cross = f"{ours}/cross_attention"
                rules += r.linear(f"{theirs}.encoder_attn.q_proj", f"{cross}/q")
                rules += r.linears(_names(theirs, "encoder_attn", "kv"), f"{cross}/kv")
                rules += r.linear(f"{theirs}.encoder_attn.out_proj", f"{cross}/out")
                rules += r.norm(f"{theirs}.encoder_attn_layer_norm", f"{ours}/norm_cross")
            rules += r.linear(f"{theirs}.fc1", f"{ours}/mlp/dense1")
            rules += r.linear(f"{theirs}.fc2", f"{ours}/mlp/dense2")
            rules += r.norm(f"{theirs}.final_layer_norm", f"{ours}/norm2")
    if model.logits_bias:
        rules += r.shaped("final_logits_bias", "logits_bias", (1, -1), (-1,))
    return rules


def _names(theirs: str, attention: str, letters: str) -> list[str]:
    return [f"{theirs}.{attention}.{letter}_proj" for letter in letters]


def torch_rules(stack: str, depth: int, final_norm: bool = True) -> Rules:
    """Rules for `vitax.nn.stacks.Encoder` or `Decoder` and a state_dict of torch.nn.Transformer.

    Args:
        stack: "encoder" or "decoder".
        depth: number of blocks.
        final_norm: whether a norm follows the last block.
    """
    rules: Rules = []
    for i in range(depth):
        theirs, ours = f"{stack}.layers.{i}", f"block{i}"
        rules += _torch_attention(f"{theirs}.self_attn", f"{ours}/attention", ("qkv",))
        rules += r.norm(f"{theirs}.norm1", f"{ours}/norm1")
        last = "norm2"
        if stack == "decoder":
            rules += _torch_attention(f"{theirs}.multihead_attn", f"{ours}/cross_attention", ("q", "kv"))
            rules += r.norm(f"{theirs}.norm2", f"{ours}/norm_cross")
            last = "norm3"
        rules += r.norm(f"{theirs}.{last}", f"{ours}/norm2")
        rules += r.linear(f"{theirs}.linear1", f"{ours}/mlp/dense1")
        rules += r.linear(f"{theirs}.linear2", f"{ours}/mlp/dense2")
    return rules + (r.norm(f"{stack}.norm", "norm") if final_norm else [])


def _torch_attention(theirs: str, ours: str, parts: tuple[str, ...]) -> Rules:
    """Attention with one matrix for q, k and v in the file, and one matrix for each of ``parts`` in the model."""
    rules = r.linear(f"{theirs}.out_proj", f"{ours}/out")
    for leaf, name in (("in_proj_weight", "kernel"), ("in_proj_bias", "bias")):
        paths = tuple(f"params/{ours}/{part}/{name}" for part in parts)
        rules.append(
            Rule(
                (f"{theirs}.{leaf}",),
                paths,
                lambda x: tuple(part.T for part in _split(x[0], parts)),
                lambda x: (np.concatenate([part.T for part in x]),),
            )
        )
    return rules


def _split(rows: np.ndarray, parts: tuple[str, ...]) -> list[np.ndarray]:
    rows_per_matrix = len(rows) // 3
    return np.split(rows, np.cumsum([rows_per_matrix * len(part) for part in parts])[:-1])


def _check_positions(tensors: Tensors) -> None:
    """Rejects stored positions that differ from the sinusoids that the model computes."""
    for name, table in tensors.items():
        if name.endswith("embed_positions.weight"):
            expected = sincos(np.arange(len(table)), table.shape[1])
            if not np.allclose(table, expected, atol=1e-3):
                raise UserError(f"{name} does not hold sinusoids, so these are not weights of Marian")


FORMATS = (
    Format(
        "Hugging Face Marian",
        "transformer",
        has(
            "model.shared.weight", "model.encoder.layers.0.self_attn.q_proj.weight", "model.encoder.layers.0.fc1.weight"
        ),
        marian_fields,
        marian_rules,
        # The model computes the positions; `marian_fields` checks that they are equal.
        ignore=r"embed_positions\.weight$",
    ),
)
