"""Zero-shot classification with an image-text model."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitax.data.tokens import from_json
from vitax.errors import UserError
from vitax.evals.pairs import class_weights, encode_texts, text_encoder
from vitax.pipelines import Pipeline
from vitax.pipelines.captions import prompts
from vitax.prediction.images import example_image, image_readers, ranked
from vitax.prediction.trained import TrainedRun, predictions


def zero_shot(run: TrainedRun, images: Iterable[Any], *, labels: str = "", top: int = 5) -> Iterator[dict[str, Any]]:
    """Classes of images: {"file", "label", "probability", "top"} for each.

    Args:
        run: the trained run, of an image-text model.
        images: see `image_readers`.
        labels: names of the classes, with commas between them; "" = the classes of the training data. Each class is
            the mean of the run's prompt templates.
        top: number of classes to list.
    """
    names, classes = label_weights(run, labels)

    def predict(variables, batch):
        out = run.task.predict(variables, batch)
        return {"image": out["image"], "scale": out["scale"]}

    examples = image_readers(images, run)
    for file, example, row in predictions(run, examples, jax.jit(predict)):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        logits = row["scale"] * (classes @ row["image"])
        probabilities = np.exp(logits - logits.max())
        yield {"file": file, **ranked(probabilities / probabilities.sum(), names, top)}


def label_weights(run: TrainedRun, labels: str) -> tuple[list[str], np.ndarray]:
    """K names of classes, and for each the mean of the run's prompt templates: [K, E], vectors of length 1.

    They are computed once, and kept in RUN/label_features.

    Args:
        run: the trained run, of an image-text model.
        labels: names with commas between them; "" = the classes of the training data.

    Raises:
        UserError: there are fewer than two classes.
    """
    names = [name.strip() for name in labels.split(",") if name.strip()]
    spoken = names or run.reader.record.get("caption_names") or run.reader.record["class_names"]
    names = names or run.reader.record["class_names"]
    if len(names) < 2:
        raise UserError('name at least two classes: --labels="a dog, a cat"')
    kept = _file(run, spoken)
    if kept.is_file():
        return names, np.load(kept)
    spec, vocab = run.reader.spec, from_json(run.reader.record["tokenizer"])
    tokens = prompts(vocab, spoken, spec.templates, spec.text.length, truncate=True)  # [templates, classes, L]
    encode = text_encoder(run.task)
    texts = np.stack([encode_texts(encode, run.variables, run.reader.blank, t) for t in tokens])
    weights = class_weights(texts)
    if (run.path / "checkpoints").is_dir():
        _keep(kept, weights)
    return names, weights


def scale_of(run: TrainedRun) -> jax.Array:
    """The number [] by which an image-text model multiplies its cosines, within the limits of its task."""
    blank: Any = {name: np.asarray(x)[None] for name, x in run.reader.blank.items()}
    return jax.jit(lambda variables: run.task.predict(variables, blank)["scale"][0])(run.variables)


def _file(run: TrainedRun, spoken: Sequence[str]) -> Path:
    """Where the vectors of these classes are kept: the name tells classes, prompts and weights apart."""
    told = hashlib.sha256(json.dumps([list(spoken), list(run.reader.spec.templates)]).encode())
    for leaf in jax.tree.leaves(run.variables):
        told.update(np.asarray(leaf).tobytes())
    return run.path / "label_features" / f"{told.hexdigest()[:32]}.npy"


def _keep(path: Path, weights: np.ndarray) -> None:
    """Writes a file that appears whole; where that is impossible, the vectors are computed again next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, weights)
        temporary.replace(path)


def example_pair(pipeline: Pipeline, path: Path) -> str:
    """A test image and, if the data have no classes, the flag that names classes."""
    labels = "" if pipeline.splits.test.class_names else ' --labels="a dog, a cat"'
    return example_image(pipeline, path) + labels
