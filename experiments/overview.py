"""Draws docs/overview.png, one figure of what the demos have learned.

python experiments/demos.py vit_l16 dynamic_vit_s mae_b16_pretrain clip_vit_b32 transformer_base swinir_denoise
python experiments/overview.py --demos=runs/demos
"""

import argparse
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from vitax import augment, build
from vitax.data.degrade import degrade
from vitax.data.source import Source
from vitax.data.tokens import from_json
from vitax.evals.restoration import restore
from vitax.explain.heatmap import only
from vitax.explain.methods import explainer
from vitax.explanation.images import classifier, describe, image_spec, view_of
from vitax.monitoring import log
from vitax.prediction import TrainedRun, load_run
from vitax.prediction.pairs import label_weights
from vitax.prediction.reconstruction import masked_and_error
from vitax.report.exhibits import shown
from vitax.report.images import middle
from vitax.report.texts import aligned

OUT = Path(__file__).parent.parent / "docs" / "overview.png"
GREY = {"cmap": "gray", "vmin": 0, "vmax": 255}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demos", type=Path, default=Path("runs/demos"))
    options = parser.parse_args()
    log.start_logging()
    figure = Figure(figsize=(13, 6.4), dpi=110, layout="constrained")
    parts = figure.subfigures(2, 3, wspace=0.04, hspace=0.06)
    for part, (name, title, draw) in zip(parts.flat, PARTS, strict=True):
        run = load_run(options.demos / name)
        part.suptitle(title, fontsize=10)
        draw(part, run, build.open_pipeline(run.config).splits.test)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT)
    print(OUT)


def pictures(part: Any, lines: list[list[np.ndarray]]) -> None:
    """Draws rows of images [H, W, 1 or 3] uint8."""
    panels = part.subplots(len(lines), len(lines[0]), squeeze=False)
    for panel, picture in zip(panels.flat, (x for line in lines for x in line), strict=True):
        panel.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, **GREY)
        panel.axis("off")


def reconstructions(part: Any, run: TrainedRun, source: Source) -> None:
    lines = []
    for item in shown(run, source, 40)[:6]:
        masked, _ = masked_and_error(item.example["image"], item.row, run.model.patch_size)
        lines.append([item.example["image"], masked, item.row["reconstruction"]])
    pictures(part, [lines[0] + lines[1], lines[2] + lines[3], lines[4] + lines[5]])


def relevances(part: Any, run: TrainedRun, source: Source) -> None:
    (scores, _), spec = classifier(run), image_spec(run)
    panels, explain = part.subplots(3, 4), None
    for i, row in zip((3, 7, 18), panels, strict=True):
        picture = source[i]["image"]
        x = augment.normalize(jnp.asarray(picture)[None], spec.mean, spec.std)
        it = describe(run, view_of(run), scores, x)
        explain = explain or {name: explainer(name, it) for name in ("relevance", "rollout", "integrated_gradients")}
        label = int(scores(x)[0].argmax())
        row[0].imshow(picture[..., 0], **GREY)
        for panel, (name, method) in zip(row[1:], explain.items(), strict=True):
            panel.imshow(picture[..., 0], extent=(0, 8, 8, 0), **GREY)
            panel.imshow(method(x, label), cmap="jet", alpha=0.5, extent=(0, 8, 8, 0), interpolation="bilinear")
            panel.set_title(name.replace("_", " ") if i == 3 else "", fontsize=8)
    for panel in panels.flat:
        panel.axis("off")


def kept(part: Any, run: TrainedRun, source: Source) -> None:
    lines = []
    for item in shown(run, source, 30)[2:8]:
        image = item.example["image"]
        stages = sorted(name for name in item.row if name.startswith("kept"))
        lines.append([image, *(only(image, item.row[name], run.model.patch_size) for name in stages)])
    pictures(part, [lines[0] + lines[1], lines[2] + lines[3], lines[4] + lines[5]])


def similarities(part: Any, run: TrainedRun, source: Source) -> None:
    rows = shown(run, source, len(source))
    names, classes = label_weights(run, "")
    embedded = np.stack([item.row["image"] for item in rows])
    labels = np.array([int(item.example["label"]) for item in rows])
    means = np.stack([embedded[labels == k].mean(axis=0) for k in range(len(names))])
    panel = part.subplots()
    panel.imshow(means @ classes.T)
    panel.set_xticks(range(len(names)), [f"“the number {name}”" for name in names], rotation=50, ha="right", fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=7)


def alignment(part: Any, run: TrainedRun, source: Source) -> None:
    panel = part.subplots()
    item = max(shown(run, source, 12), key=lambda item: len(source.source[item.index][0]))
    weights, written, read = aligned(run, from_json(run.reader.record["tokenizer"]), item)
    panel.imshow(weights, cmap="Blues", aspect="auto")
    panel.set_xticks(range(len(read)), read, rotation=50, ha="right", fontsize=7)
    panel.set_yticks(range(len(written)), written, fontsize=7)


def restored(part: Any, run: TrainedRun, source: Source) -> None:
    truth = middle(source[0]["image"], 128, 1)
    knobs = run.reader.transform.knobs
    damaged = degrade(truth, np.random.default_rng(0), kind=knobs["kind"], scale=1, strength=knobs["strength"][0])
    output = restore(lambda x: run.model.apply(run.variables, x), damaged, run.model, tile=64, overlap=16)
    pictures(part, [[damaged.round().clip(0, 255).astype(np.uint8), output, truth]])


PARTS = (
    ("mae_b16_pretrain", "MAE: digit, what was visible, reconstruction", reconstructions),
    ("vit_l16", "ViT: what speaks for the class", relevances),
    ("dynamic_vit_s", "DynamicViT: patches kept by stage", kept),
    ("clip_vit_b32", "CLIP: images of a digit against captions", similarities),
    ("transformer_base", "Transformer: what each written word looked at", alignment),
    ("swinir_denoise", "SwinIR: noisy, restored, truth", restored),
)

if __name__ == "__main__":
    main()
