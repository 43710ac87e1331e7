"""Zero-shot classification with an image-text model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitax.data.source import Source
from vitax.data.tokens import from_json
from vitax.errors import UserError
from vitax.evals.pairs import class_weights, encode_texts, text_encoder
from vitax.pipelines.captions import prompts
from vitax.prediction.images import example_image, image_files, ranked, read_images
from vitax.runs.saved import TrainedRun, predictions


def zero_shot(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "label", "probability", "top"} over the classes that --labels names, or else those of the training;
    each is the mean of the run's prompt templates."""
    files = image_files(given)
    names, classes = label_weights(run, options.labels)

    def predict(variables, batch):
        out = run.task.predict(variables, batch)
        return {"image": out["image"], "scale": out["scale"]}

    examples = read_images(files, run.reader.blank, run.reader.spec.image.channels)
    for file, error, row in predictions(run, examples, jax.jit(predict)):
        if row is None:
            yield {"file": file, "error": str(error)}
            continue
        logits = row["scale"] * (classes @ row["image"])
        probabilities = np.exp(logits - logits.max())
        yield {"file": file, **ranked(probabilities / probabilities.sum(), names, options.top)}


def label_weights(run: TrainedRun, labels: str) -> tuple[list[str], np.ndarray]:
    """The classes that ``labels`` names, with commas between them, or else those of the training, and for each the mean
    of the run's prompt templates [K, E].

    Raises:
        UserError: fewer than two classes.
    """
    names = [name.strip() for name in labels.split(",") if name.strip()]
    names = names or run.reader.record["class_names"]
    if len(names) < 2:
        raise UserError('name two classes at least: --labels="a dog, a cat"')
    data, vocab = run.config["data"], from_json(run.reader.record["tokenizer"])
    tokens = prompts(vocab, names, {**data, "truncate": True})  # [templates, classes, L]
    encode = text_encoder(run.task)
    texts = np.stack([encode_texts(encode, run.variables, run.reader.blank, t) for t in tokens])
    return names, class_weights(texts)


def example_pair(source: Source, path: Path) -> str:
    """An image of the test, and the flag that names classes."""
    labels = "" if source.class_names else ' --labels="a dog, a cat"'
    return example_image(source, path) + labels
