"""Exhibits of the tasks with images."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vitax import page
from vitax.data.degrade import degrade, enlarge
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.evals.restoration import measure, modulo_crop, restore
from vitax.explain.heatmap import only
from vitax.prediction import TrainedRun
from vitax.prediction.reconstruction import masked_and_error
from vitax.prediction.restoration import OVERLAP
from vitax.report.exhibits import (
    Exhibit,
    Maker,
    Shown,
    calibration,
    confusion,
    embedding,
    shown,
    spread_out,
    worst_mistakes,
)
from vitax.report.inside import inside

RESTORED, PIECE = 4, 256  # images that are restored, and pixels of a side


def classified(run: TrainedRun, source: Source, count: int) -> list[Maker]:
    """Confusion matrix, worst mistakes, features by class, and what is inside a ViT."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [
        partial(confusion, rows, names),
        partial(mistaken, rows, names, source),
        partial(calibration, rows),
        partial(embedding, rows, names),
        partial(inside, run, rows),
    ]


def mistaken(rows: list[Shown], names: list[str], source: Source) -> Exhibit:
    """The worst mistakes, as images with the names of their files."""
    mistakes = worst_mistakes(rows, names, 16)
    pictures = [
        page.picture(m.item.example["image"], f"{m.true}, taken for {m.guess} ({Path(source.name(m.item.index)).name})")
        for m in mistakes
    ]
    body = page.grid(pictures) if mistakes else page.paragraph("None among these examples.")
    return Exhibit("Worst mistakes", body)


def pruned(run: TrainedRun, source: Source, count: int) -> list[Maker]:
    """The same, and the patches that are left after each stage."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [
        partial(left, rows, names, run.model.patch_size),
        partial(confusion, rows, names),
        partial(mistaken, rows, names, source),
        partial(calibration, rows),
        partial(embedding, rows, names),
        partial(inside, run, rows),
    ]


def left(rows: list[Shown], names: list[str], patch: int) -> Exhibit:
    """Some images with the patches that a DynamicViT keeps."""
    lines = []
    for item in rows[:: -(-len(rows) // 8)]:
        image = item.example["image"]
        pictures = [page.picture(image, names[int(item.row["probabilities"].argmax())])]
        for name in sorted(name for name in item.row if name.startswith("kept")):
            patches = item.row[name]
            pictures.append(page.picture(only(image, patches, patch), f"{len(patches)} patches"))
        lines.append(page.grid(pictures))
    note = page.paragraph("The image, its predicted class, and what is left of it after each stage.", note=True)
    return Exhibit("Patches kept", note + page.grid(lines), wide=True)


def reconstructed(run: TrainedRun, source: Source, count: int) -> list[Maker]:
    """Input, what was visible, reconstruction; features by class, if there are classes."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [partial(triptychs, rows, run.model.patch_size), partial(embedding, rows, names), partial(inside, run, rows)]


def triptychs(rows: list[Shown], patch: int) -> Exhibit:
    """Some images: input, what was visible of it, reconstruction."""
    lines = []
    for item in rows[:: -(-len(rows) // 10)]:
        masked, error = masked_and_error(item.example["image"], item.row, patch)
        note = f"error of hidden pixels {error:.4f}"
        shown_images = ((item.example["image"], "", "input"), (masked, "", "visible patches"))
        pictures = [page.picture(image, caption, description=name) for image, caption, name in shown_images]
        lines.append(page.grid([*pictures, page.picture(item.row["reconstruction"], note)]))
    note = page.paragraph("Input, what was visible, reconstruction; errors are squared, on the scale 0..1.", note=True)
    return Exhibit("Reconstructions", note + page.grid(lines), wide=True)


def restored(run: TrainedRun, source: Source, count: int) -> list[Maker]:
    """Before, after, truth, with PSNR and SSIM; the middle of some pictures."""
    return [partial(pieces, run, source, count)]


def pieces(run: TrainedRun, source: Source, count: int) -> Exhibit:
    """The middle of some pictures: before, after, truth; what cannot be read is left out.

    Raises:
        UserError: none of them can be read.
    """
    settings, apply, lines = run.reader.transform.settings, jax.jit(run.model.apply), []
    scale, tile = run.model.scale, 8 * run.model.window
    for i in spread_out(source, min(count, RESTORED)):
        try:
            truth = middle(source[i]["image"], PIECE // scale * scale, scale)
        except (ValueError, OSError):
            continue
        damaged = degrade(
            truth, np.random.default_rng(i), kind=settings["kind"], scale=scale, strength=settings["strength"][0]
        )
        after = restore(
            lambda x: apply(run.variables, x), damaged, run.model, tile=tile, overlap=min(OVERLAP, tile - 1)
        )
        before, pictures = enlarge(damaged, scale).round().clip(0, 255).astype(np.uint8), []
        for name, image in (("before", before), ("after", after)):
            measured = measure(image, truth, scale if scale > 1 else 0)
            note = f"{name}: PSNR {measured['psnr_y']:.2f} dB, SSIM {measured['ssim_y']:.4f}"
            pictures.append(page.picture(image, note, side=256))
        lines.append(page.grid([*pictures, page.picture(truth, "truth", side=256)]))
    if not lines:
        raise UserError("none of the test pictures can be read")
    note = (
        "Before is the damaged picture"
        + (", enlarged bicubically" if scale > 1 else "")
        + "; PSNR and SSIM of Y, of these pieces."
    )
    return Exhibit("Before, after, truth", page.paragraph(note, note=True) + "".join(lines), wide=True)


def middle(image: np.ndarray, side: int, scale: int) -> np.ndarray:
    """The middle of a picture, at most side x side, both a multiple of ``scale``."""
    height, width = image.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return modulo_crop(image[top : top + side, left : left + side], scale)


def matched(run: TrainedRun, source: Source, count: int) -> list[Maker]:
    """Similarity of images and captions, images found by caption, features by class."""
    pairs = [Pair(item, source.name(item.index), _caption(source, item)) for item in shown(run, source, count)]
    # One pair of each caption, and of these one of each image: an image may have several captions, a caption several images.
    by_caption = {pair.caption: pair for pair in reversed(pairs)}
    different = list({pair.file: pair for pair in reversed(by_caption.values())}.values())
    some, rows = different[:: -(-len(different) // 10)], [pair.item for pair in pairs]
    return [
        partial(similarity, some),
        partial(retrieval, pairs, some[:5]),
        partial(embedding, rows, run.reader.record["class_names"]),
        partial(inside, run, rows),
    ]


class Pair(NamedTuple):
    """An image, the name of its file, and what belongs to it."""

    item: Shown
    file: str
    caption: str


def _caption(source: Source, item: Shown) -> str:
    """The caption of an image, or the name of its class."""
    if hasattr(source, "caption"):
        return source.caption(item.index)
    return source.class_names[int(item.example["label"])]


def similarity(some: list[Pair]) -> Exhibit:
    """The cosine of each image with each caption."""
    images, texts = (np.stack([pair.item.row[side] for pair in some]) for side in ("image", "text"))
    scores = images @ texts.T
    short = [p.caption if len(p.caption) < 40 else p.caption[:37] + "..." for p in some]
    shades = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-12)
    matrix = page.heat(shades, short, short, [[f"{x:.2f}" for x in row] for row in scores])
    pictures = page.grid(page.picture(pair.item.example["image"], pair.caption) for pair in some)
    note = page.paragraph(
        "Cosine of each image (rows, by its caption) with each caption (columns): the diagonal should be darkest.",
        note=True,
    )
    return Exhibit("Similarity", note + matrix + pictures, wide=True)


def retrieval(pairs: list[Pair], some: list[Pair]) -> Exhibit:
    """The images that are nearest to some captions."""
    gallery = list({pair.file: pair for pair in reversed(pairs)}.values())[::-1]
    belonging = {(pair.file, pair.caption) for pair in pairs}
    images, lines = np.stack([pair.item.row["image"] for pair in gallery]), []
    for wanted in some:
        order = np.argsort(-(images @ wanted.item.row["text"]), kind="stable")[:6]
        pictures = [
            page.picture(gallery[j].item.example["image"], right=(gallery[j].file, wanted.caption) in belonging)
            for j in order
        ]
        lines.append(page.paragraph(f"“{page.text(wanted.caption)}”") + page.grid(pictures))
    note = f"The nearest of {len(gallery)} test images to a caption; framed: those that it belongs to."
    return Exhibit("Images found by caption", page.paragraph(note, note=True) + "".join(lines))
