"""MLP-Mixer as Google and timm name it."""

from typing import Any

from vitax.errors import UserError
from vitax.models.mlp_mixer import MlpMixer
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has, image_size, renaming
from vitax.pretrained.google import google_dense, google_norm
from vitax.pretrained.rules import Rules


def google_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from Google's tensors."""
    kernel, block = tensors["stem/kernel"], "MixerBlock_0"
    tokens, token_width = tensors[f"{block}/token_mixing/Dense_0/kernel"].shape
    head = tensors.get("head/kernel")
    return dict(
        num_classes=0 if head is None else head.shape[-1],
        image_size=image_size(given, tokens, kernel.shape[0]),
        patch_size=kernel.shape[0],
        width=kernel.shape[-1],
        depth=count(tensors, r"MixerBlock_(\d+)/"),
        token_mlp_width=token_width,
        mlp_width=tensors[f"{block}/channel_mixing/Dense_0/kernel"].shape[-1],
        activation="gelu_tanh",
    )


def check_positions(model: MlpMixer) -> None:
    """Checks that the model has no positions: those of other projects have none.

    Raises:
        UserError: it has positions.
    """
    if model.positions != "none":
        raise UserError(f"other projects have Mixers without positions only, and this one has {model.positions!r}")


def google_rules(model: MlpMixer) -> Rules:
    """Rules for Google's tensors.

    Raises:
        UserError: the model has positions.
    """
    check_positions(model)
    p, d = model.patch_size, model.width
    rules = r.shaped("stem/kernel", "patch_embed/projection/kernel", (p, p, -1, d), (-1, d))
    rules += r.one("stem/bias", "patch_embed/projection/bias")
    for i in range(model.depth):
        theirs, ours = f"MixerBlock_{i}", f"block{i}"
        rules += google_norm(f"{theirs}/LayerNorm_0", f"{ours}/norm1")
        rules += google_norm(f"{theirs}/LayerNorm_1", f"{ours}/norm2")
        for a, b in (("token_mixing", "token_mlp"), ("channel_mixing", "mlp")):
            for j in (0, 1):
                rules += google_dense(f"{theirs}/{a}/Dense_{j}", f"{ours}/{b}/dense{j + 1}")
    rules += google_norm("pre_head_layer_norm", "norm")
    return rules + (google_dense("head", "head") if model.num_classes else [])


def timm_fields(tensors: Tensors, given: Fields) -> dict[str, Any]:
    """Fields of the model, derived from timm's tensors."""
    weight, block = tensors["stem.proj.weight"], "blocks.0"
    token_width, tokens = tensors[f"{block}.mlp_tokens.fc1.weight"].shape
    return dict(
        num_classes=len(tensors["head.weight"]) if "head.weight" in tensors else 0,
        image_size=image_size(given, tokens, weight.shape[2]),
        patch_size=weight.shape[2],
        width=weight.shape[0],
        depth=count(tensors, r"blocks\.(\d+)\."),
        token_mlp_width=token_width,
        mlp_width=len(tensors[f"{block}.mlp_channels.fc1.weight"]),
    )


def timm_rules(model: MlpMixer) -> Rules:
    """Rules for timm's tensors.

    Raises:
        UserError: the model has positions.
    """
    check_positions(model)
    rules = r.patches("stem.proj", "patch_embed", model.patch_size)
    for i in range(model.depth):
        theirs, ours = f"blocks.{i}", f"block{i}"
        rules += r.norm(f"{theirs}.norm1", f"{ours}/norm1")
        rules += r.norm(f"{theirs}.norm2", f"{ours}/norm2")
        for a, b in (("mlp_tokens", "token_mlp"), ("mlp_channels", "mlp")):
            for j in (1, 2):
                rules += r.linear(f"{theirs}.{a}.fc{j}", f"{ours}/{b}/dense{j}")
    return rules + r.norm("norm", "norm") + (r.linear("head", "head") if model.num_classes else [])


FORMATS = (
    Format(
        "Google Mixer",
        "mlp_mixer",
        has("stem/kernel", "MixerBlock_0/token_mixing/Dense_0/kernel"),
        google_fields,
        google_rules,
        rename=renaming((r"^(opt/target/|params/)+", "")),
    ),
    Format(
        "timm Mixer", "mlp_mixer", has("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight"), timm_fields, timm_rules
    ),
)
