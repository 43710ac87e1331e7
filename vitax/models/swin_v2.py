"""Swin Transformer V2: Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", 2021, arXiv:2111.09883.

What differs from Swin: the norms come after the branches, attention compares queries and keys by their cosine, and a
small network computes the bias of an offset from its logarithm, so that a window may have another size than it had in
pre-training.

Deliberate differences from the paper and the official code:

- tokens of other regions get -100, as in the official code and timm; transformers adds it twice;
- images of any size are accepted: a map that the window does not divide is padded, then shifted, as in Hugging Face
  (``timm_windows``: shifted, then padded); the official code refuses such maps;
- initialisation: Xavier for every matrix, zero biases, a zero head; the norms after the branches begin at zero, as in
  the official code.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from vitax.mesh import constrain_batch
from vitax.models.swin import Swin, joined
from vitax.nn.attention import SelfAttention
from vitax.nn.blocks import DropPath, LayerNorm
from vitax.nn.dense import Dense
from vitax.nn.dropout import Dropout
from vitax.nn.mlp import MLP
from vitax.nn.relative import of_pairs
from vitax.nn.windows import Pair, in_windows

# Section 3.5 of the paper and the official configuration files.
SIZES = {
    "T": dict(width=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    "S": dict(width=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    "B": dict(width=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "L": dict(width=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
}


class ContinuousBias(nn.Module):
    """A number for each head and each offset in a window, computed by a small MLP: section 3.3 of the paper.

    Offsets are divided by the largest one of the window of pre-training, and their logarithms enter the MLP.

    Attributes:
        window: rows h and columns w.
        num_heads: number A of attention heads.
        trained_window: rows and columns of the windows in pre-training; (0, 0) = ``window``.
    """

    window: Pair
    num_heads: int
    trained_window: Pair = (0, 0)

    @nn.compact
    def __call__(self) -> jax.Array:
        """Biases [A, h * w, h * w] float32, between 0 and 16."""
        before = self.trained_window if any(self.trained_window) else self.window
        sides = [np.arange(1 - n, n) / max(m - 1, 1) for n, m in zip(self.window, before, strict=True)]
        offsets = 8 * np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)  # [2h-1, 2w-1, 2]
        offsets = np.sign(offsets) * np.log2(1 + np.abs(offsets)) / np.log2(8)
        dense = functools.partial(Dense, kernel_init=nn.initializers.xavier_uniform())
        hidden = jax.nn.relu(dense(512, name="dense1")(jnp.asarray(offsets, jnp.float32)))
        table = 16 * jax.nn.sigmoid(dense(self.num_heads, use_bias=False, name="dense2")(hidden))
        return of_pairs(table, self.window)


class PatchMerging(nn.Module):
    """Joins 2x2 tokens into one of twice the width, then normalises; odd maps are padded with zeros below and to the right.

    Attributes:
        norm_epsilon: epsilon of the layer norm.
        dtype: dtype of the computation; parameters are float32.
    """

    norm_epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, D] -> [B, H/2, W/2, 2D]
        x = joined(x)
        width, xavier = x.shape[-1] // 2, nn.initializers.xavier_uniform()
        x = Dense(width, use_bias=False, dtype=self.dtype, kernel_init=xavier, name="reduction")(x)
        return LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)


class WindowBlockV2(nn.Module):
    """Cosine attention inside windows, then MLP, each followed by a norm: figure 1 of the paper.

    Attributes:
        num_heads: number of attention heads.
        window: (height, width) of the windows.
        shift: rows and columns by which the map is rolled; (0, 0) = not shifted.
        mlp_width: hidden width of the MLP.
        trained_window: rows and columns of the windows in pre-training, see `ContinuousBias`.
        pad_first: see `vitax.nn.windows.in_windows`.
        qkv_bias: biases in the query and value projections; keys have none.
        relative_bias: `ContinuousBias` is added to the scores.
        activation: activation of the MLP, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate at the end of each branch, before its norm, and after the activation of the MLP.
        drop_path: rate at which a whole branch is dropped.
        dtype: dtype of the computation; parameters are float32.
    """

    num_heads: int
    window: Pair
    shift: Pair
    mlp_width: int
    trained_window: Pair = (0, 0)
    pad_first: bool = True
    qkv_bias: bool = True
    relative_bias: bool = True
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:  # [B, H, W, D]
        # A branch begins with no effect, whatever its scale would be.
        norm = functools.partial(
            LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype, scale_init=nn.initializers.zeros
        )
        mlp = MLP(self.mlp_width, self.activation, self.dropout, self.dtype, name="mlp")

        def residual(x, branch, name):
            branch = norm(name=name)(Dropout(self.dropout, deterministic=not train)(branch))
            return constrain_batch(x + DropPath(self.drop_path)(branch, train))

        x = residual(x, self._attend(x, train), "norm1")
        return residual(x, mlp(x, train), "norm2")

    def _attend(self, x: jax.Array, train: bool) -> jax.Array:
        bias = None
        if self.relative_bias:
            bias = ContinuousBias(self.window, self.num_heads, self.trained_window, name="positions")()[None, None]
        attention = SelfAttention(
            self.num_heads, self.qkv_bias, dtype=self.dtype, key_bias=False, cosine=True, name="attention"
        )

        def attend(windows: jax.Array, mask: np.ndarray | None) -> jax.Array:
            # Scores lie between -100 and 116, so that the -100 of the official code does not exclude a token for certain.
            barred = None if mask is None else jnp.asarray(np.where(mask, np.float32(0), np.float32(-100)))
            both = bias if barred is None else barred if bias is None else bias + barred
            return attention(windows, train, bias=both)

        return in_windows(x, self.window, self.shift, self.pad_first, attend)


class SwinV2(Swin):
    """Image classifier, or backbone for dense tasks; the defaults are SwinV2-T for 256x256.

    Fields that are not listed are those of `vitax.models.swin.Swin`.

    Attributes:
        image_size: (height, width) in pixels; a window that is larger than the map of a stage shrinks to the map.
        window: side of the windows, in tokens.
        timm_windows: a map is shifted before it is padded, and a window shrinks, and loses its shift, on each axis by
            itself, as in timm.
        relative_bias: False = no continuous relative positions.
        qkv_bias: biases in the query and value projections; keys have none.
        trained_windows: rows and columns of the windows of each stage in pre-training, for a model that has other
            windows; (0, 0), or () for all stages = the same.
    """

    image_size: tuple[int, int] = (256, 256)
    window: int = 8
    trained_windows: tuple[tuple[int, int], ...] = ()

    block = WindowBlockV2
    merging = PatchMerging

    def block_fields(self, stage: int) -> dict[str, Any]:
        """The window of pre-training of a stage."""
        if self.trained_windows and len(self.trained_windows) != len(self.depths):
            raise ValueError(f"trained_windows {self.trained_windows} and depths {self.depths} differ in length")
        return dict(trained_window=self.trained_windows[stage] if self.trained_windows else (0, 0))

    def _window(self, stage: int, grid: Pair, odd: bool) -> tuple[Pair, Pair]:
        """Window and shift of a block, which the image size of the model determines."""
        return super()._window(stage, self._map_of(stage), odd)

    def windows_of_training(self) -> tuple[Pair, ...]:
        """Windows of each stage in pre-training, whether it was in this model or in another one."""
        given = self.trained_windows or ((0, 0),) * len(self.depths)
        return tuple(before if any(before) else self.window_of(stage) for stage, before in enumerate(given))


def as_trained(model: nn.Module) -> nn.Module:
    """A Swin V2 that keeps its continuous positions when it gets other windows; any other model unchanged."""
    return model.clone(trained_windows=model.windows_of_training()) if isinstance(model, SwinV2) else model
