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
    """Finds the captions of an image, and the images of a caption, in the test split (section 3.1.4).

    Measures "image_to_text_r{k}", the share of images of which a correct caption is among the first k captions, and
    "text_to_image_r{k}", the share of captions of which a correct image is among the first k images. An image and a
    caption belong together if any pair of the split has both. Every image and every caption counts once, however often
    it occurs.

    Args:
        retrieval: values of k; () = off.
        gallery: number of images to search, the first ones of the test split, with all their captions; more are harder
            (COCO uses 5000, with 25,000 captions).

    Raises:
        ValueError: a number is below 1.
    """
    if not retrieval:
        return None
    if min(*retrieval, gallery) < 1:
        raise ValueError(f"retrieval={retrieval} and gallery={gallery} must be at least 1")
    embed, test = choose(given.task, "image", "text"), given.test

    source = test.source
    searched = dict.fromkeys(source.name(i) for i in range(len(source)))
    chosen = {name: number for number, name in enumerate(searched) if number < gallery}
    last = max((i for i in range(len(source)) if source.name(i) in chosen), default=-1)

    def run(variables: Variables) -> dict[str, float]:
        images: dict[str, np.ndarray] = {}  # embeddings of the distinct images
        texts: dict[bytes, np.ndarray] = {}  # embeddings of the distinct captions, by their tokens
        pairs: set[tuple[str, bytes]] = set()
        for batch, out in predicted(embed, variables, test, given.mesh):
            for i, image, text, tokens in zip(
                batch["position"], out["image"], out["text"], batch["tokens"], strict=True
            ):
                name, words = source.name(int(i)), tokens.tobytes()
                if name in chosen:
                    images.setdefault(name, image)
                    texts.setdefault(words, text)
                    pairs.add((name, words))
            if len(batch["position"]) and batch["position"][-1] >= last:
                break
        if not pairs:
            return {}
        rows, columns = ({key: number for number, key in enumerate(keys)} for keys in (images, texts))
        correct = np.zeros((len(rows), len(columns)), bool)
        correct[[rows[name] for name, _ in pairs], [columns[words] for _, words in pairs]] = True
        scores = np.stack(list(images.values())) @ np.stack(list(texts.values())).T
        ranks = {"image_to_text": _ranks(scores, correct), "text_to_image": _ranks(scores.T, correct.T)}
        return {f"{way}_r{k}": float((rank < k).mean()) for way, rank in ranks.items() for k in retrieval}

    names = (f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in retrieval)
    return Evaluation(tuple(names), run)


def _ranks(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """How many wrong results come before the best correct one, for each query; ties count against it.

    Args:
        scores: [queries, results].
        correct: [queries, results] bool, at least one True in each row.
    """
    if not np.isfinite(scores).all():  # every comparison with NaN is false: a broken model would score 100 %
        return np.full(len(scores), scores.shape[1])
    best = np.where(correct, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best) & ~correct).sum(axis=1)
