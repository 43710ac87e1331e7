"""CLIP: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020.

An image tower (`ViT` or `ModifiedResNet`) and a text tower (transformer or bag of words) map into one space. The loss
is in `vitax.losses`.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax.models.modified_resnet import ModifiedResNet
from vitax.models.vit import ViT
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.dense import Dense, unit_length


def _resnet(out_width, depths, width, text_width, text_heads):
    return dict(
        image_tower="resnet",
        out_width=out_width,
        image_depths=depths,
        image_width=width,
        image_heads=width // 2,
        text_width=text_width,
        text_heads=text_heads,
    )


_B = dict(image_width=768, image_depth=12, image_heads=12, image_mlp_width=3072)
_L = dict(image_width=1024, image_depth=24, image_heads=16, image_mlp_width=4096, text_width=768, text_heads=12)
_LAION = dict(out_width=1024, text_width=1024, text_heads=16, text_depth=24, activation="gelu")

# Tables 19 and 20 of the paper; native image sizes: 224, RN50x4 288, RN50x16 384, RN50x64 448, L/14-336 336.
# H/14 and g/14: open_clip (Cherti et al. 2022, arXiv:2212.07143).
SIZES = {
    "RN50": _resnet(1024, (3, 4, 6, 3), 64, 512, 8),
    "RN101": _resnet(512, (3, 4, 23, 3), 64, 512, 8),
    "RN50x4": _resnet(640, (4, 6, 10, 6), 80, 640, 10),
    "RN50x16": _resnet(768, (6, 8, 18, 8), 96, 768, 12),
    "RN50x64": _resnet(1024, (3, 15, 36, 10), 128, 1024, 16),
    "B/32": _B | dict(patch_size=32),
    "B/16": _B | dict(patch_size=16),
    "L/14": _L | dict(patch_size=14, out_width=768),
    "L/14-336": _L | dict(patch_size=14, out_width=768),
    "H/14": _LAION | dict(patch_size=14, image_width=1280, image_depth=32, image_heads=16, image_mlp_width=5120),
    "g/14": _LAION | dict(patch_size=14, image_width=1408, image_depth=40, image_heads=16, image_mlp_width=6144),
}


class Embeddings(NamedTuple):
    """Embeddings of images and texts, and the scale and bias of their products.

    Attributes:
        image: [B, E] float32, each of length 1.
        text: [B, E] float32, each of length 1.
        scale: [] float32, factor of the products.
        bias: [] float32, added to the scaled products; 0 unless the model has a ``logit_bias``.
    """

    image: jax.Array
    text: jax.Array
    scale: jax.Array
    bias: jax.Array


def end_position(tokens: jax.Array, end_token: int) -> jax.Array:
    """Position [B] of the first ``end_token`` in tokens [B, L]; if it is negative, of the largest id (OpenAI)."""
    return jnp.argmax(tokens == end_token if end_token >= 0 else tokens, axis=-1)


class TextTransformer(nn.Module):
    """Causal transformer, read at the end token (section 2.4).

    Attributes:
        out_width: width E of the embedding.
        vocab_size: size of the vocabulary.
        context_length: greatest length L of a text, in tokens.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        end_token: id at which a text is read; negative = the largest id of the text (OpenAI).
        dtype: dtype of the computation; parameters, softmax and norm statistics are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    out_width: int
    vocab_size: int
    context_length: int
    width: int
    depth: int
    num_heads: int
    activation: str
    norm_epsilon: float
    end_token: int
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:  # [B, L] -> [B, E]
        length, d = tokens.shape[1], self.width
        if length > self.context_length:
            raise ValueError(f"texts of {length} tokens exceed context_length {self.context_length}")
        normal = nn.initializers.normal
        x = nn.Embed(self.vocab_size, d, embedding_init=normal(0.02), dtype=self.dtype, name="word_embed")(tokens)
        positions = self.param("pos_embed", normal(0.01), (self.context_length, d))
        x = x + positions[:length].astype(x.dtype)[None]
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=4 * d,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                causal=True,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train)
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        self.sow("intermediates", "tokens", x)
        end = end_position(tokens, self.end_token)[:, None, None]
        x = jnp.take_along_axis(x, end, axis=1)[:, 0]
        return _projection(self.out_width, d, self.dtype)(x)


class BagOfWords(nn.Module):
    """Mean of the word vectors of a text (CBOW), then a linear map; id 0 is padding (section 2.3, figure 3).

    Attributes:
        out_width: width E of the embedding.
        vocab_size: size of the vocabulary.
        width: width of the word vectors.
        dtype: dtype of the computation; parameters are float32.
    """

    out_width: int
    vocab_size: int
    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:  # [B, L] -> [B, E]
        init = nn.initializers.normal(0.02)
        x = nn.Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype, name="word_embed")(tokens)
        is_word = (tokens != 0).astype(x.dtype)[:, :, None]
        x = (x * is_word).sum(axis=1) / jnp.maximum(is_word.sum(axis=1), 1)
        return _projection(self.out_width, self.width, self.dtype)(x)


def _projection(out_width: int, width: int, dtype: Dtype) -> Dense:
    init = nn.initializers.normal(width**-0.5)
    return Dense(out_width, use_bias=False, dtype=dtype, kernel_init=init, name="projection")


class CLIP(nn.Module):
    """Image tower and text tower that map into one space; the defaults are ViT-B/32.

    Attributes:
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes.
        out_width: width E of the common space.
        image_tower: "vit", as in CLIP; "resnet"; or "plain_vit", a `ViT` as it is trained for classification, whose
            features are the embedding, so that ``out_width`` is its width (LiT, Zhai et al. 2021, arXiv:2111.07991).
        patch_size: side P of a patch of the ViT, in pixels.
        image_width: width of the ViT's tokens, or of the ResNet after its stem.
        image_depth: number of blocks of the ViT.
        image_depths: number of bottlenecks of each stage of the ResNet.
        image_heads: attention heads of the ViT, or of the ResNet's pooling.
        image_mlp_width: hidden width of the ViT's MLPs.
        image_pooling: pooling of the plain ViT, "token" or "mean"; with "mean" it has no class token.
        text_tower: "transformer" or "bag_of_words".
        vocab_size: size of the vocabulary of the texts.
        context_length: greatest length of a text for the text transformer, in tokens.
        text_width: width of the text transformer, or of the word vectors of the bag of words.
        text_depth: number of blocks of the text transformer.
        text_heads: attention heads of the text transformer.
        end_token: id at which the text transformer reads a text; -1 = the largest id of the text (OpenAI).
        activation: activation of the text transformer and of the tower "vit"; "gelu" for models of open_clip without
            quickgelu in their names. The tower "plain_vit" has "gelu", and the ResNet has ReLU.
        norm_epsilon: epsilon of the layer norms of the text transformer and of the tower "vit"; "plain_vit" has 1e-6.
        text_activation: activation of the text transformer, if it differs; "" = ``activation``.
        text_norm_epsilon: epsilon of the text transformer, if it differs; 0 = ``norm_epsilon``.
        antialias: positions are interpolated with antialiasing; False = as in Hugging Face.
        scale_init: initial factor of the products of image and text embeddings.
        logit_bias: a learned number, initially -10, is added to the products, for the sigmoid loss (arXiv:2303.15343).
        dtype: dtype of the computation; parameters, softmax, norm statistics and embeddings are float32.
        remat: recompute each block of the transformers in the backward pass, which saves memory and costs time.
    """

    image_size: tuple[int, int] = (224, 224)
    out_width: int = 512
    image_tower: str = "vit"
    patch_size: int = 32
    image_width: int = 768
    image_depth: int = 12
    image_depths: tuple[int, ...] = (3, 4, 6, 3)
    image_heads: int = 12
    image_mlp_width: int = 3072
    image_pooling: str = "token"
    text_tower: str = "transformer"
    vocab_size: int = 49408
    context_length: int = 77
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    end_token: int = -1
    activation: str = "quick_gelu"
    norm_epsilon: float = 1e-5
    text_activation: str = ""
    text_norm_epsilon: float = 0.0
    antialias: bool = True
    scale_init: float = 1 / 0.07
    logit_bias: bool = False
    dtype: Dtype = jnp.float32
    remat: bool = False

    def image_vit(self) -> ViT:
        """The image tower, where it is a ViT."""
        vit = dict(
            num_classes=0,
            image_size=self.image_size,
            patch_size=self.patch_size,
            width=self.image_width,
            depth=self.image_depth,
            num_heads=self.image_heads,
            mlp_width=self.image_mlp_width,
            antialias=self.antialias,
            dtype=self.dtype,
            remat=self.remat,
        )
        if self.image_tower == "plain_vit":
            return ViT(pooling=self.image_pooling, class_token=self.image_pooling == "token", parent=None, **vit)
        own = dict(patch_bias=False, norm_first_tokens=True, activation=self.activation, norm_epsilon=self.norm_epsilon)
        return ViT(parent=None, **own, **vit)

    def setup(self):
        if self.image_tower == "vit":
            self.image = self.image_vit()
            init = nn.initializers.normal(self.image_width**-0.5)
            self.image_projection = Dense(self.out_width, use_bias=False, dtype=self.dtype, kernel_init=init)
        elif self.image_tower == "plain_vit":
            if self.out_width != self.image_width:
                raise ValueError(f"out_width {self.out_width} must equal image_width {self.image_width} for plain_vit")
            self.image = self.image_vit()
        elif self.image_tower == "resnet":
            self.image = ModifiedResNet(
                out_width=self.out_width,
                image_size=self.image_size,
                width=self.image_width,
                depths=self.image_depths,
                num_heads=self.image_heads,
                dtype=self.dtype,
            )
        else:
            raise ValueError(f"image_tower {self.image_tower!r} is unknown; choose 'vit', 'plain_vit' or 'resnet'")
        if self.text_tower == "transformer":
            self.text = TextTransformer(
                out_width=self.out_width,
                vocab_size=self.vocab_size,
                context_length=self.context_length,
                width=self.text_width,
                depth=self.text_depth,
                num_heads=self.text_heads,
                activation=self.text_activation or self.activation,
                norm_epsilon=self.text_norm_epsilon or self.norm_epsilon,
                end_token=self.end_token,
                dtype=self.dtype,
                remat=self.remat,
            )
        elif self.text_tower == "bag_of_words":
            self.text = BagOfWords(self.out_width, self.vocab_size, self.text_width, self.dtype)
        else:
            raise ValueError(f"text_tower {self.text_tower!r} is unknown; choose 'transformer' or 'bag_of_words'")
        constant = nn.initializers.constant
        self.log_scale = self.param("logit_scale", constant(math.log(self.scale_init)), ())
        self.bias = self.param("logit_bias", constant(-10.0), ()) if self.logit_bias else 0.0

    def encode_image(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps normalised images [B, H, W, C] to embeddings [B, E] float32, not scaled to length 1."""
        x = self.image(images, train=train)
        if self.image_tower == "vit":
            x = self.image_projection(x)
        return x.astype(jnp.float32)

    def encode_text(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Maps token ids [B, L] to embeddings [B, E] float32, not scaled to length 1."""
        return self.text(tokens, train).astype(jnp.float32)

    def __call__(self, images: jax.Array, tokens: jax.Array, *, train: bool = False) -> Embeddings:
        image, text = self.encode_image(images, train), self.encode_text(tokens, train)
        scale, bias = jnp.exp(self.log_scale), jnp.asarray(self.bias, jnp.float32)
        return Embeddings(unit_length(image), unit_length(text), scale, bias)
