"""Catalogue of all model variants: fields in addition to those of the size, parameters, and reported results.

Figures come from the papers or the official repositories; top-1 is the accuracy on ImageNet-1k. None of the figures was
measured for this project.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from vitax.models import MODELS


class Variant(NamedTuple):
    """A row of the catalogue.

    Attributes:
        name: name in the listing.
        family: key of `vitax.models.MODELS`.
        size: key of the family's sizes.
        parameters: number of trainable parameters, as published or as counted in the official code.
        published: results that the authors, or others where it says so, report.
        fields: fields of the model in addition to those of its size.
        side: side in pixels of the square images for which the model is made, if no field of the model holds it;
            0 = 224.
    """

    name: str
    family: str
    size: str
    parameters: int
    published: str = ""
    fields: Mapping[str, Any] = MappingProxyType({})
    side: int = 0


def build(variant: Variant) -> nn.Module:
    """The module of a variant."""
    family = MODELS[variant.family]
    return family.module(**(dict(family.sizes[variant.size]) | dict(variant.fields)))


def _vit(size: str, patch_size: int, parameters: int, published: str = "", side: int = 224) -> Variant:
    name = f"ViT-{size}/{patch_size}" + (f" at {side}" if side != 224 else "")
    fields = dict(patch_size=patch_size, image_size=(side, side))
    return Variant(name, "vit", size, parameters, published, fields)


def _mixer(size: str, patch_size: int, parameters: int, published: str = "") -> Variant:
    fields = dict(patch_size=patch_size)
    return Variant(f"Mixer-{size}/{patch_size}", "mlp_mixer", size, parameters, published, fields)


def _swin(size: str, parameters: int, published: str, side: int = 224) -> Variant:
    fields = dict(window=12, image_size=(384, 384)) if side == 384 else {}
    name = f"Swin-{size}" + (" at 384" if side == 384 else "")
    return Variant(name, "swin", size, parameters, published, fields)


def _swin_v2(size: str, parameters: int, published: str, window: int = 8) -> Variant:
    fields = dict(window=window) if window != 8 else {}
    return Variant(f"SwinV2-{size}, windows of {window}", "swin_v2", size, parameters, published, fields)


def _clip(size: str, parameters: int, published: str = "", side: int = 224) -> Variant:
    name = f"CLIP {size}" if size.startswith("RN") else f"CLIP ViT-{size}"
    return Variant(name, "clip", size, parameters, published, dict(image_size=(side, side)))


def _detr(backbone: str, size: str, parameters: int, ap: str, family: str = "resnet_detector") -> Variant:
    published = f"{ap} AP on COCO's val2017" if ap else ""
    return Variant(f"DETR {backbone}", family, size, parameters, published, side=800)


def _upernet(backbone: str, family: str, size: str, parameters: int, one_scale: str, several: str = "") -> Variant:
    published = f"mIoU on ADE20K: {one_scale}" + (f", {several} with several scales, mirrored" if several else "")
    return Variant(f"UPerNet {backbone}", family, size, parameters, published, dict(num_classes=150), side=512)


CATALOGUE = (
    _vit("Ti", 16, 5_717_416, "75.5 top-1 (AugReg, ImageNet-21k)"),
    _vit("S", 32, 22_878_952, "79.6 top-1 at 384 (AugReg, ImageNet-21k)"),
    _vit("S", 16, 22_050_664, "79.9 top-1 (DeiT)"),
    _vit("B", 32, 88_224_232, "81.7 top-1 at 384 (ImageNet-21k)"),
    _vit("B", 16, 86_567_656, "84.5 top-1 at 384 (ImageNet-21k)"),
    _vit("B", 8, 86_576_872),
    _vit("B", 16, 86_859_496, "84.5 top-1 (ImageNet-21k)", 384),
    _vit("L", 32, 306_535_400, "81.9 top-1 at 384 (ImageNet-21k)"),
    _vit("L", 16, 304_326_632, "85.1 top-1 at 384 (ImageNet-21k)"),
    _vit("L", 14, 304_203_752),
    _vit("L", 16, 304_715_752, "85.1 top-1 (ImageNet-21k)", 384),
    _vit("H", 14, 632_045_800),
    _vit("H", 16, 632_199_400),
    Variant("DeiT-Ti distilled", "vit", "Ti", 5_910_800, "", dict(distillation_token=True)),
    Variant("DeiT-S distilled", "vit", "S", 22_436_432, "", dict(distillation_token=True)),
    Variant("DeiT-B distilled", "vit", "B", 87_338_192, "", dict(distillation_token=True)),
    Variant("MAE-B/16", "mae", "B", 111_655_680, "83.7 top-1 fine-tuned, 67.8 linear"),
    Variant("MAE-L/16", "mae", "L", 329_239_296, "86.0 top-1 fine-tuned, 76.0 linear"),
    Variant("MAE-H/14", "mae", "H", 656_613_964, "86.9 top-1 fine-tuned, 77.2 linear"),
    _swin("T", 28_288_354, "81.2 top-1"),
    _swin("S", 49_606_258, "83.2 top-1"),
    _swin("B", 87_768_224, "83.5 top-1, 85.2 (ImageNet-22k)"),
    _swin("L", 196_532_476, "86.3 top-1 (ImageNet-22k)"),
    _swin("B", 87_903_584, "84.5 top-1, 86.4 (ImageNet-22k)", 384),
    _swin("L", 196_735_516, "87.3 top-1 (ImageNet-22k)", 384),
    _swin_v2("T", 28_347_154, "81.8 top-1"),
    _swin_v2("S", 49_728_418, "83.7 top-1"),
    _swin_v2("B", 87_918_816, "84.2 top-1"),
    _swin_v2("T", 28_347_154, "82.8 top-1", 16),
    _swin_v2("S", 49_728_418, "84.1 top-1", 16),
    _swin_v2("B", 87_918_816, "84.6 top-1, 86.2 (ImageNet-22k)", 16),
    _swin_v2("L", 196_739_932, "86.9 top-1 (ImageNet-22k)", 16),
    Variant("SwinIR classical x2", "swinir", "classical_x2", 11_752_487, "38.42 dB Set5 (DF2K)"),
    Variant("SwinIR classical x3", "swinir", "classical_x3", 11_937_127, "34.97 dB Set5 (DF2K)"),
    Variant("SwinIR classical x4", "swinir", "classical_x4", 11_900_199, "32.92 dB Set5 (DF2K)"),
    Variant("SwinIR classical x8", "swinir", "classical_x8", 12_047_911),
    Variant("SwinIR light x2", "swinir", "light_x2", 910_152, "38.14 dB Set5"),
    Variant("SwinIR light x3", "swinir", "light_x3", 918_267, "34.62 dB Set5"),
    Variant("SwinIR light x4", "swinir", "light_x4", 929_628, "32.44 dB Set5"),
    Variant("SwinIR real-world x2", "swinir", "real_x2", 11_678_631),
    Variant("SwinIR real-world x4", "swinir", "real_x4", 11_715_559),
    Variant("SwinIR-L real-world x2", "swinir", "real_large_x2", 27_976_131),
    Variant("SwinIR-L real-world x4", "swinir", "real_large_x4", 28_013_059),
    Variant("SwinIR denoise, grey", "swinir", "denoise_grey", 11_497_681, "33.36/31.01/27.91 dB Set12 s=15/25/50"),
    Variant("SwinIR denoise, colour", "swinir", "denoise_colour", 11_504_163, "34.42/31.78/28.56 dB CBSD68"),
    Variant("SwinIR JPEG, grey", "swinir", "jpeg_grey", 11_485_585, "30.27..34.52 dB Classic5 q=10..40"),
    Variant("SwinIR JPEG, colour", "swinir", "jpeg_colour", 11_492_067, "28.06..32.75 dB LIVE1 q=10..40"),
    Variant("NAT-Mini", "nat", "Mini", 19_984_174, "81.8 top-1"),
    Variant("NAT-Tiny", "nat", "Tiny", 27_901_582, "83.2 top-1"),
    Variant("NAT-Small", "nat", "Small", 50_743_297, "83.7 top-1"),
    Variant("NAT-Base", "nat", "Base", 89_769_652, "84.3 top-1"),
    Variant("DiNAT-Mini", "nat", "DiNAT-Mini", 19_984_174, "81.8 top-1"),
    Variant("DiNAT-Tiny", "nat", "DiNAT-Tiny", 27_901_582, "82.7 top-1"),
    Variant("DiNAT-Small", "nat", "DiNAT-Small", 50_719_681, "83.8 top-1"),
    Variant("DiNAT-Base", "nat", "DiNAT-Base", 89_769_652, "84.4 top-1"),
    Variant("DiNAT-Large", "nat", "DiNAT-Large", 200_943_514, "86.6 top-1 (ImageNet-22k)"),
    Variant("DiNAT-Large at 384", "nat", "DiNAT-Large-384", 200_943_514, "87.4 top-1 (ImageNet-22k)", side=384),
    Variant(
        "DiNAT-Large at 384, 11x11", "nat", "DiNAT-Large-384-11x11", 201_144_250, "87.5 top-1 (ImageNet-22k)", side=384
    ),
    _upernet("Swin-T", "swin_segmenter", "T", 59_941_862, "44.5", "45.8"),
    _upernet("Swin-S", "swin_segmenter", "S", 81_259_766, "47.6", "49.5"),
    _upernet("Swin-B", "swin_segmenter", "B", 121_279_716, "48.1", "49.7"),
    _upernet("NAT-Mini", "nat_segmenter", "Mini", 49_779_698, "45.1", "46.4"),
    _upernet("NAT-Tiny", "nat_segmenter", "Tiny", 57_697_106, "47.1", "48.4"),
    _upernet("NAT-Small", "nat_segmenter", "Small", 82_396_805, "48.0", "49.5"),
    _upernet("NAT-Base", "nat_segmenter", "Base", 123_281_144, "48.5", "49.7"),
    _upernet("ViT-B/16", "vit_segmenter", "B", 163_293_740, "48.1 (MAE, with relative positions)"),
    _upernet("ViT-L/16", "vit_segmenter", "L", 439_907_628, "53.6 (MAE, with relative positions)"),
    Variant("ResNet-50", "resnet", "50", 25_557_032, "76.1 top-1 (torchvision)"),
    Variant("ResNet-101", "resnet", "101", 44_549_160, "77.4 top-1 (torchvision)"),
    Variant("ResNet-152", "resnet", "152", 60_192_808, "78.3 top-1 (torchvision)"),
    _detr("R50", "R50", 41_577_888, "42.0"),
    _detr("R101", "R101", 60_570_016, "43.5"),
    _detr("R50-DC5", "R50-DC5", 41_577_888, "43.3"),
    _detr("R101-DC5", "R101-DC5", 60_570_016, "44.9"),
    _detr("Swin-T", "T", 45_261_530, "", "swin_detector"),
    _detr("Swin-S", "S", 66_579_434, "", "swin_detector"),
    _detr("Swin-B", "B", 104_550_936, "", "swin_detector"),
    _detr("NAT-Mini", "Mini", 37_147_814, "", "nat_detector"),
    _detr("NAT-Tiny", "Tiny", 45_065_222, "", "nat_detector"),
    _detr("NAT-Small", "Small", 67_716_473, "", "nat_detector"),
    _detr("NAT-Base", "Base", 106_552_364, "", "nat_detector"),
    _detr("ViT-B/16", "B", 104_176_736, "", "vit_detector"),
    _detr("ViT-L/16", "L", 321_957_216, "", "vit_detector"),
    Variant("DynamicViT-256/0.7", "dynamic_vit", "256", 10_304_942, "76.5 top-1"),
    Variant("DynamicViT-S/0.7", "dynamic_vit", "S", 22_774_414, "79.3 top-1"),
    Variant("DynamicViT-B/0.7", "dynamic_vit", "B", 89_452_846, "81.4 top-1"),
    _clip("RN50", 102_007_137, "59.8 zero-shot top-1"),
    _clip("RN101", 119_688_033, "62.3 zero-shot top-1"),
    _clip("RN50x4", 178_300_601, "66.3 zero-shot top-1", 288),
    _clip("RN50x16", 290_979_217, "70.7 zero-shot top-1", 384),
    _clip("RN50x64", 623_258_305, "73.9 zero-shot top-1", 448),
    _clip("B/32", 151_277_313, "63.3 zero-shot top-1"),
    _clip("B/16", 149_620_737, "68.3 zero-shot top-1"),
    _clip("L/14", 427_616_513, "75.5 zero-shot top-1"),
    _clip("L/14-336", 427_944_193, "76.6 zero-shot top-1", 336),
    _clip("H/14", 986_109_441),
    _clip("g/14", 1_366_678_273),
    _mixer("S", 32, 19_104_624),
    _mixer("S", 16, 18_528_264),
    _mixer("B", 32, 60_293_428),
    _mixer("B", 16, 59_880_472, "76.4 top-1, 80.6 (ImageNet-21k)"),
    _mixer("L", 32, 206_939_264),
    _mixer("L", 16, 208_196_168, "71.8 top-1, 82.9 (ImageNet-21k)"),
    _mixer("H", 14, 432_350_952),
    Variant("FNet-base", "fnet", "base", 83_486_722, "76.7 GLUE (validation)"),
    Variant("FNet-large", "fnet", "large", 238_031_106, "81.9 GLUE (validation)"),
    Variant("FNet-hybrid-base", "fnet", "hybrid-base", 88_211_458),
    Variant("FNet-hybrid-large", "fnet", "hybrid-large", 246_427_906),
    Variant("FNet's Linear-base", "fnet", "linear-base", 93_710_338),
    Variant("FNet's Linear-large", "fnet", "linear-large", 269_488_386),
    Variant("FNet-image-S/16", "fnet_image", "S", 14_953_576, "not in any paper"),
    Variant("FNet-image-B/16", "fnet_image", "B", 58_217_704, "not in any paper"),
    Variant("BERT-tiny", "bert", "tiny", 4_433_468, "64.2 GLUE"),
    Variant("BERT-mini", "bert", "mini", 11_267_900, "65.8 GLUE"),
    Variant("BERT-small", "bert", "small", 29_058_876, "71.2 GLUE"),
    Variant("BERT-medium", "bert", "medium", 41_668_412, "73.5 GLUE"),
    Variant("BERT-base", "bert", "base", 110_106_428, "79.6 GLUE"),
    Variant("BERT-large", "bert", "large", 336_226_108, "82.1 GLUE"),
    Variant("BERT-base cased", "bert", "base", 108_932_934, "", dict(vocab_size=28996)),
    Variant("BERT-large cased", "bert", "large", 334_661_958, "", dict(vocab_size=28996)),
    Variant("Transformer base", "transformer", "base", 63_082_496, "27.3 BLEU WMT14 en-de"),
    Variant("Transformer big", "transformer", "big", 214_245_376, "28.4 BLEU WMT14 en-de"),
    Variant("Language model small", "language_model", "small", 37_859_328, "not in any paper"),
    Variant("Language model base", "language_model", "base", 113_472_000, "not in any paper"),
    Variant("RNN small", "rnn_seq2seq", "small", 11_638_528, "not in any paper"),
    Variant("RNN base", "rnn_seq2seq", "base", 34_424_832, "not in any paper"),
)
