"""FNet: Lee-Thorp et al., "FNet: Mixing Tokens with Fourier Transforms", 2021, arXiv:2105.03824.

Equivalent to the official code: the transform is not normalised and covers padding too, and no dropout follows it.
Hybrids have attention in their last blocks (the paper's "top" layout).
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax import masking
from vitax.masking import TextMask
from vitax.mesh import constrain_batch, on_each_device
from vitax.nn.blocks import Block, LayerNorm
from vitax.nn.dense import Dense
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.patches import PatchEmbed
from vitax.nn.positions import Positions
from vitax.nn.text import TextEmbed, TextHeads

SIZES = {
    "base": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
    "large": dict(width=1024, depth=24, num_heads=16, mlp_width=4096),
    "hybrid-base": dict(width=768, depth=12, num_heads=12, mlp_width=3072, attention_depth=2),
    "hybrid-large": dict(width=1024, depth=24, num_heads=16, mlp_width=4096, attention_depth=2),
}
IMAGE_SIZES = {"S": dict(width=384, depth=12, mlp_width=1536), "B": dict(width=768, depth=12, mlp_width=3072)}


def fourier(x: jax.Array, method: str = "fft") -> jax.Array:
    """Real part of the discrete Fourier transform over tokens and channels (equation 3), in float32.

    Args:
        x: [B, N, D].
        method: "fft", or "matmul", which computes the same numbers by products with matrices of cosines and sines, one
            axis after the other.

    Raises:
        ValueError: ``method`` is unknown.
    """
    x = x.astype(jnp.float32)
    if method == "fft":
        return on_each_device(lambda rows: jnp.fft.fft2(rows, axes=(1, 2)).real, x)
    if method != "matmul":
        raise ValueError(f"fourier {method!r} is unknown; choose 'fft' or 'matmul'")

    def matrices(n: int) -> tuple[np.ndarray, np.ndarray]:
        # The product is taken modulo n, because the angle would lose digits otherwise.
        angle = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
        return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    (cos_n, sin_n), (cos_d, sin_d) = matrices(x.shape[1]), matrices(x.shape[2])
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    cosines = product("nm,bmd->bnd", cos_n, product("bmd,de->bme", x, cos_d))
    return cosines - product("nm,bmd->bnd", sin_n, product("bmd,de->bme", x, sin_d))


class FourierBlock(nn.Module):
    """Fourier mixing, then MLP, each with a residual connection that is normalised afterwards (post-norm).

    Attributes:
        mlp_width: hidden width of the MLP.
        fourier: "fft" or "matmul", see `fourier`.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after the MLP.
        dtype: dtype of the computation; parameters and the Fourier transform are float32.
    """

    mlp_width: int
    fourier: str = "fft"
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, N, D]
        norm = functools.partial(LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        mixed = fourier(x, self.fourier).astype(x.dtype)
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
        attention_depth: number of the last blocks that have attention in place of Fourier mixing.
        fourier: "fft" or "matmul", see `fourier`.
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
    fourier: str = "fft"
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    dtype: Dtype = jnp.float32
    remat: bool = False

    mixes_padding: ClassVar[bool] = True  # Fourier mixing has no mask

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
            tokens: [B, L] int; all texts must be padded to one length, because Fourier mixing includes padding.
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
                x = fourier_block(fourier=self.fourier, name=f"block{i}", **shared)(x, train)
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
    """Image classifier of the same blocks: patches with learned positions, Fourier mixing, mean of the tokens.

    Attributes:
        num_classes: number K of classes; 0 = no head: the mean of the tokens is returned.
        image_size: (height, width) in pixels for which the position table is made; positions are interpolated for other
            sizes.
        patch_size: side P of a patch in pixels.
        width: width D of the tokens.
        depth: number of blocks.
        mlp_width: hidden width of the MLPs.
        fourier: "fft" or "matmul", see `fourier`.
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
        positions = Positions("learned_1d", table, d, name="pos_embed")(tuple(grid))
        x = constrain_batch(x.reshape(b, -1, d) + positions.astype(x.dtype)[None])
        # Tokens are normalised before the first transform too, because it multiplies magnitudes by sqrt(N * D).
        x = LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        block = nn.remat(FourierBlock, static_argnums=(2,)) if self.remat else FourierBlock
        for i in range(self.depth):
            x = block(
                mlp_width=self.mlp_width,
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
