"""Segmenters: backbones with a head that gives each pixel logits of classes.

A segmenter has the parameters of its backbone under the backbone's own names, so that weights of a classifier start it, and
freezing and layer-wise decay work as for the backbone; ``decode_head`` and ``auxiliary_head`` are beside them.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
from flax.typing import Dtype

from vitax.models import nat, swin, vit
from vitax.models.heads import FCN, HEADS
from vitax.models.heads.layers import resized
from vitax.models.nat import NAT
from vitax.models.swin import Swin
from vitax.models.vit import ViT
from vitax.nn.blocks import LayerNorm
from vitax.nn.convolution import Conv
from vitax.nn.dense import Dense
from vitax.nn.patches import in_whole_patches
from vitax.nn.positions import PositionScheme
from vitax.nn.relative import RelativeBias

# The sizes with which the papers report on ADE20K.
SWIN_SIZES = {size: swin.SIZES[size] for size in ("T", "S", "B")}
NAT_SIZES = {size: nat.SIZES[size] for size in ("Mini", "Tiny", "Small", "Base")}
SIMPLE_WIDTH = 256  # channels of the simple pyramid
VIT_SIZES = {"B": vit.SIZES["B"], "L": vit.SIZES["L"] | dict(head_width=1024)}


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


class NATSegmenter(Segmenter, NAT):
    """NAT or DiNAT with a segmentation head; the defaults are UPerNet with NAT-Mini."""


class ViTSegmenter(Segmenter, ViT):
    """ViT with a segmentation head; the defaults are UPerNet with ViT-B/16, as BEiT and MAE were measured.

    The maps are those of four blocks, at strides of a quarter to twice the patches, as in the segmentation code of BEiT (Bao et al.
    2021, arXiv:2106.08254). The linear head reads the normalised patches after the last block only.

    Attributes:
        head_width: number of channels of the head.
        pyramid_blocks: numbers of the blocks, from 0, whose tokens become the maps, the finest first; () = those at a third, a
            half, two thirds and the end.
        simple_pyramid: all maps come from the last block, with SIMPLE_WIDTH channels, as in ViTDet (Li et al. 2022,
            arXiv:2203.16527, section 3).
        relative_bias: each block has a `RelativeBias` beside the positions of the model, which is zero at the start, as where
            an MAE is fine-tuned (He et al. 2021, arXiv:2111.06377, appendix A.4).
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes, which are padded with zeros to whole patches.
    """

    image_size: tuple[int, int] = (512, 512)
    head_width: int = 768
    pyramid_blocks: tuple[int, ...] = ()
    simple_pyramid: bool = False
    relative_bias: bool = False

    def features(self, images: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The maps of four blocks, or of the last one, {stride in pixels: [B, ceil(H/stride), ceil(W/stride), D]}.

        The coarsest one leaves out a last odd row or column of patches. With the linear head, the normalised map after the last block, {P: ...}.
        """
        if self.simple_pyramid and (self.pyramid_blocks or self.head == "linear"):
            raise ValueError(
                "simple_pyramid makes all maps from the last block: it cannot be combined with pyramid_blocks or the linear head"
            )
        if self.head == "linear":  # DINO's protocol: the features of one scale, as the model gives them
            return self.last_map(images, train)
        p, depth = self.patch_size, self.depth
        images = in_whole_patches(images, p)
        b, grid = images.shape[0], (images.shape[1] // p, images.shape[2] // p)
        last = (depth - 1,) * 4 if self.simple_pyramid else ()
        taken = self.pyramid_blocks or last or (depth // 3 - 1, depth // 2 - 1, 2 * depth // 3 - 1, depth - 1)
        if len(taken) != 4 or not 0 <= min(taken) <= max(taken) < depth or p % 4:
            raise ValueError(
                f"pyramid_blocks={taken} must be four blocks in 0..{depth - 1}, and patch_size={p} a multiple of four"
            )
        _, seen = self._blocks(images, train, taken=tuple(sorted(set(taken))))
        by_block = dict(zip(sorted(set(taken)), seen, strict=True))
        maps = [by_block[i][:, self.prefix :].reshape(b, *grid, -1) for i in taken]
        pyramid = self._simple(maps[-1]) if self.simple_pyramid else self._deconvolved(maps, train)
        return dict(zip((p // 4, p // 2, p, 2 * p), pyramid, strict=True))

    def _deconvolved(self, maps: Sequence[jax.Array], train: bool) -> list[jax.Array]:
        """Four maps [B, h, w, D]: the first four times as large, the second twice, the third unchanged, the last halved."""
        d = maps[0].shape[-1]
        fine = doubled(maps[0], d, self.dtype, "deconvolution0")
        fine = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="deconvolution_norm")(fine)
        fine = doubled(nn.gelu(fine, approximate=False), d, self.dtype, "deconvolution1")
        return [fine, doubled(maps[1], d, self.dtype, "deconvolution2"), maps[2], halved(maps[3])]

    def _simple(self, x: jax.Array) -> list[jax.Array]:
        """The same four sizes from one map [B, h, w, D], each with two convolutions and norms, to SIMPLE_WIDTH channels."""
        d = x.shape[-1]
        fine = LayerNorm(dtype=self.dtype, name="deconvolution_norm")(doubled(x, d // 2, self.dtype, "deconvolution0"))
        fine = doubled(nn.gelu(fine, approximate=False), d // 4, self.dtype, "deconvolution1")
        maps = [fine, doubled(x, d // 2, self.dtype, "deconvolution2"), x, halved(x)]
        for k, side in enumerate((1, 3)):
            for i, y in enumerate(maps):
                conv = Conv(SIMPLE_WIDTH, (side, side), use_bias=False, dtype=self.dtype, name=f"pyramid{i}_conv{k}")
                maps[i] = LayerNorm(dtype=self.dtype, name=f"pyramid{i}_norm{k}")(conv(y))
        return maps

    def scheme(self, grid: tuple[int, int], prefix: int) -> PositionScheme:
        """The positions of a grid of patches after ``prefix`` tokens, with the relative ones, if there are any."""
        positions = super().scheme(grid, prefix)
        if not self.relative_bias:
            return positions
        if self.positions_at != "input":
            raise ValueError(f"relative_bias is for positions_at='input', and not for {self.positions_at!r}")
        table = (self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size)
        make = functools.partial(RelativeBias, table, self.num_heads, prefix, nn.initializers.zeros)
        return positions._replace(biases=[make(name=f"pos_embed{i}")(grid)[None] for i in range(self.depth)])


def doubled(x: jax.Array, width: int, dtype: Dtype, name: str) -> jax.Array:
    """A map [B, H, W, D] at twice its sides: each vector becomes 2x2 of a width, as by a transposed convolution with a stride of 2."""
    b, height, columns, _ = x.shape
    x = Dense(4 * width, dtype=dtype, name=name)(x).reshape(b, height, columns, 2, 2, width)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * height, 2 * columns, width)


def halved(x: jax.Array) -> jax.Array:
    """The maxima of 2x2 vectors of a map: [B, H, W, D] to [B, H // 2, W // 2, D]."""
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


def gives_maps(model: nn.Module) -> bool:
    """Whether a model norms the map of every stage: a segmenter, or a backbone with ``pyramid``."""
    return isinstance(model, Segmenter) or bool(getattr(model, "pyramid", False))
