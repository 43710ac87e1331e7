"""The inside of a ViT: filters, positions and attention, as in Dosovitskiy et al. 2020 (arXiv:2010.11929), figure 7."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitax import augment, page
from vitax.explain import maps
from vitax.explain.heatmap import head_tiles, tiles
from vitax.explain.methods import Subject, head_distances, head_maps
from vitax.explanation.scores import describe, encoder, image_spec
from vitax.models import MODELS
from vitax.prediction import TrainedRun
from vitax.report.exhibits import Exhibit, Shown

LOOKED_AT = 8  # images that attention distances are a mean over


def inside(run: TrainedRun, rows: list[Shown]) -> Exhibit | None:
    """Filters of the patch embedding, similarity of positions, attention distance and maps of all heads; None of a model that
    is no ViT."""
    make = MODELS[run.family].view
    view = make(run.model) if make else None
    if view is None or view.tower is None or not rows:
        return None
    params = view.tower(run.variables["params"])
    parts = []
    kernel, patch = params["patch_embed"]["projection"]["kernel"], run.model.patch_size
    if kernel.shape[0] // patch**2 in (1, 3):
        filters = np.asarray(maps.embedding_filters(kernel, patch) * 255).astype(np.uint8)
        note = "Principal components of the patch embedding, the largest first."
        parts += [
            page.paragraph(note, note=True),
            page.grid(page.picture(x, side=48, description=f"filter {k}") for k, x in enumerate(filters)),
        ]
    if "grid" in params.get("pos_embed", {}):
        note = "Cosine of each place's position embedding with all others (yellow: 1)."
        similar = similarity_tiles(np.asarray(params["pos_embed"]["grid"]))
        parts += [
            page.paragraph(note, note=True),
            page.picture(similar, side=320, description="similarity of positions"),
        ]
    some = [item.example["image"] for item in rows[:: -(-len(rows) // LOOKED_AT)]]
    spec = image_spec(run)
    inputs = [augment.normalize(jnp.asarray(x)[None], spec.mean, spec.std) for x in some]
    it = describe(run, view, encoder(run), inputs[0])
    note = "How far each head looks on average, in pixels: a dot for each head."
    parts += [
        page.paragraph(note, note=True),
        page.chart(_distances(it, inputs), "mean attention distance of each head, by layer"),
    ]
    note = "What each head looks at: a row for each layer, a tile for each head, each on its own scale."
    heads = head_tiles(np.asarray(jax.jit(lambda image: head_maps(it, image))(inputs[-1])))
    pictures = page.grid(
        [
            page.picture(some[-1], description="image"),
            page.picture(heads, side=320, description="attention of each head"),
        ]
    )
    parts += [page.paragraph(note, note=True), pictures]
    return Exhibit("Inside", "".join(parts), wide=True)


def similarity_tiles(positions: np.ndarray) -> np.ndarray:
    """[h, w, D] to one picture of h x w tiles, each of h x w pixels, white between them: uint8 RGB."""
    similar = np.asarray(maps.position_similarity(jnp.asarray(positions)))
    return tiles((similar + 1) / 2)


def _distances(it: Subject, pictures: list[jax.Array]) -> Figure:
    """A dot for each head: how far it looks, in pixels, mean over images [1, H, W, C]."""
    distances = jax.jit(lambda image: head_distances(it, image))
    pixels = pictures[0].shape[1] // it.grid[0]
    figure = Figure(figsize=(4.5, 2.8), layout="constrained")
    panel = figure.subplots()
    # One image at a time: the weights of a large model are hundreds of megabytes.
    for layer, heads in enumerate(pixels * np.mean([distances(image) for image in pictures], axis=0)):
        panel.plot([layer] * len(heads), heads, "o", ms=4, color=page.COLORS[layer % 6])
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("layer", fontsize=8)
    panel.set_ylabel("mean attention distance, pixels", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)
    return figure
