"""The config.json of Hugging Face's DETR, with an object for its backbone, or the name of one of timm's."""

import re
from collections.abc import Callable
from typing import Any

from vitax.errors import UserError
from vitax.models.resnet import ResNet
from vitax.pretrained.config_keys import Config, Key, Kind, read_keys

DETR = Kind(
    ("Hugging Face DETR", "Hugging Face DETR, own ResNet", "Hugging Face DETR, Swin"),
    {
        "num_queries": Key("num_queries", 100),
        "d_model": Key("head_width", 256),
        "encoder_layers": Key("encoder_depth", 6),
        "decoder_layers": Key("decoder_depth", 6),
        "encoder_attention_heads": Key("head_heads", 8),
        "decoder_attention_heads": Key("head_heads", 8),
        "encoder_ffn_dim": Key("head_mlp_width", 2048),
        "decoder_ffn_dim": Key("head_mlp_width", 2048),
        "dilation": Key("dilated", False),
    },
    {
        "activation_function": ("relu",),
        "position_embedding_type": ("sine",),
        "scale_embedding": (False,),
        # With it, transformers norms the queries between the layers too, which the official code does not.
        "auxiliary_loss": (False,),
    },
    # Weights of losses and costs are those of the training; the backbone is read by itself.
    inert=r"\w+_(loss_)?coefficient|(class|bbox|giou)_cost|init_xavier_std|max_position_embeddings"
    r"|num_hidden_layers|hidden_size|num_attention_heads|use_(pretrained|timm)_backbone|backbone(_config|_kwargs)?",
)
RESNET = Kind(
    (),
    {"embedding_size": Key("width", 64), "depths": Key("depths", [3, 4, 6, 3], tuple)},
    {
        "hidden_act": ("relu",),
        "layer_type": ("bottleneck",),
        "downsample_in_bottleneck": (False,),
        "downsample_in_first_stage": (False,),
    },
    inert="hidden_sizes",
)
# Further arguments of timm's models change them, and not all leave tensors.
TIMM = Kind(
    (),
    {},
    {"features_only": (True,), "freeze_batch_norm_2d": (False, True)},
    inert="backbone|output_stride|out_indices|use_(pretrained|timm)_backbone|use_pretrained_backbone|in_chans|out_features|initializer_range",
)
_TIMM = re.compile(r"(tv_)?resnet(50|101|152)(\..*)?")  # others compute with other layers, which not all leave tensors


def detr_fields(config: Config, swin: Kind) -> dict[str, Any]:
    """Fields of a detector.

    Args:
        config: content of the file.
        swin: the meaning of the keys of a Swin.

    Raises:
        UserError: the config describes a detector that vitax does not have.
    """
    fields = read_keys(DETR, config)
    backbone = dict(config.get("backbone_config") or {})
    kind = backbone.get("model_type")
    if kind == "swin":
        _last_stage(backbone, len(backbone.get("depths", ())))
        if fields.pop("dilated", False):
            raise UserError("config.json says dilation=True, which a Swin does not have")
        return fields | read_keys(swin, backbone, "config.json's backbone_config")
    if kind == "resnet":
        _last_stage(backbone, len(backbone.get("depths", (3, 4, 6, 3))))
        if fields["dilated"]:  # transformers reads it with timm's ResNets only
            raise UserError("config.json says dilation=True, with a backbone that does not read it")
        return fields | read_keys(RESNET, backbone, "config.json's backbone_config")
    return fields | _timm(config, backbone, fields["dilated"])


def detr_config(model: Any, keys: Callable[[Kind], Config], swin: Kind) -> Config:
    """The keys of a detector, of its backbone too.

    Args:
        model: the model.
        keys: function from what the keys of an object mean to the object.
        swin: the meaning of the keys of a Swin.
    """
    stages = len(model.depths)
    last = {"out_features": [f"stage{stages}"]}
    if not isinstance(model, ResNet):
        config = {**keys(DETR), "dilation": False}
        return config | {"backbone_config": {**keys(swin), **last, "model_type": "swin"}, "use_timm_backbone": False}
    sizes = {"hidden_sizes": [4 * model.width * 2**stage for stage in range(stages)], "layer_type": "bottleneck"}
    backbone = {**keys(RESNET), **sizes, **last, "model_type": "resnet", "hidden_act": "relu"}
    return {**keys(DETR), "backbone_config": backbone, "use_timm_backbone": False}


def _last_stage(backbone: Config, stages: int) -> None:
    """Raises UserError if DETR reads another map than the last one."""
    names = backbone.get("out_features") or [f"stage{stages}"]
    if names[-1] != f"stage{stages}":
        raise UserError(
            f"config.json's backbone gives the map of {names[-1]!r}; vitax has DETR on that of stage{stages}"
        )


def _timm(config: Config, backbone: Config, dilated: bool) -> dict[str, Any]:
    """Fields that a ResNet of timm adds: its norms are frozen, as are those of all."""
    name = backbone.get("backbone") or config.get("backbone") or "resnet50"
    if backbone.get("model_type", "timm_backbone") != "timm_backbone" or not _TIMM.fullmatch(name):
        raise UserError(
            f"config.json names the backbone {backbone.get('model_type')!r} {name!r}; vitax has DETR on resnet50, resnet101, "
            "resnet152 and on Swin"
        )
    options = {**(config.get("backbone_kwargs") or {}), **backbone}
    read_keys(TIMM, options, "config.json's backbone")
    if (options.get("out_indices") or [4])[-1] not in (4, -1):
        raise UserError(
            f"config.json's backbone gives the maps {options['out_indices']}; vitax has DETR on the last one"
        )
    stride = options.get("output_stride") or (16 if dilated else 32)
    if stride not in (16, 32):
        raise UserError(f"config.json's backbone has output_stride={stride}; vitax has 32, and 16 (DC5)")
    return {"dilated": stride == 16}
