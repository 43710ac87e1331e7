"""Heat maps over an image, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

WIDEST = 6  # pictures side by side
FADED = 0.25  # what is left of the colour of a patch that was dropped
LARGE = 1000  # pixels of a side that small pictures are enlarged to, about


def only(image: np.ndarray, kept: np.ndarray, patch: int) -> np.ndarray:
    """The image with all but the kept patches faded to white.

    Args:
        image: [H, W, C] uint8.
        kept: [n] numbers of patches, row by row.
        patch: side in pixels.
    """
    rows, columns = (side // patch for side in image.shape[:2])
    there = np.zeros(rows * columns, bool)
    there[kept] = True
    mask = there.reshape(rows, columns).repeat(patch, 0).repeat(patch, 1)[..., None]
    return np.where(mask, image, 255 - FADED * (255.0 - image)).astype(np.uint8)


def tiles(values: np.ndarray) -> np.ndarray:
    """[rows, columns, h, w] in 0..1 to one picture of tiles, white between them: uint8 RGB."""
    rows, columns, h, w = values.shape
    canvas = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1, 3), 255, np.uint8)
    colors = (colormaps["viridis"](values)[..., :3] * 255).astype(np.uint8)
    for a, b in np.ndindex(rows, columns):
        top, left = a * (h + 1), b * (w + 1)
        canvas[top : top + h, left : left + w] = colors[a, b]
    return canvas


def head_tiles(heads: np.ndarray) -> np.ndarray:
    """[layers, A, h, w], not negative, to a row of tiles for each layer, a tile for each head on its own scale: uint8 RGB."""
    return tiles(heads / np.maximum(heads.max(axis=(-2, -1), keepdims=True), 1e-30))


def large(picture: np.ndarray) -> np.ndarray:
    """[H, W, C] with every pixel repeated until a side is about `LARGE`."""
    times = max(1, LARGE // max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)


def draw(
    path: str | Path,
    image: np.ndarray,
    heats: Mapping[str, np.ndarray],
    title: str,
    kept: Sequence[np.ndarray] = (),
    patch: int = 1,
) -> None:
    """Writes a PNG: the image, then what is left of it after each pruning, then the image under each map, which is spread
    over it.

    Args:
        image: [H, W, 1 or 3] uint8.
        heats: {name: [h, w]}, of any range.
        title: of the image.
        kept, patch: see `only`.
    """
    left = [(f"{len(numbers)} patches kept", only(image, numbers, patch)) for numbers in kept]
    shown: list[tuple[str, np.ndarray, np.ndarray | None]] = [(title, image, None), *((*pair, None) for pair in left)]
    shown += [(name, image, heat) for name, heat in heats.items()]
    columns = min(len(shown), WIDEST)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3 * columns, 3.3 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[-1] == 1 else {}
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for panel in panels:
        panel.set_axis_off()
    # The last row may not be full.
    for panel, (name, under, heat) in zip(panels, shown, strict=False):
        panel.imshow(under[..., 0] if grey else under, extent=extent, **grey)
        if heat is not None:
            # Beyond the brightest hundredth nothing more is told: one pixel must not darken all others.
            low, high = np.min(heat), np.quantile(heat, 0.99) if heat.size > 400 else np.max(heat)
            scaled = np.clip((heat - low) / max(high - low, 1e-30), 0, 1)
            panel.imshow(scaled, cmap="jet", alpha=0.5, extent=extent, interpolation="bilinear", vmin=0, vmax=1)
        panel.set_title(name, fontsize=10, parse_math=False)  # a class may have $ in its name
    figure.savefig(path)
