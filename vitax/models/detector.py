"""Detectors: backbones with DETR, which gives each of its queries a class and a box.

A detector has the parameters of its backbone under the backbone's own names, so that weights of a classifier start it, and
freezing works as for the backbone; ``detection_head`` is beside them.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax.models import nat, resnet, swin, vit
from vitax.models.heads.detr import DETR
from vitax.models.nat import NAT
from vitax.models.resnet import ResNet
from vitax.models.swin import Swin
from vitax.models.vit import ViT
from vitax.nn.blocks import LayerNorm

# The sizes of the paper (table 1); DC5 doubles the resolution of the last map.
RESNET_SIZES: dict[str, dict[str, Any]] = {
    "R50": resnet.SIZES["50"],
    "R101": resnet.SIZES["101"],
    "R50-DC5": resnet.SIZES["50"] | dict(dilated=True),
    "R101-DC5": resnet.SIZES["101"] | dict(dilated=True),
}
SWIN_SIZES = {size: swin.SIZES[size] for size in ("T", "S", "B")}
NAT_SIZES = {size: nat.SIZES[size] for size in ("Mini", "Tiny", "Small", "Base")}
VIT_SIZES = {size: vit.SIZES[size] for size in ("B", "L")}


class Detected(NamedTuple):
    """Output of a detector.

    Attributes:
        logits: [B, Q, K + 1] float32; the last class is "no object".
        boxes: [B, Q, 4] float32, centre (x, y), width and height as shares of the picture, each in (0, 1).
        earlier: logits [L - 1, B, Q, K + 1] and boxes [L - 1, B, Q, 4] after the other layers of the decoder, during training;
            None otherwise.
    """

    logits: jax.Array
    boxes: jax.Array
    earlier: tuple[jax.Array, jax.Array] | None = None


class Detector(nn.Module):
    """The head of a detector; a backbone is mixed in.

    Attributes:
        num_classes: number K of classes.
        num_queries: number Q of objects that are looked for in each picture.
        head_width: width of the Transformer.
        encoder_depth, decoder_depth: number of its layers.
        head_heads: number of its attention heads.
        head_mlp_width: hidden width of its MLPs.
        head_dropout: its dropout rate.
    """

    num_classes: int = 91
    num_queries: int = 100
    head_width: int = 256
    encoder_depth: int = 6
    decoder_depth: int = 6
    head_heads: int = 8
    head_mlp_width: int = 2048
    head_dropout: float = 0.1

    @nn.compact
    def __call__(self, images: jax.Array, sizes: jax.Array | None = None, *, train: bool = False) -> Detected:
        """Maps normalised images [B, H, W, C] to `Detected`.

        Args:
            images: pictures, each at the top left; what lies beyond a picture is not looked at.
            sizes: [B, 2] int, height and width of each picture in pixels; None = all have H x W.
            train: True = dropout is active.
        """
        if self.num_classes < 1 or self.num_queries < 1:
            raise ValueError(f"num_classes={self.num_classes} and num_queries={self.num_queries} must be at least 1")
        _, height, width, _ = images.shape
        pixels = None if sizes is None else inside(sizes, height, width)
        if pixels is not None:
            images = jnp.where(pixels[..., None], images, 0)
        maps = self.features(images, train)
        last = maps[max(maps)]
        visible = None
        if pixels is not None:
            # A vector of the map lies in the picture if the first of its pixels does, as in the official code.
            rows, columns = (np.arange(n) * side // n for n, side in zip(last.shape[1:3], (height, width), strict=True))
            visible = pixels[:, rows][:, :, columns]
        head = DETR(
            self.num_classes,
            self.num_queries,
            self.head_width,
            self.encoder_depth,
            self.decoder_depth,
            self.head_heads,
            self.head_mlp_width,
            self.head_dropout,
            self.dtype,
            name="detection_head",
        )
        logits, boxes = head(last, visible, train)
        return Detected(logits[-1], boxes[-1], (logits[:-1], boxes[:-1]) if train else None)


def inside(sizes: jax.Array, height: int, width: int) -> jax.Array:
    """Whether each pixel of an image lies in the picture at its top left: sizes [B, 2] int, to [B, height, width] bool."""
    rows, columns = jnp.arange(height).reshape(1, -1, 1), jnp.arange(width).reshape(1, 1, -1)
    return (rows < sizes[:, 0].reshape(-1, 1, 1)) & (columns < sizes[:, 1].reshape(-1, 1, 1))


class ResNetDetector(Detector, ResNet):
    """DETR with a ResNet, as in the paper; the defaults are those of ResNet-50.

    The norms of the backbone stay as they were trained; with ``frozen_norms=False`` they learn, for a start from nothing.

    Attributes:
        image_size: (height, width) in pixels to which pictures are padded.
    """

    num_classes: int = 91
    image_size: tuple[int, int] = (800, 1344)
    frozen_norms: bool = True


class SwinDetector(Detector, Swin):
    """DETR with the last map of a Swin, whose windows never shrink and whose maps are padded, as in `SwinSegmenter`."""

    num_classes: int = 91
    image_size: tuple[int, int] = (800, 1344)
    shrink_window: bool = False

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The normalised map of the last stage, {stride in pixels: [B, ceil(H/stride), ceil(W/stride), D]}."""
        last = self._stages(images, train)[-1]
        norm = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")
        return {self.patch_size * 2 ** (len(self.depths) - 1): norm(last)}


class NATDetector(Detector, NAT):
    """DETR with the last map of a NAT or DiNAT."""

    num_classes: int = 91

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The normalised map of the last stage, {stride in pixels: [B, ceil(H/stride), ceil(W/stride), D]}."""
        last = self._stages(images, train)[-1]
        norm = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")
        return {4 * 2 ** (len(self.depths) - 1): norm(last)}


class ViTDetector(Detector, ViT):
    """DETR with the normalised patches after the last block of a ViT.

    Attributes:
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes, which are filled up with zeros to whole patches.
    """

    num_classes: int = 91
    image_size: tuple[int, int] = (512, 512)

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The map of the patches, {P: [B, ceil(H/P), ceil(W/P), D]}."""
        return self.last_map(images, train)
