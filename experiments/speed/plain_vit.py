"""ViT-B/16 as JAX codebases usually write it, with nothing but Flax's own layers: the JAX peer of `compare.py`."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class PlainViT(nn.Module):
    """Classifier of images: [B, 224, 224, 3] to [B, 1000].

    Attributes:
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        dtype: dtype of the computation.
    """

    width: int = 768
    depth: int = 12
    num_heads: int = 12
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(self.width, (16, 16), (16, 16), padding="VALID", dtype=self.dtype, name="patches")(images)
        x = x.reshape(len(x), -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)).astype(x.dtype), x], axis=1)
        positions = self.param("positions", nn.initializers.normal(0.02), (1, 197, self.width))
        x = x + positions.astype(x.dtype)
        for i in range(self.depth):
            y = nn.LayerNorm(dtype=self.dtype, name=f"norm1_{i}")(x)
            x = x + nn.MultiHeadDotProductAttention(self.num_heads, dtype=self.dtype, name=f"attention_{i}")(y)
            y = nn.LayerNorm(dtype=self.dtype, name=f"norm2_{i}")(x)
            y = nn.gelu(nn.Dense(4 * self.width, dtype=self.dtype, name=f"dense1_{i}")(y), approximate=False)
            x = x + nn.Dense(self.width, dtype=self.dtype, name=f"dense2_{i}")(y)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        return nn.Dense(1000, name="head")(x[:, 0].astype(jnp.float32))


def plain_variables(variables: Any, heads: int) -> Any:
    """Our parameters under the names of `PlainViT`."""
    ours = variables["params"]
    width = ours["norm"]["scale"].shape[0]
    positions = jnp.concatenate([ours["pos_embed"]["prefix"], ours["pos_embed"]["grid"].reshape(-1, width)])
    patches = ours["patch_embed"]["projection"]
    params = {
        "patches": {**patches, "kernel": patches["kernel"].reshape(16, 16, 3, width)},
        "token": ours["cls_token"].reshape(1, 1, width),
        "positions": positions[None],
        "norm": ours["norm"],
        "head": ours["head"],
    }
    for i in range(sum(name.startswith("block") for name in ours)):
        block = ours[f"block{i}"]
        attention, mlp = block["attention"], block["mlp"]
        kernels = jnp.split(attention["qkv"]["kernel"], 3, axis=1)
        biases = jnp.split(attention["qkv"]["bias"], 3)
        params[f"attention_{i}"] = {
            name: {"kernel": kernel.reshape(width, heads, -1), "bias": bias.reshape(heads, -1)}
            for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
        } | {"out": {"kernel": attention["out"]["kernel"].reshape(heads, -1, width), "bias": attention["out"]["bias"]}}
        params |= {f"norm1_{i}": block["norm1"], f"norm2_{i}": block["norm2"]}
        params |= {f"dense1_{i}": mlp["dense1"], f"dense2_{i}": mlp["dense2"]}
    return {"params": params}
