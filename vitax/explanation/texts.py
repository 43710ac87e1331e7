"""Which words of a text speak for its class."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax import rundir
from vitax.data.tokens import from_json
from vitax.errors import UserError
from vitax.explain.methods import METHODS, subject
from vitax.explanation.images import HEADS, Scores, chosen, explainers, heat_maps, in_float32, methods_wanted
from vitax.nn.text import TextEmbed
from vitax.prediction import TrainedRun
from vitax.prediction.image_outputs import output_folder
from vitax.prediction.images import ranked
from vitax.prediction.texts import encoded, labelled_text, lines_of, masked_text

ROLLED_OUT = ("relevance", "rollout")  # methods that add an identity to each layer


def explain_texts(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"text", "class", "top", "words": {method: [[token, relevance], ...]}, "output"}; the largest relevance is 1. The class of a
    text or, of a model that guesses hidden words, the word at its first ``[MASK]``. The page has the tokens of all texts, the darker
    the more they speak for the class; what was there of that name is overwritten.

    Raises:
        UserError: a method that has no meaning for texts, or an unknown class.
    """
    if HEADS in options.method:
        raise UserError(f"--method={HEADS} is of images; choose of {', '.join(METHODS)}")
    run, vocab = in_float32(run), from_json(run.reader.record["tokenizer"])
    hidden = run.config["task"]["name"] == "masked_words"
    every = range(run.model.vocab_size) if hidden else ()
    names = [vocab.token(k).strip() for k in every] or run.reader.record["class_names"]
    encode, result = (masked_text(run), "word_logits") if hidden else (labelled_text(run), "logits")
    wanted, output = methods_wanted(options.method, True), output_folder(options, "explanations") / "words.html"
    sections, compiled = [], {}
    for line, row in encoded(lines_of(given), encode):
        if isinstance(row, Exception):
            yield {"text": line, "error": str(row)}
            continue
        count = int((row["tokens"] != vocab.pad).sum())
        tokens, segments = (row[name][None, :count] for name in ("tokens", "segments"))
        place = int(np.argmax(tokens[0] == vocab.mask)) if hidden else 0
        scores, x = from_embeddings(run.model, run.variables, tokens, segments, result, place)
        if (count, place) not in compiled:  # of the words nothing is compiled but how many there are
            it = subject(scores, x, (1, count), place=place)
            compiled[count, place] = jax.jit(scores), explainers(wanted, it)
        score, explain = compiled[count, place]
        probabilities = np.asarray(jax.nn.softmax(score(x)[0]))
        label = chosen(options["class"].value, names, probabilities)
        words = [vocab.token(token).strip() for token in tokens[0]]
        heats = {
            name: positive(of_others(heat[0], place) if name in ROLLED_OUT else heat[0])
            for name, heat in heat_maps(explain, x, label).items()
        }
        title = f"{names[label]} {probabilities[label]:.2f}"
        sections.append(
            f"<h3>{html.escape(title)}</h3>" + "".join(shaded(name, words, heat) for name, heat in heats.items())
        )
        yield {
            "text": line,
            "class": names[label],
            "top": ranked(probabilities, names, options.top)["top"],
            "words": {
                name: [[word, round(float(x), 4)] for word, x in zip(words, heat, strict=True)]
                for name, heat in heats.items()
            },
            "output": str(output),
        }
    rundir.write_text(output, page(sections))


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


def shaded(name: str, words: Sequence[str], heat: np.ndarray) -> str:
    """Tokens on red, the stronger the darker."""
    spans = (
        f'<span style="background: rgba(214, 60, 40, {shade:.2f})">{html.escape(word)}</span>'
        for word, shade in zip(words, heat, strict=True)
    )
    return f"<p><b>{html.escape(name)}</b> {' '.join(spans)}</p>"


def page(sections: Sequence[str]) -> str:
    """The sections as one HTML file."""
    style = "body { font: 16px/1.8 system-ui, sans-serif; max-width: 1000px; margin: 2em auto } b { font-weight: 400; color: #57606a; margin-right: 1em }"
    return f'<!doctype html><meta charset="utf-8"><title>words</title><style>{style}</style>{"".join(sections)}\n'
