"""Models that can start from a part of another model, or become a part of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from vitax import pretrained
from vitax.models.detector import Detector
from vitax.models.segmenter import gives_maps

Params = dict[str, Any]


class Passage(NamedTuple):
    """The conversion of the weights of one family to those of another.

    Attributes:
        take: function from all parameters to the useful ones, under their new names.
        note: a line of the report.
        new: patterns of parameters that are newly initialised.
        skip: patterns of parameters that the new model has no place for.
    """

    take: Callable[[Params], Params]
    note: str
    new: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


def _without_head(params: Params) -> Params:
    return {key: value for key, value in params.items() if not key.startswith("head")}


def _to_segmenter(*unused: str, tower: str = "") -> Passage:
    """The passage from a classifier to a segmenter with the same backbone.

    Args:
        unused: parameters of the classifier, besides its head, that a segmenter may lack.
        tower: name of the part of the model that is the backbone; "" = all of it.
    """

    def take(params: Params) -> Params:
        return _without_head(params[tower] if tower else params)

    new = (r"(params|batch_stats)/(decode_head|auxiliary_head|deconvolution|pyramid|pos_embed\d)", r"params/norm\d*/")
    skip = tuple(rf"(params|batch_stats)/{name}/" for name in unused)
    return Passage(take, "the backbone is taken from it, the heads and the norms of the maps are new", new, skip)


def _to_detector(*unused: str, tower: str = "") -> Passage:
    """The passage from a classifier to a detector with the same backbone; the arguments are those of `_to_segmenter`."""
    segments = _to_segmenter(*unused, tower=tower)
    note = "the backbone is taken from it, the Transformer is new"
    return segments._replace(note=note, new=(r"params/detection_head/",))


# Keys: (family of the weights, family of the model). Equal families need an entry only if heads may differ.
_HEADS = (r"params/heads/",)
_OTHER_HEADS = Passage(lambda params: params, "heads that differ are newly initialised or left out", _HEADS, _HEADS)


PASSAGES = {
    ("mae", "vit"): Passage(
        # A final norm after the pooling is not the final norm of the encoder.
        lambda params: params["encoder"],
        "the encoder is taken, the decoder is left out",
        new=(r"params/fc_norm/",),
        skip=(r"params/norm/", r"params/cls_token", r"params/pos_embed/prefix"),
    ),
    ("clip", "vit"): Passage(
        # A classifier reads what the projection into the common space reads.
        lambda params: params["image"],
        "the image tower is taken, its projection and the text tower are left out",
    ),
    ("dynamic_vit", "vit"): Passage(
        lambda params: params,
        "the backbone is taken, the predictors are left out: the model is dense",
        skip=(r"params/predictor\d+/",),
    ),
    ("vit", "clip"): Passage(
        lambda params: {"image": _without_head(params)},
        "the image tower is taken from it, the text tower is new",
        new=(r"params/text/", r"params/image_projection/", r"params/logit_(scale|bias)"),
    ),
    ("vit", "dynamic_vit"): Passage(
        lambda params: params,
        "the backbone is taken from it, the predictors are new; it is the teacher too",
        new=(r"params/predictor\d+/",),
    ),
    ("swin", "swin_segmenter"): _to_segmenter("norm"),
    ("nat", "nat_segmenter"): _to_segmenter("norm"),
    ("vit", "vit_segmenter"): _to_segmenter("norm", "fc_norm", "pre_logits", "pool"),
    ("mae", "vit_segmenter"): _to_segmenter("norm", tower="encoder"),
    ("clip", "vit_segmenter"): _to_segmenter("norm", tower="image"),
    ("resnet", "resnet_detector"): _to_detector(),
    ("swin", "swin_detector"): _to_detector(),
    ("nat", "nat_detector"): _to_detector(),
    ("vit", "vit_detector"): _to_detector("fc_norm", "pre_logits", "pool"),
    ("mae", "vit_detector"): _to_detector(tower="encoder"),
    ("bert", "bert"): _OTHER_HEADS,
    ("fnet", "fnet"): _OTHER_HEADS,
}
# {family of the model: the other families that a file of weights may belong to}
SOURCES = {here: tuple(there for there, other in PASSAGES if other == here and there != here) for _, here in PASSAGES}


def of_any_size(model: nn.Module) -> bool:
    """Whether a model pads its maps to whole windows, so that it has no image size of its own."""
    return gives_maps(model) or isinstance(model, Detector)


def part_of(model: nn.Module, there: str, here: str) -> dict[str, Any]:
    """The fields that weights do not reveal, of the part of the model that the weights are for."""
    if there == "clip" and here in ("vit", "vit_segmenter"):
        names = ("activation", "norm_epsilon", *(("image_size",) if here == "vit" else ()))
        return {key: getattr(model, key) for key in names} | dict(image_heads=model.num_heads)
    if (there, here) == ("vit", "clip"):
        tower = dict(activation="gelu", norm_epsilon=1e-6, pooling=model.image_pooling)
        return tower | dict(num_heads=model.image_heads)
    fields = {key: getattr(model, key, None) for key in pretrained.NOT_IN_FILES}
    if of_any_size(model) and there != here:  # the weights keep the size of their classifier
        fields["image_size"] = None
    return fields
