"""Explanations of texts by a trained run: which words speak for the class, or for a hidden word."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax import page, rundir
from vitax.data.tokens import from_json
from vitax.errors import UserError
from vitax.explain.methods import METHODS, subject
from vitax.explanation.images import HEADS, Scores, class_number, explainers, heat_maps, in_float32, methods_for
from vitax.nn.text import TextEmbed
from vitax.prediction import TrainedRun
from vitax.prediction.images import ranked
from vitax.prediction.output import output_folder
from vitax.prediction.texts import encoded, labelled_text, masked_text

ROLLED_OUT = ("relevance", "rollout")  # methods that add an identity to each layer


def explained_texts(
    run: TrainedRun, lines: Iterable[str], *, method: Sequence[str] = (), label: str = "", top: int = 5
) -> Iterator[dict[str, Any]]:
    """{"text", "class", "probability", "top", "words": {method: [[token, relevance], ...]}} for each line; the largest relevance is 1.

    The class is that of the text or, for a model that guesses hidden words, the word at the first ``[MASK]``.

    Args:
        method: keys of `vitax.explain.methods.METHODS`, or "all"; () = relevance.
        label: name or number of the class to explain; "" = the most probable one.
        top: number of classes to list.

    Raises:
        UserError: a method that has no meaning for texts, or an unknown class.
    """
    if HEADS in method:
        raise UserError(f"--method={HEADS} is for images; choose one of {', '.join(METHODS)}")
    run, vocab = in_float32(run), from_json(run.reader.record["tokenizer"])
    hidden = run.task_name == "masked_words"
    names = (
        [vocab.token(k).strip() for k in range(run.model.vocab_size)] if hidden else run.reader.record["class_names"]
    )
    encode, result = (masked_text(run), "word_logits") if hidden else (labelled_text(run), "logits")
    chosen_methods = methods_for(method, True)
    compiled: dict[tuple[int, int], Any] = {}  # only the number of tokens and the place are compiled, not the tokens
    for line, row in encoded(lines, encode):
        if isinstance(row, Exception):
            yield {"text": line, "error": str(row)}
            continue
        count = int((row["tokens"] != vocab.pad).sum())
        tokens, segments = (row[name][None, :count] for name in ("tokens", "segments"))
        place = int(np.argmax(tokens[0] == vocab.mask)) if hidden else 0
        scores, x = from_embeddings(run.model, run.variables, tokens, segments, result, place)
        if (count, place) not in compiled:
            it = subject(scores, x, (1, count), place=place)
            compiled[count, place] = jax.jit(scores), explainers(chosen_methods, it)
        score, explain = compiled[count, place]
        probabilities = np.asarray(jax.nn.softmax(score(x)[0]))
        number = class_number(label, names, probabilities)
        words = [vocab.token(token).strip() for token in tokens[0]]
        heats = {
            name: positive(of_others(heat[0], place) if name in ROLLED_OUT else heat[0])
            for name, heat in heat_maps(explain, x, number).items()
        }
        yield {
            "text": line,
            "class": names[number],
            "probability": round(float(probabilities[number]), 6),
            "top": ranked(probabilities, names, top)["top"],
            "words": {
                name: [[word, round(float(x), 4)] for word, x in zip(words, heat, strict=True)]
                for name, heat in heats.items()
            },
        }


def explain_texts(run: TrainedRun, lines: Iterable[str], *, out: str = "", **options: Any) -> Iterator[dict[str, Any]]:
    """The rows of `explained_texts`, and "output": a page with the tokens of all texts, the darker the more they speak
    for the class. A former page is overwritten.

    Args:
        out: folder of the page; "" = RUN/explanations.
        options: see `explained_texts`.

    Raises:
        UserError: a method that has no meaning for texts, or an unknown class.
    """
    output = output_folder(run.path, "explanations", out) / "words.html"
    sections: list[str] = []
    for row in explained_texts(run, lines, **options):
        if "error" not in row:
            shaded = (page.shaded(name, words) for name, words in row["words"].items())
            sections.append(page.section(f"{row['class']} {row['probability']:.2f}", *shaded))
            row["output"] = str(output)
        yield row
    rundir.write_text(output, page.document("Words", *sections))


def from_embeddings(
    model: nn.Module, variables: Any, tokens: np.ndarray, segments: np.ndarray, result: str = "logits", place: int = 0
) -> tuple[Scores, jax.Array]:
    """What a text model says as a function of embedded words, which have gradients: [1, 1, L, D], an image of one row; and these
    of a text.

    Args:
        tokens, segments: [1, L], without padding.
        result: of the model, [1, K], or [1, L, K] of which ``place`` is taken.
    """
    _, seen = model.apply(variables, tokens, segments=segments, mutable="intermediates")
    (embedded,) = seen["intermediates"]["embedded"]

    def scores(x: jax.Array) -> jax.Array:
        def in_its_place(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            is_embedding = isinstance(context.module, TextEmbed) and context.method_name == "__call__"
            return x[:, 0] if is_embedding else call(*args, **kwargs)

        with nn.intercept_methods(in_its_place):
            found = model.apply(variables, tokens, segments=segments)[result]
        return found[:, place] if found.ndim == 3 else found

    return scores, jnp.asarray(embedded)[:, None]


def of_others(heat: np.ndarray, place: int) -> np.ndarray:
    """[L] with the least value at the token that is classified, whose own share is the residual's, not a word's (the official code
    does so)."""
    return np.where(np.arange(len(heat)) == place, heat.min(), heat)


def positive(heat: np.ndarray) -> np.ndarray:
    """[L] relevance to what of it speaks for the class, 0..1."""
    return np.maximum(heat, 0) / max(float(heat.max()), 1e-30)
