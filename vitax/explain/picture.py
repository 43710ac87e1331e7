"""Heat maps over an image, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def draw(path: Path, image: np.ndarray, heats: Mapping[str, np.ndarray], title: str) -> None:
    """Writes a PNG: the image, then the image under each map, which is spread over it.

    Args:
        image: [H, W, 1 or 3] uint8.
        heats: {name: [h, w]}, of any range.
        title: of the image.
    """
    count = 1 + len(heats)
    figure = Figure(figsize=(3 * count, 3.3), dpi=120, layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[-1] == 1 else {}
    picture = image[..., 0] if image.shape[-1] == 1 else image
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for panel, (name, heat) in zip(panels, [(title, None), *heats.items()], strict=True):
        panel.imshow(picture, extent=extent, **grey)
        if heat is not None:
            # Beyond the brightest hundredth nothing more is told: one pixel must not darken all others.
            low, high = np.min(heat), np.quantile(heat, 0.99) if heat.size > 400 else np.max(heat)
            shown = np.clip((heat - low) / max(high - low, 1e-30), 0, 1)
            panel.imshow(shown, cmap="jet", alpha=0.5, extent=extent, interpolation="bilinear", vmin=0, vmax=1)  # fmt: skip
        panel.set_title(name, fontsize=10)
        panel.set_axis_off()
    figure.savefig(path)
