"""Segmenters: backbones with a head that gives each pixel logits of classes.

A segmenter has the parameters of its backbone under the backbone's own names, so that weights of a classifier start it, and
freezing and layer-wise decay work as for the backbone; ``decode_head`` and ``auxiliary_head`` are beside them.
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from vitax.models.heads import FCN, HEADS
from vitax.models.heads.layers import resized
from vitax.models.nat import NAT
from vitax.models.swin import Swin
from vitax.models.swin_v2 import SwinV2


class Segmented(NamedTuple):
    """Output of a segmenter during training.

    Attributes:
        logits: [B, H, W, K] float32.
        auxiliary: [B, H, W, K] float32, logits of the auxiliary head; None = there is none.
    """

    logits: jax.Array
    auxiliary: jax.Array | None


class Segmenter(nn.Module):
    """The head of a segmenter; a backbone is mixed in.

    Attributes:
        num_classes: number K of classes.
        head: a key of `vitax.models.heads.HEADS`: "upernet", "mlp" (SegFormer) or "linear".
        head_width: number of channels of the head.
        head_dropout: rate at which channels are dropped before a classifier.
        auxiliary_width: number of channels of the auxiliary head, an FCN on one map, during training; 0 = no such head.
        auxiliary_map: the map of the auxiliary head; 0 = the finest.
    """

    num_classes: int = 150
    head: str = "upernet"
    head_width: int = 512
    head_dropout: float = 0.1
    auxiliary_width: int = 256
    auxiliary_map: int = 2

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array | Segmented:
        """Maps normalised images [B, H, W, C] to float32 logits [B, H, W, K] or, during training, to `Segmented`.

        The maps of the backbone are resized by the head, and the logits to the size of the images, bilinearly.

        Args:
            train: True = dropout and drop path are active, and batch norms use the statistics of the batch.
        """
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r} is unknown; choose one of {', '.join(HEADS)}")
        if not self.num_classes:
            raise ValueError("a segmenter needs classes")
        maps = [x for _, x in sorted(self.features(images, train).items())]
        size = images.shape[1:3]
        options = dict(dropout=self.head_dropout, dtype=self.dtype)
        head = HEADS[self.head](self.num_classes, self.head_width, **options, name="decode_head")
        logits = resized(head(maps, train), size)
        auxiliary = None
        if self.auxiliary_width and (train or self.is_initializing()):
            if not 0 <= self.auxiliary_map < len(maps):
                raise ValueError(f"auxiliary_map={self.auxiliary_map} must lie in 0..{len(maps) - 1}")
            small = FCN(self.num_classes, self.auxiliary_width, **options, name="auxiliary_head")
            auxiliary = resized(small(maps[self.auxiliary_map], train), size)
        return Segmented(logits, auxiliary) if train else logits


class SwinSegmenter(Segmenter, Swin):
    """Swin with a segmentation head; the defaults are UPerNet with Swin-T.

    Windows never shrink, and maps are padded, as in the official detection and segmentation code.
    """

    image_size: tuple[int, int] = (512, 512)
    shrink_window: bool = False


class SwinV2Segmenter(Segmenter, SwinV2):
    """Swin V2 with a segmentation head; the defaults are UPerNet with SwinV2-T."""

    image_size: tuple[int, int] = (512, 512)
    shrink_window: bool = False


class NATSegmenter(Segmenter, NAT):
    """NAT or DiNAT with a segmentation head; the defaults are UPerNet with NAT-Mini."""


def gives_maps(model: nn.Module) -> bool:
    """Whether a model norms the map of every stage: a segmenter, or a backbone with ``pyramid``."""
    return isinstance(model, Segmenter) or bool(getattr(model, "pyramid", False))
