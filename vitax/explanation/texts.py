"""Explanations of texts by a trained run: the words that speak for the class or for a hidden word."""

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
from vitax.explanation.images import HEADS, explainers, heat_maps, methods_for
from vitax.explanation.scores import Scores, choose, in_float32
from vitax.nn.text import TextEmbed
from vitax.prediction import TrainedRun
from vitax.prediction.output import output_folder
from vitax.prediction.texts import encoded, labelled_text, masked_text

ROLLED_OUT = ("relevance", "rollout")  # methods that add an identity to each layer


def explained_texts(
    run: TrainedRun, lines: Iterable[str], *, method: Sequence[str] = (), label: str = "", top: int = 5
) -> Iterator[dict[str, Any]]:
    """Explanations of texts: {"text", "class", "probability", "top", "words"} for each line.

    For a regression, "target" and "value" are in place of "class" and "probability". "class" is the class of the text or, for a model that guesses hidden words, the word at the first ``[MASK]``.
    "words" is {method: [[token, relevance], ...]}, with 1 as the largest relevance.

    Args:
        run: the trained run.
        lines: the texts.
        method: keys of `vitax.explain.methods.METHODS`, or "all"; () = relevance.
        label: name or number of the class to explain; "" = the most probable one.
        top: number of classes to list.

    Raises:
        UserError: a method has no meaning for texts, or the class is unknown.
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
    compiled: dict[tuple[int, int], Any] = {}  # compiled for a number of tokens and a place, not for the tokens
    for line, row in encoded(lines, encode):
        if isinstance(row, Exception):
            yield {"text": line, "error": str(row)}
            continue
        count = int((row["tokens"] != vocab.pad).sum())
        tokens, segments = (row[name][None, :count] for name in ("tokens", "segments"))
        place = int(np.argmax(tokens[0] == vocab.mask)) if hidden else 0
        scores, x = from_embeddings(run.model, run.variables, tokens, segments, result, place)
        if (count, place) not in compiled:
            traced = subject(scores, x, (1, count), place=place)
            compiled[count, place] = jax.jit(scores), explainers(chosen_methods, traced)
        score, explain = compiled[count, place]
        what = choose(run, score(x)[0], names, label, top)
        words = [vocab.token(token).strip() for token in tokens[0]]
        heats = {
            name: positive(of_others(heat[0], place) if name in ROLLED_OUT else heat[0])
            for name, heat in heat_maps(explain, x, what.number).items()
        }
        yield {
            "text": line,
            **what.row,
            "words": {
                name: [[word, round(float(x), 4)] for word, x in zip(words, heat, strict=True)]
                for name, heat in heats.items()
            },
        }


def explain_texts(run: TrainedRun, lines: Iterable[str], *, out: str = "", **options: Any) -> Iterator[dict[str, Any]]:
    """The rows of `explained_texts`, with "output", the file of a page.

    The page shows the tokens of all texts, darker the more they speak for the class. An existing page is overwritten.

    Args:
        run: the trained run.
        lines: the texts.
        out: folder of the page; "" = RUN/explanations.
        options: see `explained_texts`.

    Raises:
        UserError: a method has no meaning for texts, or the class is unknown.
    """
    output = output_folder(run.path, "explanations", out) / "words.html"
    sections: list[str] = []
    for row in explained_texts(run, lines, **options):
        if "error" not in row:
            shaded = (page.shaded(name, words) for name, words in row["words"].items())
            title = (
                f"{row['class']} {row['probability']:.2f}" if "class" in row else f"{row['target']} {row['value']:.4g}"
            )
            sections.append(page.section(title, *shaded))
            row["output"] = str(output)
        yield row
    rundir.write_text(output, page.document("Words", *sections))


def from_embeddings(
    model: nn.Module, variables: Any, tokens: np.ndarray, segments: np.ndarray, result: str = "logits", place: int = 0
) -> tuple[Scores, jax.Array]:
    """A text model as a function of embedded words, which have gradients, and the embedded words of a text.

    The embedded words are [1, 1, L, D], an image of one row.

    Args:
        model: the text model.
        variables: its variables.
        tokens: [1, L] token ids, without padding.
        segments: [1, L] segment ids.
        result: name of the result of the model: [1, K], or [1, L, K], of which the row at ``place`` is taken.
        place: position of the token that is classified.
    """
    _, seen = model.apply(variables, tokens, segments=segments, mutable="intermediates")
    (embedded,) = seen["intermediates"]["embedded"]

    def scores(x: jax.Array) -> jax.Array:
        def in_its_place(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            is_embedding = isinstance(context.module, TextEmbed) and context.method_name == "__call__"
            return x[:, 0] if is_embedding else call(*args, **kwargs)

        with nn.intercept_methods(in_its_place):
            output = model.apply(variables, tokens, segments=segments)[result]
        return output[:, place] if output.ndim == 3 else output

    return scores, jnp.asarray(embedded)[:, None]


def of_others(heat: np.ndarray, place: int) -> np.ndarray:
    """The heat [L] with its least value at the classified token, as in the official code.

    The share of that token itself comes from the residual, not from a word.
    """
    return np.where(np.arange(len(heat)) == place, heat.min(), heat)


def positive(heat: np.ndarray) -> np.ndarray:
    """The part of a relevance [L] that speaks for the class, scaled to 0..1."""
    return np.maximum(heat, 0) / max(float(heat.max()), 1e-30)
