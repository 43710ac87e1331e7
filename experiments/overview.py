"""Draws docs/overview.png: what small models have learned from scikit-learn's two photographs.

python experiments/overview.py [--runs=runs/overview]      about ten minutes on two CPU cores; runs that exist are used again

An MAE learns from tiles of both photographs. A ViT learns to tell crops of the two apart, and a DynamicViT learns from it
to do so with fewer patches. The photographs are those that they have learned from: the figure shows what the models do,
not how well they generalise.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import vitax
from vitax.data.drawing import write_png
from vitax.data.photos import TILE, load_photos
from vitax.explain.heatmap import only, overlay
from vitax.library import Model

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "overview.png"
SIDE, PATCH = 96, 8  # of the images that the classifiers see, and of their patches
CROPS = 60  # of each photograph
CLASSIFIER = (
    f"--config.data.image_size=({SIDE},)",
    "--config.data.name=folder",
    "--config.data.channels=3",
    "--config.data.mean=(0.5,0.5,0.5)",
    "--config.data.std=(0.25,0.25,0.25)",
    "--config.data.crop_scale=(0.3,1.0)",
    "--config.data.flip=True",
    f"--config.model.patch_size={PATCH}",
    "--config.model.width=96",
    "--config.model.depth=6",
    "--config.model.mlp_width=192",
    "--config.model.drop_path=0.0",
    "--config.optim.warmup=50 steps",
    "--config.evals.every=",
    "--config.checkpoint.every=",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/overview"))
    runs = parser.parse_args().runs
    crops = runs / "crops"
    write_crops(crops)
    data = f"--config.data.path={crops}"
    train("mae_b16_pretrain.py:photos", runs / "mae", "--config.duration=300 epochs")
    vit = ("--config.model.class_token=True", "--config.model.pooling=token", "--config.duration=400 steps")
    train("vit_b16.py:demo", runs / "vit", data, *CLASSIFIER, *vit)
    pruned = (
        "--config.model.stages=(2,3,4)",
        "--config.model.keep_ratios=(0.7,0.49,0.343)",
        "--config.duration=300 steps",
    )
    train("dynamic_vit_s.py:demo", runs / "pruned", data, *CLASSIFIER, *pruned, f"--config.init_from={runs / 'vit'}")
    draw({name: vitax.load(runs / name) for name in ("mae", "vit", "pruned")})
    print(OUT)


def write_crops(folder: Path) -> None:
    """Random square crops of both photographs, as an image folder; every fifth one is for the test."""
    rng = np.random.default_rng(0)
    for name, photo in zip(("china", "flower"), load_photos(), strict=True):
        for i in range(CROPS):
            side = int(rng.integers(120, photo.shape[0]))
            top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
            path = folder / ("test" if i % 5 == 0 else "train") / name / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, photo[top : top + side, left : left + side])


def train(config: str, folder: Path, *flags: str) -> None:
    """Trains a run, or continues it: a finished one is left as it is."""
    line = [sys.executable, "-m", "vitax.main", f"--config={ROOT}/configs/{config}", f"--workdir={folder}", *flags]
    subprocess.run(line, check=True)


def draw(models: dict[str, Model]) -> None:
    china, flower = load_photos()
    figure = Figure(figsize=(13, 6.6), dpi=110, layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1, 1, 1), hspace=0.03)
    reconstructed = [*reconstruction(models["mae"], flower), *reconstruction(models["mae"], china)]
    names = ("photograph", "visible to the MAE", "reconstruction") * 2
    for panel, image, name in zip(row(top, 6), reconstructed, names, strict=True):
        panel.imshow(image)
        panel.set_title(name, fontsize=9)
    panels = iter(row(middle, 6))
    for photo in (flower, china):
        methods = ("relevance", "integrated_gradients")
        explained = models["vit"].explain(photo, method=methods)
        panel = next(panels)
        panel.imshow(explained.photograph)
        panel.set_title(f"ViT: {explained.title}", fontsize=9)
        for method in methods:
            panel = next(panels)
            overlay(panel, explained.photograph, explained.maps[method])
            panel.set_title(method.replace("_", " "), fontsize=9)
    panels = iter(row(bottom, 8))
    for photo in (flower, china):
        explained = models["pruned"].explain(photo, method="gradcam")
        side = SIDE * 4
        large = np.asarray(Image.fromarray(explained.photograph).resize((side, side)))
        panel = next(panels)
        panel.imshow(large)
        panel.set_title(f"DynamicViT: {explained.title}", fontsize=9)
        for kept in explained.kept:
            panel = next(panels)
            panel.imshow(only(large, kept, PATCH * 4))
            panel.set_title(f"{len(kept)} of {(SIDE // PATCH) ** 2} patches kept", fontsize=9)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT)


def row(part, count: int) -> list[Axes]:
    panels = part.subplots(1, count)
    for panel in panels:
        panel.set_axis_off()
    return list(panels)


def reconstruction(model: Model, photo: np.ndarray) -> list[np.ndarray]:
    """A photograph, its visible patches and its reconstruction, tile by tile: [H, W, 3] uint8 each."""
    rows, columns = 12, 12
    top, left = (photo.shape[0] - rows * TILE) // 2, (photo.shape[1] - columns * TILE) // 2
    square = photo[top : top + rows * TILE, left : left + columns * TILE]
    tiles = square.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    triples = np.stack([row["image"] for row in model(list(tiles))])  # [n, s, 3 s, 3], enlarged
    scale = triples.shape[1] // TILE
    parts = np.split(triples[:, ::scale, ::scale], 3, axis=2)
    return [part.reshape(rows, columns, TILE, TILE, 3).swapaxes(1, 2).reshape(rows * TILE, -1, 3) for part in parts]


if __name__ == "__main__":
    main()
