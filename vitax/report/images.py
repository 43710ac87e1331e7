"""What is shown of tasks with images."""

import jax
import numpy as np

from vitax.data.degrade import degrade, enlarge
from vitax.data.source import Source
from vitax.evals.pictures import measure, modulo_crop, restore
from vitax.explain.picture import only
from vitax.prediction import TrainedRun
from vitax.prediction.pictures import masked_and_error
from vitax.report import page
from vitax.report.exhibits import (
    Exhibit,
    Shown,
    confusion,
    embedding,
    shown,
    spread_out,
    worst_mistakes,
)
from vitax.report.inside import inside

PICTURES, PIECE = 4, 256  # that are restored, and pixels of a side


def classified(run: TrainedRun, source: Source, count: int) -> list[Exhibit | None]:
    """Confusion matrix, worst mistakes, features by class, and what is inside a ViT."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [confusion(rows, names), mistaken(rows, names), embedding(rows, names), inside(run, rows)]  # fmt: skip


def mistaken(rows: list[Shown], names: list[str]) -> Exhibit:
    """The worst mistakes, as images."""
    found = worst_mistakes(rows, names, 16)
    pictures = [page.picture(m.item.example["image"], f"{m.true}, taken for {m.guess}") for m in found]  # fmt: skip
    body = page.grid(pictures) if found else page.paragraph("None among these examples.")
    return Exhibit("Worst mistakes", body)


def pruned(run: TrainedRun, source: Source, count: int) -> list[Exhibit | None]:
    """The same, and the patches that are left after each stage."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    patch, lines = run.model.patch_size, []
    for item in rows[:: -(-len(rows) // 8)]:
        image = item.example["image"]
        pictures = [page.picture(image, names[int(item.row["probabilities"].argmax())])]
        for name in sorted(name for name in item.row if name.startswith("kept")):
            kept = item.row[name]
            pictures.append(page.picture(only(image, kept, patch), f"{len(kept)} patches"))
        lines.append(page.grid(pictures))
    told = page.paragraph("The image, its predicted class, and what is left of it after each stage.", note=True)  # fmt: skip
    stages = Exhibit("Patches kept", told + "".join(lines))
    return [stages, confusion(rows, names), mistaken(rows, names), embedding(rows, names), inside(run, rows)]  # fmt: skip


def reconstructed(run: TrainedRun, source: Source, count: int) -> list[Exhibit | None]:
    """Input, what was visible, reconstruction; features by class, if there are labels."""
    rows = shown(run, source, count)
    lines, patch = [], run.model.patch_size
    for item in rows[:: -(-len(rows) // 10)]:
        masked, error = masked_and_error(item.example["image"], item.row, patch)
        told = f"error of hidden pixels {error:.4f}"
        pictures = (item.example["image"], ""), (masked, ""), (item.row["reconstruction"], told)
        lines.append(page.grid(page.picture(*picture) for picture in pictures))
    told = page.paragraph("Input, what was visible, reconstruction; errors are squared, on the scale 0..1.", note=True)  # fmt: skip
    names = run.reader.record["class_names"]
    return [
        Exhibit("Reconstructions", told + page.grid(lines)),
        embedding(rows, names),
        inside(run, rows),
    ]


def restored(run: TrainedRun, source: Source, count: int) -> list[Exhibit | None]:
    """Before, after, truth, with PSNR and SSIM; the middle of some pictures."""
    knobs, apply, lines = run.reader.transform.knobs, jax.jit(run.model.apply), []
    scale, evals = run.model.scale, run.config["evals"]
    tile = evals["tile"] or 8 * run.model.window
    for i in spread_out(source, min(count, PICTURES)):
        truth = middle(source[i]["image"], PIECE // scale * scale, scale)
        damaged = degrade(truth, np.random.default_rng(i), kind=knobs["kind"], scale=scale, strength=knobs["strength"][0])  # fmt: skip
        after = restore(lambda x: apply(run.variables, x), damaged, run.model, tile=tile, overlap=min(evals["overlap"], tile - 1))  # fmt: skip
        before, pictures = enlarge(damaged, scale).round().clip(0, 255).astype(np.uint8), []
        for name, image in (("before", before), ("after", after)):
            found = measure(image, truth, scale if scale > 1 else 0)
            told = f"{name}: PSNR {found['psnr_y']:.2f} dB, SSIM {found['ssim_y']:.4f}"
            pictures.append(page.picture(image, told, side=256))
        lines.append(page.grid([*pictures, page.picture(truth, "truth", side=256)]))
    told = "Before is the damaged picture" + (", enlarged bicubically" if scale > 1 else "") + "; PSNR and SSIM of Y, of these pieces."  # fmt: skip
    return [Exhibit("Before, after, truth", page.paragraph(told, note=True) + "".join(lines))]


def middle(image: np.ndarray, side: int, scale: int) -> np.ndarray:
    """The middle of a picture, at most side x side, both a multiple of ``scale``."""
    height, width = image.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return modulo_crop(image[top : top + side, left : left + side], scale)


def matched(run: TrainedRun, source: Source, count: int) -> list[Exhibit | None]:
    """Similarity of images and captions, images found by caption, features by class."""
    rows = shown(run, source, count)
    captions = [_caption(source, item) for item in rows]
    different = list({caption: at for at, caption in reversed(list(enumerate(captions)))}.values())
    some = sorted(different)[:: -(-len(different) // 10)]
    names = run.reader.record["class_names"]
    return [
        _similarity(rows, captions, some),
        _retrieval(rows, captions, some[:5]),
        embedding(rows, names) if names else None,
        inside(run, rows),
    ]


def _caption(source: Source, item: Shown) -> str:
    """What belongs to an image: its caption, or the name of its class."""
    if hasattr(source, "caption"):
        return source.caption(item.index)
    return source.class_names[int(item.example["label"])]


def _similarity(rows: list[Shown], captions: list[str], some: list[int]) -> Exhibit:
    images, texts = (np.stack([rows[i].row[side] for i in some]) for side in ("image", "text"))
    scores = images @ texts.T
    short = [captions[i] if len(captions[i]) < 40 else captions[i][:37] + "..." for i in some]
    shades = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-12)
    matrix = page.heat(shades, short, short, [[f"{x:.2f}" for x in row] for row in scores])
    pictures = page.grid(page.picture(rows[i].example["image"], captions[i]) for i in some)
    told = page.paragraph("Cosine of each image (rows, by its caption) with each caption (columns): the diagonal should be darkest.", note=True)  # fmt: skip
    return Exhibit("Similarity", told + matrix + pictures)


def _retrieval(rows: list[Shown], captions: list[str], some: list[int]) -> Exhibit:
    images = np.stack([item.row["image"] for item in rows])
    lines = []
    for i in some:
        order = np.argsort(-(images @ rows[i].row["text"]), kind="stable")[:6]
        found = [page.picture(rows[j].example["image"], right=captions[j] == captions[i]) for j in order]  # fmt: skip
        lines.append(page.paragraph(f"“{page.text(captions[i])}”") + page.grid(found))
    told = f"The nearest of {len(rows)} test images to a caption; framed: those that it belongs to."
    return Exhibit("Images found by caption", page.paragraph(told, note=True) + "".join(lines))
