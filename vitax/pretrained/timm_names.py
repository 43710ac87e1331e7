"""What names of timm's models tell and their tensors do not: activation, epsilon, pooling, number of heads.

The table holds the models of timm 1.0 whose forward pass is that of `vitax.models.vit.ViT`. Models with the same tensors
and another forward pass (rotary positions, norms after the branches, parallel branches) are not among them.
"""

import re
from typing import Any

from vitax.errors import UserError

# {(activation, epsilon of the norms, pooling): names}
VIT = {
    ("gelu", 1e-06, "token"): """
        deit3_base_patch16_224 deit3_base_patch16_384 deit3_huge_patch14_224 deit3_large_patch16_224
        deit3_large_patch16_384 deit3_medium_patch16_224 deit3_small_patch16_224 deit3_small_patch16_384
        deit_base_distilled_patch16_224 deit_base_distilled_patch16_384 deit_base_patch16_224
        deit_base_patch16_384 deit_small_distilled_patch16_224 deit_small_patch16_224
        deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 flexivit_base flexivit_large flexivit_small
        test_vit vit_base_patch14_dinov2 vit_base_patch14_reg1_tipsv2 vit_base_patch14_reg4_dinov2
        vit_base_patch16_224 vit_base_patch16_224_miil vit_base_patch16_384 vit_base_patch16_plus_240
        vit_base_patch32_224 vit_base_patch32_384 vit_base_patch32_plus_256 vit_base_patch8_224
        vit_giant_patch14_224 vit_gigantic_patch14_224 vit_huge_patch14_224 vit_large_patch14_224
        vit_large_patch14_dinov2 vit_large_patch14_reg1_tipsv2 vit_large_patch14_reg4_dinov2
        vit_large_patch16_224 vit_large_patch16_384 vit_large_patch32_224 vit_large_patch32_384
        vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_small_patch16_224
        vit_small_patch16_36x1_224 vit_small_patch16_384 vit_small_patch32_224 vit_small_patch32_384
        vit_small_patch8_224 vit_so400m_patch14_reg1_tipsv2 vit_tiny_patch16_224 vit_tiny_patch16_384
    """,
    ("gelu", 1e-06, "mean"): """
        eva_large_patch14_196 eva_large_patch14_336 test_vit2 vit_base_patch16_gap_224
        vit_base_patch16_reg4_gap_256 vit_base_patch16_siglip_gap_224 vit_base_patch16_siglip_gap_256
        vit_base_patch16_siglip_gap_384 vit_base_patch16_siglip_gap_512 vit_betwixt_patch16_gap_256
        vit_betwixt_patch16_reg1_gap_256 vit_betwixt_patch16_reg4_gap_256 vit_betwixt_patch16_reg4_gap_384
        vit_giant_patch16_gap_224 vit_huge_patch14_gap_224 vit_huge_patch16_gap_448
        vit_large_patch16_siglip_gap_256 vit_large_patch16_siglip_gap_384 vit_little_patch16_reg1_gap_256
        vit_little_patch16_reg4_gap_256 vit_medium_patch16_gap_240 vit_medium_patch16_gap_256
        vit_medium_patch16_gap_384 vit_medium_patch16_reg1_gap_256 vit_medium_patch16_reg4_gap_256
        vit_mediumd_patch16_reg4_gap_256 vit_mediumd_patch16_reg4_gap_384 vit_so150m2_patch16_reg1_gap_256
        vit_so150m2_patch16_reg1_gap_384 vit_so150m2_patch16_reg1_gap_448 vit_so150m_patch16_reg4_gap_256
        vit_so150m_patch16_reg4_gap_384 vit_so400m_patch14_siglip_gap_224 vit_so400m_patch14_siglip_gap_378
        vit_so400m_patch14_siglip_gap_384 vit_so400m_patch14_siglip_gap_448
        vit_so400m_patch14_siglip_gap_896 vit_wee_patch16_reg1_gap_256
    """,
    ("gelu", 1e-05, "token"): """
        vit_base_patch16_clip_224 vit_base_patch16_clip_384 vit_base_patch16_plus_clip_240
        vit_base_patch32_clip_224 vit_base_patch32_clip_256 vit_base_patch32_clip_384
        vit_base_patch32_clip_448 vit_betwixt_patch32_clip_224 vit_giant_patch14_clip_224
        vit_gigantic_patch14_clip_224 vit_gigantic_patch14_clip_378 vit_huge_patch14_clip_224
        vit_huge_patch14_clip_336 vit_huge_patch14_clip_378 vit_large_patch14_clip_224
        vit_large_patch14_clip_336 vit_medium_patch16_clip_224 vit_medium_patch32_clip_224
        vit_xsmall_patch16_clip_224
    """,
    ("gelu", 1e-06, "map"): """
        vit_base_patch16_siglip_224 vit_base_patch16_siglip_256 vit_base_patch16_siglip_384
        vit_base_patch16_siglip_512 vit_large_patch16_siglip_256 vit_large_patch16_siglip_384
        vit_so150m_patch16_reg4_map_256 vit_so400m_patch14_siglip_224 vit_so400m_patch14_siglip_378
        vit_so400m_patch14_siglip_384
    """,
    ("quick_gelu", 1e-05, "token"): """
        vit_base_patch16_clip_quickgelu_224 vit_base_patch32_clip_quickgelu_224
        vit_gigantic_patch14_clip_quickgelu_224 vit_huge_patch14_clip_quickgelu_224
        vit_huge_patch14_clip_quickgelu_378 vit_large_patch14_clip_quickgelu_224
        vit_large_patch14_clip_quickgelu_336
    """,
    ("gelu_tanh", 1e-06, "map"): """
        vit_base_patch32_siglip_256 vit_giantopt_patch16_siglip_256 vit_giantopt_patch16_siglip_384
        vit_large_patch16_siglip_512 vit_so400m_patch16_siglip_256 vit_so400m_patch16_siglip_384
        vit_so400m_patch16_siglip_512
    """,
    ("gelu_tanh", 1e-06, "mean"): """
        vit_base_patch32_siglip_gap_256 vit_giantopt_patch16_siglip_gap_256
        vit_giantopt_patch16_siglip_gap_384 vit_large_patch16_siglip_gap_512
        vit_so400m_patch16_siglip_gap_256 vit_so400m_patch16_siglip_gap_384
        vit_so400m_patch16_siglip_gap_512
    """,
    ("gelu", 1e-05, "mean"): """
        beit3_base_patch16_224 beit3_giant_patch14_224 beit3_giant_patch14_336 beit3_large_patch16_224
    """,
}
# Number of heads by the width of the tokens.
HEADS = {
    64: 2,
    192: 3,
    256: 4,
    320: 5,
    384: 6,
    512: 8,
    640: 10,
    768: 12,
    832: 13,
    896: 14,
    1024: 16,
    1152: 16,
    1280: 16,
    1408: 16,
    1536: 16,
    1664: 16,
}
OTHER_HEADS = {"vit_base_patch16_gap_224": 16}
SWIN = """
    swin_base_patch4_window7_224 swin_base_patch4_window12_384 swin_large_patch4_window7_224
    swin_large_patch4_window12_384 swin_s3_small_224 swin_small_patch4_window7_224
    swin_tiny_patch4_window7_224
"""
DINO = """
    vit_small_patch16_dinov3 vit_small_patch16_dinov3_qkvb vit_base_patch16_dinov3 vit_base_patch16_dinov3_qkvb
    vit_large_patch16_dinov3 vit_large_patch16_dinov3_qkvb vit_small_plus_patch16_dinov3 vit_small_plus_patch16_dinov3_qkvb
    vit_huge_plus_patch16_dinov3 vit_huge_plus_patch16_dinov3_qkvb vit_7b_patch16_dinov3
"""
EVA = """
    eva_giant_patch14_224 eva_giant_patch14_336 eva_giant_patch14_560 eva_giant_patch14_clip_224
    eva02_tiny_patch14_224 eva02_tiny_patch14_336 eva02_small_patch14_224 eva02_small_patch14_336
    eva02_base_patch14_224 eva02_base_patch14_448 eva02_base_patch16_clip_224 eva02_large_patch14_224
    eva02_large_patch14_448 eva02_large_patch14_clip_224 eva02_large_patch14_clip_336
"""
# Windows and image sizes are in the names, those of pre-training first: window12to16_192to256.
SWIN_V2 = """
    swinv2_tiny_window8_256 swinv2_tiny_window16_256 swinv2_small_window8_256 swinv2_small_window16_256
    swinv2_base_window8_256 swinv2_base_window16_256 swinv2_base_window12_192 swinv2_base_window12to16_192to256
    swinv2_base_window12to24_192to384 swinv2_large_window12_192 swinv2_large_window12to16_192to256
    swinv2_large_window12to24_192to384
"""
# Of timm's many ResNets, those with the stem and the blocks of the paper; others differ in layers that leave no tensors.
RESNET = "resnet50 resnet101 resnet152 tv_resnet50 tv_resnet101 tv_resnet152"
MIXER = "mixer_b16_224 mixer_b32_224 mixer_l16_224 mixer_l32_224 mixer_s16_224 mixer_s32_224"

_VIT = {name: told for told, names in VIT.items() for name in names.split()}


def fields_of(architecture: str, format_name: str) -> dict[str, Any]:
    """Fields of the model that a name of timm tells; the number of heads only where it is unusual for the width.

    Args:
        architecture: the name, such as "vit_base_patch16_224".
        format_name: format of the weights, "timm ViT", "timm Swin" or "timm Mixer".

    Raises:
        UserError: vitax does not have this architecture, or the weights are not named as its tensors are.
    """
    name = architecture.partition(".")[0]
    if name in _VIT and format_name == "timm ViT":
        activation, epsilon, pooling = _VIT[name]
        told = dict(activation=activation, norm_epsilon=epsilon, pooling=pooling)
        return told | (dict(num_heads=OTHER_HEADS[name]) if name in OTHER_HEADS else {})
    if (name in SWIN.split() and format_name == "timm Swin") or (name in MIXER.split() and format_name == "timm Mixer"):
        return dict(activation="gelu")
    if name in DINO.split() and format_name == "timm DINOv3":
        return dict(norm_epsilon=1e-5, pooling="mean")
    if name in EVA.split() and format_name in ("timm EVA", "timm EVA-02"):
        return dict(norm_epsilon=1e-6, pooling="token" if "_clip_" in name else "mean")
    if name in SWIN_V2.split() and format_name == "timm Swin V2":
        return dict(activation="gelu") | _windows(name)
    if name in RESNET.split() and format_name == "timm ResNet":
        return {}
    raise UserError(
        f"config.json names timm's architecture {architecture!r}, which is none that vitax has for {format_name} weights"
    )


def _windows(name: str) -> dict[str, Any]:
    """Window and image size in the name of a Swin V2, and the windows of its pre-training."""
    windows, sizes = (
        [int(part) for part in both.split("to")] for both in re.findall(r"(?<=_window)[\dto]+|(?<=_)[\dto]+$", name)
    )
    told: dict[str, Any] = dict(window=windows[-1], image_size=(sizes[-1], sizes[-1]))
    if len(windows) == 1:
        return told
    # A map of the pre-training that was smaller than the window had a window of its own size.
    return told | dict(trained_windows=tuple((min(windows[0], sizes[0] // (4 * 2**stage)),) * 2 for stage in range(4)))
