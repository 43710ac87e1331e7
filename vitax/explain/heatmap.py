"""Heat maps over an image, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

WIDEST = 6  # largest number of panels side by side
FADED = 0.25  # share of the colour that remains in a dropped patch
LARGE = 1000  # approximate side in pixels to which small images are enlarged


def only(image: np.ndarray, kept: np.ndarray, patch: int) -> np.ndarray:
    """The image with all but the kept patches faded to white.

    Args:
        image: [H, W, C] uint8.
        kept: [n] numbers of the kept patches, counted row by row.
        patch: side of a patch in pixels.
    """
    rows, columns = (side // patch for side in image.shape[:2])
    visible = np.zeros(rows * columns, bool)
    visible[kept] = True
    mask = visible.reshape(rows, columns).repeat(patch, 0).repeat(patch, 1)[..., None]
    return np.where(mask, image, 255 - FADED * (255.0 - image)).astype(np.uint8)


def tiles(values: np.ndarray) -> np.ndarray:
    """A uint8 RGB image of the tiles [rows, columns, h, w] in 0..1, with white lines between them."""
    rows, columns, h, w = values.shape
    canvas = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1, 3), 255, np.uint8)
    colors = (colormaps["viridis"](values)[..., :3] * 255).astype(np.uint8)
    for a, b in np.ndindex(rows, columns):
        top, left = a * (h + 1), b * (w + 1)
        canvas[top : top + h, left : left + w] = colors[a, b]
    return canvas


def head_tiles(heads: np.ndarray) -> np.ndarray:
    """A uint8 RGB image with a row of tiles for each layer, and in it a tile for each head on its own scale.

    Args:
        heads: [layers, A, h, w], not negative.
    """
    return tiles(heads / np.maximum(heads.max(axis=(-2, -1), keepdims=True), 1e-30))


def large(picture: np.ndarray) -> np.ndarray:
    """The image [H, W, C] with every pixel repeated, so that its longer side is about `LARGE`."""
    times = max(1, LARGE // max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)


def draw(
    path: str | Path,
    photograph: np.ndarray,
    heats: Mapping[str, np.ndarray],
    title: str,
    kept: Sequence[np.ndarray] = (),
    image: np.ndarray | None = None,
    patch: int = 1,
) -> None:
    """Writes a PNG: the photograph, then what is left of the image after each pruning, then the photograph in grey under
    each map, which is spread over it.

    Args:
        photograph: [H, W, 1 or 3] uint8, at any resolution.
        heats: {name: [h, w]}, of any range. The more a value says, the more opaque is its colour; a map with negative
            values gets one colour for each sign.
        title: title of the photograph.
        kept: see `only`.
        image: the image of the same part that the patches are counted in; None = the photograph.
        patch: see `only`.
    """
    image = photograph if image is None else image
    pruned = [(f"{len(numbers)} patches kept", only(image, numbers, patch)) for numbers in kept]
    shown: list[tuple[str, np.ndarray, np.ndarray | None]] = [(title, photograph, None)]
    shown += [(*pair, None) for pair in pruned]
    shown += [(name, photograph, heat) for name, heat in heats.items()]
    columns = min(len(shown), WIDEST)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.4 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels:
        panel.set_axis_off()
    # The last row may not be full.
    for panel, (name, under, heat) in zip(panels, shown, strict=False):
        panel.set_title(name, fontsize=10, parse_math=False)  # a class may have $ in its name
        if heat is None:
            panel.imshow(under[..., 0] if under.shape[-1] == 1 else under, cmap="gray", vmin=0, vmax=255)
        else:
            bar = figure.colorbar(overlay(panel, under, heat), ax=panel, shrink=0.7, pad=0.02)
            bar.ax.tick_params(labelsize=6)
    figure.savefig(path)


def overlay(panel: Axes, photograph: np.ndarray, heat: np.ndarray) -> ScalarMappable:
    """Draws a map over a photograph in light grey; returns the colours, for a colour bar.

    Beyond the strongest hundredth of the values everything has the same colour: one pixel must not hide all others.

    Args:
        photograph: [H, W, C] uint8.
        heat: [h, w].
    """
    height, width = photograph.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    grey = photograph.mean(axis=-1)
    panel.imshow(110 + grey * (145 / 255), cmap="gray", vmin=0, vmax=255, extent=extent)
    strength = np.abs(heat)
    top = float(np.quantile(strength, 0.99) if heat.size > 400 else strength.max()) or 1.0
    signed = bool(heat.min() < 0)
    norm, colors = Normalize(-top if signed else 0, top), colormaps["RdBu_r" if signed else "inferno"]
    shades = colors(norm(np.clip(heat, -top, top)))
    shades[..., 3] = np.clip(strength / top, 0, 1) ** 0.7 * 0.9
    panel.imshow(shades, extent=extent, interpolation="bilinear")
    return ScalarMappable(norm, colors)
