"""Exhibits of the tasks with texts."""

from functools import partial
from typing import Any

import numpy as np

from vitax import page
from vitax.data.tokens import Vocabulary, from_json
from vitax.prediction import TrainedRun
from vitax.prediction.texts import continue_text, fill_in
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

TEXTS = 12  # texts in a table
ALIGNED = 3  # translations whose alignment is drawn
LONGEST = 40  # tokens; the alignment of a longer text is unreadable


def classified_texts(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """Confusion matrix, worst mistakes, features by class."""
    rows, names = shown(run, source, count), run.reader.record["class_names"]
    return [
        partial(confusion, rows, names),
        partial(mistaken_texts, rows, names, source),
        partial(calibration, rows),
        partial(embedding, rows, names),
    ]


def mistaken_texts(rows: list[Shown], names: list[str], source: Any) -> Exhibit:
    """The worst mistakes, as texts."""
    lines = [
        (m.true, m.guess, " | ".join(source.source[m.item.index]["texts"])[:300])
        for m in worst_mistakes(rows, names, 10)
    ]
    body = page.table(("class", "taken for", "text"), lines) if lines else page.paragraph("None among these examples.")
    return Exhibit("Worst mistakes", body)


def translated(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """Translations beside their references, and what each word of some looked at."""
    vocab = from_json(run.reader.record["tokenizer"])
    rows = shown(run, source, min(count, TEXTS))
    return [partial(translations, vocab, rows, source), partial(alignments, run, vocab, rows)]


def translations(vocab: Vocabulary, rows: list[Shown], source: Any) -> Exhibit:
    """Translations beside their references."""
    lines = [(*source.source[item.index], vocab.decode(item.row["tokens"])) for item in rows]
    return Exhibit("Translations", page.table(("source", "reference", "translation"), lines))


def alignments(run: TrainedRun, vocab: Vocabulary, rows: list[Shown]) -> Exhibit | None:
    """Attention of each word of some translations to the source; None if all sources are long."""
    short = [item for item in rows if (item.example["source"] != vocab.pad).sum() <= LONGEST]
    charts = [page.heat(*aligned(run, vocab, item)) for item in short[:ALIGNED]]
    note = page.paragraph(
        "Rows are words as they were written, columns what they looked at: attention of the last decoder layer, mean of its heads.",
        note=True,
    )
    return Exhibit("Alignment", note + page.grid(charts)) if charts else None


def aligned(run: TrainedRun, vocab: Vocabulary, item: Shown) -> tuple[np.ndarray, list[str], list[str]]:
    """The attention [n, m] of the words that were written to those of the source, and both."""
    written = item.row["tokens"]
    length = int(np.argmax(written == vocab.end)) if vocab.end in written else len(written)
    target = np.full_like(item.example["target"], vocab.pad)
    words = written[: min(length, len(target) - 1)]
    target[0], target[1 : 1 + len(words)] = vocab.begin, words
    weights = cross_attention(run, {**item.example, "target": target})
    present = np.flatnonzero(item.example["source"] != vocab.pad)
    written_words, source_words = (
        [vocab.token(token).strip() for token in side] for side in (words, item.example["source"][present])
    )
    return weights[: len(words)][:, present], written_words, source_words


def cross_attention(run: TrainedRun, example: dict[str, np.ndarray]) -> np.ndarray:
    """[target, source] attention of the last decoder layer, mean of its heads, for a target that is given.

    Args:
        example: "source" and "target" [L] token ids, the target from begin on.
    """
    batch = run.reader.pad([example], 1)
    padding = run.reader.spec.pad
    masks = {f"{side}_mask": batch[side] != padding for side in ("source", "target")}
    _, state = run.model.apply(run.variables, batch["source"], batch["target"], **masks, mutable="intermediates")
    decoder = state["intermediates"]["decoder"]
    if "weights" in decoder:  # recurrent: one attention, without heads
        return np.asarray(decoder["weights"][0][0])
    blocks = [name for name in decoder if name.startswith("block")]
    last = max(blocks, key=lambda name: int(name.removeprefix("block")))
    return np.asarray(decoder[last]["cross_attention"]["weights"][0][0].mean(axis=0))


def continuations(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """Continuations of test texts."""
    return [partial(continuation, run, source, count)]


def continuation(run: TrainedRun, source: Any, count: int) -> Exhibit:
    """Continuations of the first half of test texts, beside their real second half."""
    starts, ends = [], []
    for i in spread_out(source, min(count, TEXTS)):
        words = source.lines[i].split()
        starts.append(" ".join(words[: max(1, len(words) // 2)]))
        ends.append(" ".join(words[max(1, len(words) // 2) :]))
    rows = continue_text(run, starts)
    lines = [(row["text"], row.get("continuation", row.get("error")), end) for row, end in zip(rows, ends, strict=True)]
    return Exhibit("Continuations", page.table(("text", "how it goes on, greedily", "how it went on"), lines))


def guessed(run: TrainedRun, source: Any, count: int) -> list[Maker]:
    """Words that are hidden."""
    return [partial(hidden_words, run, source, count)]


def hidden_words(run: TrainedRun, source: Any, count: int) -> Exhibit:
    """Test texts with one word in seven hidden, and the guesses."""
    texts, answers = [], []
    for i in spread_out(source, min(count, TEXTS)):
        words = source.lines[i].split()[:24]
        hidden = range(len(words) // 2 % 7, len(words), 7)
        answers.append(", ".join(words[k] for k in hidden))
        texts.append(" ".join("[MASK]" if k in hidden else word for k, word in enumerate(words)))
    lines = []
    for row, answer in zip(fill_in(run, texts), answers, strict=True):
        guesses = "; ".join(
            " ".join(f"{guess['word']} {guess['probability']:.0%}" for guess in mask[:3])
            for mask in row.get("masks", ())
        )
        lines.append((row["text"], answer, guesses or row.get("error", "")))
    note = page.paragraph("A mask is one token; a word of several is guessed by its first at best.", note=True)
    return Exhibit("Hidden words", note + page.table(("text", "hidden", "guesses for each mask"), lines))
