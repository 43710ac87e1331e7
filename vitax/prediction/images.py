"""Predictions for image files."""

import functools
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from vitax.data.decode import KNOWN, decode_image, find_images, to_array
from vitax.data.drawing import write_png
from vitax.data.values import scaled_values
from vitax.errors import UserError
from vitax.pipelines import Pipeline
from vitax.prediction.trained import UNREADABLE, TrainedRun, predictions
from vitax.specs import TargetSpec, pixels_of


def image_files(given: Sequence[str]) -> list[str]:
    """The named files, and the images below the named folders.

    Raises:
        UserError: no name was given, a name does not exist, or there are no images.
    """
    if not given:
        raise UserError("name the images: python -m vitax.predict --workdir=RUN IMAGES...")
    files = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            files += find_images(path)
        elif path.exists():
            files.append(name)
        else:
            raise UserError(f"{name} does not exist")
    if not files:
        raise UserError(f"no images in {', '.join(given)} ({KNOWN})")
    return files


def image_readers(
    images: Iterable[Any], run: TrainedRun, blank: dict[str, Any] | None = None
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """(name, function that reads an example) for each image; the other fields of an example are blank.

    The function raises ValueError, TypeError or OSError if the image cannot be read.

    Args:
        images: paths of files, arrays [H, W] or [H, W, C] uint8 (of any numbers if the run has a range of values), or images of
            Pillow. An image that is not a file is
            named "image 0", "image 1", ...
        run: the trained run, which defines channels and the greatest size.
        blank: the other fields; None = those of a blank example of the run.
    """
    spec = run.reader.spec
    pixels, blank = pixels_of(spec), run.reader.blank if blank is None else blank

    def read(image: Any) -> dict[str, Any]:
        if isinstance(image, str | Path):
            return {**blank, "image": decode_image(Path(image).read_bytes(), pixels)}
        if pixels.pixel_range:
            values = np.asarray(image)
            return {**blank, "image": scaled_values(values.reshape(*values.shape[:2], -1), pixels)}
        if isinstance(image, np.ndarray):
            if image.ndim not in (2, 3):
                raise ValueError(f"an array of shape {image.shape} is not one image, [H, W] or [H, W, C]")
            if image.dtype != np.uint8:
                raise ValueError(f"an array of {image.dtype} has no known range; give uint8")
            image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image)
        return {**blank, "image": to_array(image, pixels)}

    for number, image in enumerate(images):
        name = str(image) if isinstance(image, str | Path) else f"image {number}"
        yield name, functools.partial(read, image)


def read_images(
    images: Iterable[Any], run: TrainedRun, blank: dict[str, Any] | None = None
) -> Iterator[tuple[str, Any]]:
    """(name, example), or (name, error), for each image; the arguments are those of `image_readers`."""
    for name, read in image_readers(images, run, blank):
        try:
            yield name, read()
        except UNREADABLE as error:
            yield name, error


def classify(run: TrainedRun, images: Iterable[Any], *, top: int = 5) -> Iterator[dict[str, Any]]:
    """Classes of images: {"file", "label", "probability", "top"} for each.

    Args:
        run: the trained run.
        images: see `image_readers`.
        top: number of most probable classes to list in "top".
    """
    examples = image_readers(images, run)
    names = run.reader.record["class_names"]
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
        else:
            yield {"file": file, **ranked(row["probabilities"], names, top)}


def label(
    run: TrainedRun, images: Iterable[Any], *, threshold: float | str = 0.5, top: int = 5
) -> Iterator[dict[str, Any]]:
    """Several labels of images: {"file", "labels", "top"} for each.

    Args:
        run: the trained run.
        images: see `image_readers`.
        threshold: probability, 0..1, from which a label is in "labels"; "val" = see `threshold_of`.
        top: number of most probable labels to list in "top", with their probabilities.

    Raises:
        UserError: the threshold is out of its range, or was not measured.
    """
    return labelled(run, "file", image_readers(images, run), threshold, top)


def estimate(run: TrainedRun, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Numbers of images, in the units of the training data: {"file", name: number} for each.

    Args:
        run: the trained run.
        images: see `image_readers`.
    """
    return estimated(run, "file", image_readers(images, run))


def labelled(
    run: TrainedRun, key: str, examples: Iterator[tuple[str, Any]], threshold: float | str, top: int
) -> Iterator[dict[str, Any]]:
    """The rows of `label` for examples, see `predictions`, whose names are in the column ``key``.

    Raises:
        UserError: the threshold is out of its range, or was not measured.
    """
    least, names = threshold_of(run, threshold), run.reader.record["class_names"]
    for name, example, row in predictions(run, examples):
        if row is None:
            yield {key: name, "error": str(example)}
            continue
        chosen = [label for label, p in zip(names, row["probabilities"], strict=True) if p >= least]
        yield {key: name, "labels": chosen, "top": ranked(row["probabilities"], names, top)["top"]}


def threshold_of(run: TrainedRun, given: float | str) -> float:
    """The probability from which there is a label: a number, or "val", the best one of the validation split.

    Raises:
        UserError: it is neither, or the run measured none.
    """
    if given == "val":
        if "val/best_threshold" not in run.metrics:
            raise UserError(
                "--threshold=val: no threshold was measured on a validation split when this checkpoint was saved; train with "
                "config.data.validation, or give a number"
            )
        return run.metrics["val/best_threshold"]
    return number_of(given, "neither a number in 0..1 nor val")


def number_of(threshold: float | str, otherwise: str = "not a number in 0..1") -> float:
    """A threshold, 0..1.

    Raises:
        UserError: it is something else; ``otherwise`` says what it is not.
    """
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"--threshold={threshold} is {otherwise}")
    return value


def estimated(run: TrainedRun, key: str, examples: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of `estimate` for examples, see `predictions`, whose names are in the column ``key``."""
    names = run.reader.record["class_names"]
    for name, example, row in predictions(run, examples):
        if row is None:
            yield {key: name, "error": str(example)}
        else:
            yield {key: name, **{each: float(value) for each, value in zip(names, row["values"], strict=True)}}


def probabilities_of(run: TrainedRun, logits: Any) -> np.ndarray:
    """The probabilities of classes [K], or of labels that do not exclude one another."""
    return np.asarray((jax.nn.sigmoid if isinstance(run.reader.spec, TargetSpec) else jax.nn.softmax)(logits))


def ranked(probabilities: np.ndarray, names: Sequence[str], top: int) -> dict[str, Any]:
    """The most probable label for probabilities [K], and the ``top`` most probable ones."""
    values = np.asarray(probabilities, np.float64)
    best = [
        {"label": names[k], "probability": round(float(values[k]), 6)}
        for k in np.argsort(-values, kind="stable")[: max(1, top)]
    ]
    return {**best[0], "top": best}


def example_image(pipeline: Pipeline, path: Path) -> str:
    """The file of the first test image, quoted for a shell; if it has no file, one is written to the folder of the run.

    Raises:
        ValueError, OSError: the image cannot be read or written.
    """
    source = pipeline.splits.test
    name = source.name(0)
    if not Path(name).is_file() and source[0]["image"].dtype != np.uint8:
        raise ValueError("values in no file have no picture to try")
    if not Path(name).is_file():
        name = str(path / "example.png")
        write_png(name, source[0]["image"])
    return shlex.quote(name)
