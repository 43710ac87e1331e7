"""ViT as Google's two code bases name it: vision_transformer, and big_vision with its SigLIP.

big_vision stacks the blocks of a scanned model in one array, pools by attention, computes sinusoids of its own, and keeps
a SigLIP's towers in one file, of which the image tower is read.
"""

import re
from typing import Any

import numpy as np

from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, image_size, renaming
from vitax.pretrained.rules import Rule, Rules
from vitax.pretrained.vit import grid, table_prefix

TABLE = "Transformer/posembed_input/pos_embedding"
SCANNED = re.compile(r"(.*/)?encoderblock/(.*)")


def prepared(tensors: Tensors, given: Fields) -> Tensors:
    """The tensors with one name for each block, and with a table of positions.

    Raises:
        UserError: the positions are computed, and nobody says for which size of images.
    """
    plain: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if matched := SCANNED.fullmatch(name):
            plain |= {f"{matched[1] or ''}encoderblock_{i}/{matched[2]}": part for i, part in enumerate(value)}
        else:
            plain[name] = value
    if TABLE not in plain and "embedding/kernel" in plain:
        if "image_size" not in given:
            raise UserError(
                "the file has no table of positions: big_vision computes sinusoids, for any size; give image_size=..., the "
                "size for which the weights were trained"
            )
        patch, width = plain["embedding/kernel"].shape[0], plain["embedding/kernel"].shape[-1]
        rows, columns = (side // patch for side in given["image_size"])
        plain[TABLE] = sincos_2d(rows, columns, width)
    return plain


def sincos_2d(rows: int, columns: int, width: int) -> np.ndarray:
    """big_vision's sinusoids [1, rows * columns, width]; their frequencies reach 1/10000, where MAE's stop before it."""
    y, x = np.mgrid[:rows, :columns]
    frequencies = 1 / 10_000 ** (np.arange(width // 4) / (width // 4 - 1))
    y, x = (place.reshape(-1, 1) * frequencies for place in (y, x))
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)[None].astype(np.float32)


def google_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Google's tensors."""
    kernel = tensors["embedding/kernel"]
    patch_size, width = kernel.shape[0], kernel.shape[-1]
    block = "Transformer/encoderblock_0"
    table = tensors[TABLE]
    class_token = "cls" in tensors
    prefix = table_prefix(given, table.shape[1], int(class_token), patch_size)
    query = next(tensors[n] for n in tensors if n.startswith(block) and n.endswith("query/kernel"))
    pre_logits = tensors.get("pre_logits/kernel")
    head = tensors.get("head/kernel")
    return dict(
        num_classes=0 if head is None else head.shape[-1],
        image_size=image_size(given, table.shape[1] - prefix, patch_size),
        patch_size=patch_size,
        width=width,
        depth=count(tensors, r"Transformer/encoderblock_(\d+)/"),
        num_heads=query.shape[1],
        mlp_width=tensors[f"{block}/MlpBlock_3/Dense_0/kernel"].shape[-1],
        class_token=class_token,
        pooling="token" if class_token else "map" if "MAPHead_0/probe" in tensors else "mean",
        pre_logits=0 if pre_logits is None else pre_logits.shape[-1],
        activation="gelu_tanh",
    )


def google_rules(model: ViT) -> Rules:
    """Rules for Google's tensors."""
    p, d, a = model.patch_size, model.width, model.num_heads
    rules = r.shaped("embedding/kernel", "patch_embed/projection/kernel", (p, p, -1, d), (-1, d))
    rules += r.one("embedding/bias", "patch_embed/projection/bias")
    if model.class_token:
        rules += r.vector("cls", "cls_token")
    rules += r.positions(TABLE, "pos_embed", grid(model), int(model.class_token))
    for i in range(model.depth):
        rules += google_block(f"Transformer/encoderblock_{i}", f"block{i}", d, a)
    rules += google_norm("Transformer/encoder_norm", "norm")
    if model.pooling == "map":
        rules += r.vector("MAPHead_0/probe", "pool/query_token")
        rules += _attention("MAPHead_0/MultiHeadDotProductAttention_1", "pool/attention", ("q", "kv"), d, a)
        rules += google_norm("MAPHead_0/LayerNorm_0", "pool/norm")
        for j in (0, 1):
            rules += google_dense(f"MAPHead_0/MlpBlock_3/Dense_{j}", f"pool/mlp/dense{j + 1}")
    if model.pre_logits:
        rules += google_dense("pre_logits", "pre_logits")
    return rules + (google_dense("head", "head") if model.num_classes else [])


def google_norm(theirs: str, ours: str) -> Rules:
    """Rules for a norm of Google's models."""
    return r.one(f"{theirs}/scale", f"{ours}/scale") + r.one(f"{theirs}/bias", f"{ours}/bias")


def google_dense(theirs: str, ours: str) -> Rules:
    """Rules for a dense layer of Google's models."""
    return r.one(f"{theirs}/kernel", f"{ours}/kernel") + r.one(f"{theirs}/bias", f"{ours}/bias")


def _attention(theirs: str, ours: str, groups: tuple[str, ...], width: int, num_heads: int) -> Rules:
    """Rules for attention; the letters of each group, such as "qkv", are one layer of ours."""
    names = {"q": "query", "k": "key", "v": "value"}
    each = width // num_heads

    def joined(letters: str, leaf: str, flat: tuple[int, ...], split: tuple[int, ...]) -> Rule:
        return Rule(
            tuple(f"{theirs}/{names[letter]}/{leaf}" for letter in letters),
            (f"params/{ours}/{letters}/{leaf}",),
            lambda x: (np.concatenate([part.reshape(flat) for part in x], axis=-1),),
            lambda x: tuple(part.reshape(split) for part in np.split(x[0], len(letters), axis=-1)),
        )

    rules: Rules = []
    for letters in groups:
        rules.append(joined(letters, "kernel", (width, width), (width, num_heads, each)))
        rules.append(joined(letters, "bias", (width,), (num_heads, each)))
    rules += r.shaped(f"{theirs}/out/kernel", f"{ours}/out/kernel", (num_heads, each, width), (width, width))
    return rules + r.one(f"{theirs}/out/bias", f"{ours}/out/bias")


def google_block(theirs: str, ours: str, width: int, num_heads: int) -> Rules:
    """Rules for an encoder block of Google's models."""
    return (
        google_norm(f"{theirs}/LayerNorm_0", f"{ours}/norm1")
        + _attention(f"{theirs}/MultiHeadDotProductAttention_1", f"{ours}/attention", ("qkv",), width, num_heads)
        + google_norm(f"{theirs}/LayerNorm_2", f"{ours}/norm2")
        + google_dense(f"{theirs}/MlpBlock_3/Dense_0", f"{ours}/mlp/dense1")
        + google_dense(f"{theirs}/MlpBlock_3/Dense_1", f"{ours}/mlp/dense2")
    )


FORMATS = (
    Format(
        "Google ViT",
        "vit",
        has("embedding/kernel", "Transformer/encoder_norm/scale"),
        google_fields,
        google_rules,
        # The text tower of a SigLIP, its temperature and its bias.
        ignore=r"^(txt/|[tb]$)",
        rename=renaming(
            (r"^(opt/target/|params/|img/)+", ""),
            (r"^(Transformer/)?(posembed_input/)?pos_embedding$", TABLE),
            # Before MAPHead was a module.
            (r"^(probe$|MlpBlock_0/|MultiHeadDotProductAttention_0/|LayerNorm_0/)", r"MAPHead_0/\1"),
            # The numbering of big_vision.
            (r"MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1"),
            (r"(encoderblock(?:_\d+)?)/LayerNorm_1/", r"\1/LayerNorm_2/"),
            (r"MlpBlock_0", "MlpBlock_3"),
        ),
        prepare=prepared,
        tells=("num_heads",),
    ),
)
