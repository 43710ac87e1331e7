"""Models, one file per paper. MODELS maps each name to its module class and its published sizes.

``python -m vitax.models`` lists them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vitax.models import (
    bert,
    clip,
    detector,
    dynamic_vit,
    fnet,
    mae,
    mlp_mixer,
    nat,
    resnet,
    rnn_seq2seq,
    segmenter,
    swin,
    swin_v2,
    swinir,
    transformer,
    vit,
)
from vitax.models.views import (
    View,
    view_of_clip,
    view_of_dynamic_vit,
    view_of_mae,
    view_of_nat,
    view_of_patches,
    view_of_vit,
)


class Family(NamedTuple):
    """Entry of MODELS.

    Attributes:
        module: class of the model.
        sizes: {name in a config: fields}.
        paper: first author, year and arXiv number.
        example: function (model, channels) -> shapes of the model's inputs for batch 1, which suffice for
            initialisation.
        view: function model -> `View` for explanations and reports; None for a model without images, or one of which
            only the predictions are shown.
    """

    module: type[nn.Module]
    sizes: Mapping[str, Mapping[str, Any]]
    paper: str
    example: Callable[..., tuple[jax.ShapeDtypeStruct, ...]]
    view: Callable[[Any], View] | None = None


def _image(model: nn.Module, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    height, width = getattr(model, "image_size", (224, 224))
    return (jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32),)


def _picture(model: swinir.SwinIR, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    shape = (1, 8 * model.window, 8 * model.window, model.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


def _tokens(length: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, length), jnp.int32)


def _masked_image(model: mae.MAE, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    (images,) = _image(model, channels)
    patches = (images.shape[1] // model.patch_size) * (images.shape[2] // model.patch_size)
    return (images, _tokens(max(1, patches // 4)))


def _image_and_text(model: clip.CLIP, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (*_image(model, channels), _tokens(model.context_length))


def _text(model: nn.Module, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (_tokens(getattr(model, "max_length", 512)),)


def _text_pair(model: nn.Module, channels: int = 3) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (_tokens(64), _tokens(64))


MODELS = {
    "vit": Family(vit.ViT, vit.SIZES, "Dosovitskiy et al. 2020, arXiv:2010.11929", _image, view_of_vit),
    "mae": Family(mae.MAE, mae.SIZES, "He et al. 2021, arXiv:2111.06377", _masked_image, view_of_mae),
    "swin": Family(swin.Swin, swin.SIZES, "Liu et al. 2021, arXiv:2103.14030", _image, view_of_patches),
    "swin_v2": Family(swin_v2.SwinV2, swin_v2.SIZES, "Liu et al. 2021, arXiv:2111.09883", _image, view_of_patches),
    "swinir": Family(swinir.SwinIR, swinir.SIZES, "Liang et al. 2021, arXiv:2108.10257", _picture),
    "nat": Family(nat.NAT, nat.SIZES, "Hassani et al. 2022, arXiv:2204.07143 and 2209.15001", _image, view_of_nat),
    "swin_segmenter": Family(
        segmenter.SwinSegmenter,
        segmenter.SWIN_SIZES,
        "Liu et al. 2021, arXiv:2103.14030; Xiao et al. 2018, arXiv:1807.10221",
        _image,
    ),
    "nat_segmenter": Family(
        segmenter.NATSegmenter,
        segmenter.NAT_SIZES,
        "Hassani et al. 2022, arXiv:2204.07143 and 2209.15001; Xiao et al. 2018, arXiv:1807.10221",
        _image,
    ),
    "vit_segmenter": Family(
        segmenter.ViTSegmenter,
        segmenter.VIT_SIZES,
        "Bao et al. 2021, arXiv:2106.08254; Xiao et al. 2018, arXiv:1807.10221",
        _image,
    ),
    "resnet": Family(resnet.ResNet, resnet.SIZES, "He et al. 2015, arXiv:1512.03385", _image),
    "resnet_detector": Family(
        detector.ResNetDetector, detector.RESNET_SIZES, "Carion et al. 2020, arXiv:2005.12872", _image
    ),
    "swin_detector": Family(detector.SwinDetector, detector.SWIN_SIZES, "Carion et al. 2020, arXiv:2005.12872", _image),
    "nat_detector": Family(detector.NATDetector, detector.NAT_SIZES, "Carion et al. 2020, arXiv:2005.12872", _image),
    "vit_detector": Family(detector.ViTDetector, detector.VIT_SIZES, "Carion et al. 2020, arXiv:2005.12872", _image),
    "dynamic_vit": Family(
        dynamic_vit.DynamicViT, dynamic_vit.SIZES, "Rao et al. 2021, arXiv:2106.02034", _image, view_of_dynamic_vit
    ),
    "clip": Family(clip.CLIP, clip.SIZES, "Radford et al. 2021, arXiv:2103.00020", _image_and_text, view_of_clip),
    "mlp_mixer": Family(
        mlp_mixer.MlpMixer, mlp_mixer.SIZES, "Tolstikhin et al. 2021, arXiv:2105.01601", _image, view_of_patches
    ),
    "fnet": Family(fnet.FNet, fnet.SIZES, "Lee-Thorp et al. 2021, arXiv:2105.03824", _text),
    "fnet_image": Family(
        fnet.FNetImage, fnet.IMAGE_SIZES, "Lee-Thorp et al. 2021, arXiv:2105.03824", _image, view_of_patches
    ),
    "bert": Family(bert.BERT, bert.SIZES, "Devlin et al. 2018, arXiv:1810.04805", _text),
    "transformer": Family(
        transformer.Transformer, transformer.SIZES, "Vaswani et al. 2017, arXiv:1706.03762", _text_pair
    ),
    "language_model": Family(
        transformer.LanguageModel, transformer.LM_SIZES, "Vaswani et al. 2017, arXiv:1706.03762", _text
    ),
    "rnn_seq2seq": Family(
        rnn_seq2seq.RNNSeq2Seq, rnn_seq2seq.SIZES, "Bahdanau et al. 2014, arXiv:1409.0473", _text_pair
    ),
}


def variable_shapes(model: nn.Module, family: str, channels: int = 3) -> dict[str, Any]:
    """The shapes of all variables of a model, computed without allocating them."""
    example = MODELS[family].example(model, channels)
    variables = jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x), *example)
    return {name: tree for name, tree in variables.items() if name != "intermediates"}
