"""FNet: Lee-Thorp et al., "FNet: Mixing Tokens with Fourier Transforms", 2021, arXiv:2105.03824.

Equivalent to the official code: the transform is not normalised and covers padding too, and no dropout follows it.
Hybrids have attention in their last blocks (the paper's "top" layout). The paper's other encoders differ in the mixing only:
two learned matrices (Linear), two fixed random ones (Random), or none (FF-only).

Taken twice, the real part of the transform gives each token back, plus the token at the mirrored place with its channels in
reverse order; taken once, it gives frequencies. So what attention, or the head, finds at a place depends on whether the number
of transforms before it is even.
"""

import functools
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax import masking
from vitax.masking import TextMask
from vitax.mesh import constrain_batch
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.dense import Dense
from vitax.nn.dropout import Dropout
from vitax.nn.mixing import MatrixMixing, fourier
from vitax.nn.mlp import MLP
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import Positions
from vitax.nn.text import TextEmbed, TextHeads

MIXINGS = ("fourier", "linear", "random", "none")
SIZES: dict[str, dict[str, Any]] = {
    "base": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
    "large": dict(width=1024, depth=24, num_heads=16, mlp_width=4096),
    "hybrid-base": dict(width=768, depth=12, num_heads=12, mlp_width=3072, attention_depth=2),
    "hybrid-large": dict(width=1024, depth=24, num_heads=16, mlp_width=4096, attention_depth=2),
}
SIZES |= {f"linear-{name}": SIZES[name] | dict(mixing="linear") for name in ("base", "large")}
IMAGE_SIZES = {"S": dict(width=384, depth=12, mlp_width=1536), "B": dict(width=768, depth=12, mlp_width=3072)}


class FourierBlock(nn.Module):
    """Mixing of the tokens, then MLP, each with a residual connection that is normalised afterwards (post-norm).

    Attributes:
        mlp_width: hidden width of the MLP.
        mixing: one of MIXINGS: "fourier", see `vitax.nn.mixing.fourier`; "linear", by two learned matrices; "random", by two fixed ones, both
            see `vitax.nn.mixing.MatrixMixing`; "none", in which case the branch is its input.
        length: greatest number of tokens, for matrices.
        number: number of the block, for random matrices.
        fourier: "fft" or "matmul", see `vitax.nn.mixing.fourier`.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the MLP.
        dtype: dtype of the computation; parameters and the Fourier transform are float32.
    """

    mlp_width: int
    mixing: str = "fourier"
    length: int = 0
    number: int = 0
    fourier: str = "fft"
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, N, D]
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        if self.mixing == "fourier":
            mixed = fourier(x, self.fourier).astype(x.dtype)
        elif self.mixing in ("linear", "random"):
            fixed = self.number if self.mixing == "random" else None
            mixed = MatrixMixing(self.length, fixed, self.dtype, name="mixing")(x).astype(x.dtype)
        elif self.mixing == "none":
            mixed = x
        else:
            raise ValueError(f"mixing {self.mixing!r} is unknown; choose one of {', '.join(MIXINGS)}")
        x = constrain_batch(norm(name="norm1")(x + mixed))
        h = MLP(self.mlp_width, self.activation, dtype=self.dtype, name="mlp")(x, train)
        h = Dropout(self.dropout, deterministic=not train)(h)
        return constrain_batch(norm(name="norm2")(x + h))


class FNet(nn.Module):
    """Encoder of texts; the defaults are FNet-base.

    Attributes:
        num_classes: number K of classes, for heads "classes".
        heads: "pretraining" (masked words and next sentence), "masked_words", "classes" or "none".
        vocab_size: size V of the vocabulary.
        max_length: greatest length L of a text, in tokens.
        num_segments: number of segment ids.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of the blocks that have attention.
        mlp_width: hidden width of the MLPs.
        attention_depth: number of the last blocks that have attention in place of mixing.
        mixing: "fourier", "linear", "random" or "none", see `FourierBlock`.
        fourier: "fft" or "matmul", see `vitax.nn.mixing.fourier`.
        activation: activation of the MLPs and of the masked-word head, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after embeddings and MLP, and before the classes; in attention blocks also after
            attention.
        dtype: dtype of the computation; parameters, Fourier transforms, softmax, norm statistics and logits are
            float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 2
    heads: str = "pretraining"
    vocab_size: int = 32000
    max_length: int = 512
    num_segments: int = 4
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    attention_depth: int = 0
    mixing: str = "fourier"
    fourier: str = "fft"
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    dtype: Dtype = jnp.float32
    remat: bool = False

    mixes_padding: ClassVar[bool] = True  # mixing has no mask

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        segments: jax.Array | None = None,
        mask: TextMask = None,
        places: jax.Array | None = None,
        train: bool = False,
    ) -> dict[str, jax.Array]:
        """Maps token ids to hidden states and the outputs of the heads, as `vitax.models.bert.BERT` does.

        Args:
            tokens: [B, L] int; all texts must be padded to one length, because mixing includes padding.
            segments: [B, L] int, the text to which each token belongs; None = all 0.
            mask: [B, L] bool, True = token, False = padding, or `Lengths`; only attention blocks use it.
            places: [B, M] int, positions of the words to predict; None = all positions.
            train: True = dropout is active.
        """
        embed = TextEmbed(
            vocab_size=self.vocab_size,
            width=self.width,
            max_length=self.max_length,
            num_segments=self.num_segments,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            projection=True,
            dtype=self.dtype,
            name="embed",
        )
        x = constrain_batch(embed(tokens, segments, train))
        self.sow("intermediates", "embedded", x)
        masking.check_whole(mask, "FNet")
        visible = masking.of_keys(mask)
        shared = dict(
            mlp_width=self.mlp_width,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        fourier_block, block = FourierBlock, Block
        if self.remat:
            fourier_block, block = (nn.remat(b, static_argnums=(2,)) for b in (FourierBlock, Block))
        for i in range(self.depth):
            if i < self.depth - self.attention_depth:
                mixing = dict(mixing=self.mixing, fourier=self.fourier, length=self.max_length, number=i)
                x = fourier_block(**mixing, name=f"block{i}", **shared)(x, train)
            else:
                attention = block(num_heads=self.num_heads, norm_first=False, name=f"block{i}", **shared)
                x = attention(x, train, mask=visible)
        heads = TextHeads(
            kind=self.heads,
            num_classes=self.num_classes,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
            name="heads",
        )
        return heads(x, embed.word, places, train)


class FNetImage(nn.Module):
    """Image classifier of the same blocks: patches with learned positions, mixing, mean of the tokens.

    Attributes:
        num_classes: number K of classes; 0 = no head: the mean of the tokens is returned.
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        depth: number of blocks.
        mlp_width: hidden width of the MLPs.
        mixing: "fourier", "linear", "random" or "none", see `FourierBlock`; matrices are made for ``image_size``.
        fourier: "fft" or "matmul", see `vitax.nn.mixing.fourier`.
        activation: activation of the MLPs, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the MLPs.
        dtype: dtype of the computation; parameters, Fourier transforms, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    mlp_width: int = 3072
    mixing: str = "fourier"
    fourier: str = "fft"
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps normalised images [B, H, W, C] to float32 logits [B, K] (or features [B, D]).

        Args:
            train: True = dropout is active.
        """
        x = PatchEmbed(self.patch_size, self.width, dtype=self.dtype, name="patch_embed")(images)
        b, *grid, d = x.shape
        table = tuple(side // self.patch_size for side in self.image_size)
        length = math.prod(table)
        if self.mixing in ("linear", "random") and tuple(grid) != table:
            raise ValueError(f"mixing {self.mixing!r} is for images of {self.image_size}; these have {grid} patches")
        positions = Positions("learned_1d", table, d, name="pos_embed")(tuple(grid))
        x = constrain_batch(x.reshape(b, -1, d) + positions.astype(x.dtype)[None])
        # Tokens are normalised before the first transform too, because it multiplies magnitudes by sqrt(N * D).
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        block = nn.remat(FourierBlock, static_argnums=(2,)) if self.remat else FourierBlock
        for i in range(self.depth):
            x = block(
                mlp_width=self.mlp_width,
                mixing=self.mixing,
                length=length,
                number=i,
                fourier=self.fourier,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train)
        self.sow("intermediates", "tokens", x)
        x = x.mean(axis=1).astype(jnp.float32)
        if not self.num_classes:
            return x
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)
