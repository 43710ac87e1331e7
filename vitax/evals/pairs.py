"""Zero-shot classification and retrieval with an image-text model, which was not trained for either."""

import jax
import numpy as np

from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Batch, Task, Variables

TEXTS = 64  # number of texts encoded at a time


def zero_shot(given: Given, *, zero_shot: bool = True) -> Evaluation | None:
    """Classifies labelled test images by the nearest class name (arXiv:2103.00020, section 3.1).

    The texts of all prompts are encoded once. Measures "zero_shot_accuracy", where each class is the mean of all prompt
    templates, and "zero_shot_accuracy_one_prompt", with the first template alone.

    Args:
        zero_shot: False = off; also off for images without labels.
    """
    names = given.reader.record["class_names"]
    if not zero_shot or not names:
        return None
    encode, classify = text_encoder(given.task), choose(given.task, "image")
    prompts = given.reader.transform.tokens  # [templates, classes, L]

    def run(variables: Variables) -> dict[str, float]:
        texts = np.stack([encode_texts(encode, variables, given.reader.blank, p) for p in prompts])
        weights = {"": class_weights(texts), "_one_prompt": class_weights(texts[:1])}
        hits, count = dict.fromkeys(weights, 0), 0
        for batch, out in predicted(classify, variables, given.test, given.mesh):
            count += len(batch["label"])
            for name, classes in weights.items():
                hits[name] += int(((out["image"] @ classes.T).argmax(1) == batch["label"]).sum())
        return {f"zero_shot_accuracy{name}": hits[name] / max(1, count) for name in weights}

    return Evaluation(("zero_shot_accuracy", "zero_shot_accuracy_one_prompt"), run)


def text_encoder(task: Task):
    """A jitted function (variables, batch) -> [B, E] that does not use the images of the batch."""
    return jax.jit(lambda variables, batch: task.predict(variables, batch)["text"])


def encode_texts(encode, variables: Variables, blank: Batch, tokens: np.ndarray) -> np.ndarray:
    """Embeddings [n, E] of texts, from token ids [n, L]."""
    parts = []
    for first in range(0, len(tokens), TEXTS):
        chunk = tokens[first : first + TEXTS]
        filled = np.concatenate([chunk, np.repeat(chunk[:1], TEXTS - len(chunk), axis=0)])
        rows = {name: np.stack([x] * TEXTS) for name, x in blank.items()}
        parts.append(np.asarray(encode(variables, {**rows, "tokens": filled}))[: len(chunk)])
    return np.concatenate(parts)


def class_weights(texts: np.ndarray) -> np.ndarray:
    """Class embeddings [K, E] of length 1: the mean over the templates of [templates, K, E] of length 1."""
    mean = texts.mean(axis=0)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)


def retrieval(given: Given, *, retrieval: tuple[int, ...] = (1, 5, 10), gallery: int = 5000) -> Evaluation | None:
    """Finds the caption of an image, and the image of a caption, among pairs of the test split (section 3.1.4).

    Measures "image_to_text_r{k}" and "text_to_image_r{k}": how often a correct result is among the first k. Every pair
    with the same image or with the same words is correct.

    Args:
        retrieval: values of k; () = off.
        gallery: number of pairs to search, the first ones of the test split; more are harder (COCO uses 5000).

    Raises:
        ValueError: a number is below 1.
    """
    if not retrieval:
        return None
    if min(*retrieval, gallery) < 1:
        raise ValueError(f"retrieval={retrieval} and gallery={gallery} must be at least 1")
    embed, test = choose(given.task, "image", "text"), given.test

    def run(variables: Variables) -> dict[str, float]:
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        index: list[int] = []
        for batch, out in predicted(embed, variables, test, given.mesh):
            rows.append((out["image"], out["text"], batch["tokens"]))
            index += batch["position"].tolist()
            if len(index) >= gallery:
                break
        if not index:
            return {}
        index = index[:gallery]
        images, texts, tokens = (np.concatenate(parts)[:gallery] for parts in zip(*rows, strict=True))
        _, words = np.unique(tokens, axis=0, return_inverse=True)
        _, files = np.unique([test.source.name(i) for i in index], return_inverse=True)
        scores = images @ texts.T
        hits = {f"image_to_text_r{k}": 0.0 for k in retrieval}
        hits |= {f"text_to_image_r{k}": 0.0 for k in retrieval}
        words, files = words.reshape(-1), files.reshape(-1)
        for direction, matrix in (("image_to_text", scores), ("text_to_image", scores.T)):
            for row, row_scores in enumerate(matrix):
                correct = (words == words[row]) | (files == files[row])
                # The rank of the best correct result; ties count against it.
                rank = int((row_scores[~correct] >= row_scores[correct].max()).sum())
                for k in retrieval:
                    hits[f"{direction}_r{k}"] += rank < k
        return {name: float(value / len(index)) for name, value in hits.items()}

    names = (f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in retrieval)
    return Evaluation(tuple(names), run)
