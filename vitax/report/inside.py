"""What a ViT has learned and looks at, with the pictures of Dosovitskiy et al. 2020 (arXiv:2010.11929), figure 7."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from vitax import images
from vitax.explain import maps
from vitax.models.clip import CLIP
from vitax.models.dynamic_vit import DynamicViT
from vitax.models.mae import MAE
from vitax.models.vit import ViT
from vitax.prediction import TrainedRun
from vitax.report import page
from vitax.report.exhibits import Exhibit, Shown

LOOKED_AT = 8  # images that attention distances are a mean over


def inside(run: TrainedRun, rows: list[Shown]) -> Exhibit | None:
    """Filters of the patch embedding, similarity of positions, attention distance and maps of all heads; None of a model that
    is no ViT."""
    params = tower(run.model, run.variables["params"])
    if params is None or not rows:
        return None
    parts = []
    kernel, patch = params["patch_embed"]["projection"]["kernel"], run.model.patch_size
    if kernel.shape[0] // patch**2 in (1, 3):
        filters = np.asarray(maps.embedding_filters(kernel, patch) * 255).astype(np.uint8)
        told = "Principal components of the patch embedding, the largest first."
        parts += [page.paragraph(told, note=True), page.grid(page.picture(x, side=48) for x in filters)]  # fmt: skip
    if "grid" in params.get("pos_embed", {}):
        told = "Cosine of each place's position embedding with all others (yellow: 1)."
        tiles = similarity_tiles(np.asarray(params["pos_embed"]["grid"]))
        parts += [page.paragraph(told, note=True), page.picture(tiles, side=320)]
    if isinstance(run.model, ViT | MAE):
        told = "How far each head looks on average, in pixels: a dot for each head."
        parts += [page.paragraph(told, note=True), page.chart(_distances(run, rows))]
        told = "What each head looks at: a row for each layer, a tile for each head, each on its own scale."
        one = rows[len(rows) // 2].example["image"]
        parts += [
            page.paragraph(told, note=True),
            page.grid([page.picture(one), page.picture(attention_tiles(run, one), side=320)]),
        ]
    return Exhibit("Inside", "".join(parts))


def tower(model: nn.Module, params: Any) -> Any | None:
    """The parameters of the ViT that a model is, or has for its images."""
    if isinstance(model, ViT | DynamicViT):
        return params
    if isinstance(model, MAE):
        return params["encoder"]
    return params["image"] if isinstance(model, CLIP) and model.image_tower != "resnet" else None


def similarity_tiles(positions: np.ndarray) -> np.ndarray:
    """[h, w, D] to one picture of h x w tiles, each of h x w pixels, white between them: uint8 RGB."""
    similar = np.asarray(maps.position_similarity(jnp.asarray(positions)))
    return _tiles((similar + 1) / 2)


def _tiles(values: np.ndarray) -> np.ndarray:
    """[rows, columns, h, w] in 0..1 to one picture of tiles, white between them: uint8 RGB."""
    rows, columns, h, w = values.shape
    canvas = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1, 3), 255, np.uint8)
    colors = (colormaps["viridis"](values)[..., :3] * 255).astype(np.uint8)
    for a, b in np.ndindex(rows, columns):
        top, left = a * (h + 1), b * (w + 1)
        canvas[top : top + h, left : left + w] = colors[a, b]
    return canvas


def attention_weights(
    run: TrainedRun, pictures: np.ndarray
) -> tuple[list[jax.Array], tuple[int, int]]:
    """[B, H, W, C] uint8 to [B, A, N, N] of each layer of a ViT or an MAE's encoder, and the grid (h, w) of its patches: the last
    h * w of the N tokens."""
    model, format = run.model, run.reader.format
    h, w = (side // model.patch_size for side in pictures.shape[1:3])
    everything = jnp.broadcast_to(jnp.arange(h * w), (len(pictures), h * w))
    x = images.normalize(jnp.asarray(pictures), format.mean, format.std)
    places = (everything,) if isinstance(model, MAE) else ()
    _, state = model.apply(run.variables, x, *places, mutable="intermediates")
    seen = tower(model, state["intermediates"])
    return [seen[f"block{i}"]["attention"]["weights"][0] for i in range(model.depth)], (h, w)


def attention_distances(run: TrainedRun, pictures: np.ndarray) -> np.ndarray:
    """[B, H, W, C] uint8 to [layers, A] pixels, the mean over all images."""
    weights, (h, w) = attention_weights(run, pictures)
    prefix = weights[0].shape[-1] - h * w
    found = [maps.attention_distance(each, (h, w), prefix).mean(axis=0) for each in weights]
    return np.stack(found) * run.model.patch_size


def attention_tiles(run: TrainedRun, picture: np.ndarray) -> np.ndarray:
    """[H, W, C] uint8 to one picture: a row of tiles for each layer, a tile of h x w pixels for each head: what the first token
    looks at or, where there is no class token, what all patches look at on average; uint8 RGB."""
    weights, (h, w) = attention_weights(run, picture[None])
    prefix = weights[0].shape[-1] - h * w
    rows = np.stack([each[0, :, 0] if prefix else each[0].mean(axis=1) for each in weights])
    found = rows[..., prefix:]  # [layers, A, h * w]
    found = found / np.maximum(found.max(axis=-1, keepdims=True), 1e-30)
    return _tiles(found.reshape(*found.shape[:2], h, w))


def _distances(run: TrainedRun, rows: list[Shown]) -> Figure:
    pictures = np.stack([item.example["image"] for item in rows[:: -(-len(rows) // LOOKED_AT)]])
    figure = Figure(figsize=(4.5, 2.8), layout="constrained")
    panel = figure.subplots()
    for layer, heads in enumerate(attention_distances(run, pictures)):
        panel.plot([layer] * len(heads), heads, "o", ms=4)
    panel.set_xlabel("layer", fontsize=8)
    panel.set_ylabel("mean attention distance, pixels", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)
    return figure
