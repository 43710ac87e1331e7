"""Exhibits of a report: each function shows one thing about a trained run, on examples of its test split."""

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from vitax import page
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.evals.classes import calibration_error, reliability
from vitax.prediction import TrainedRun
from vitax.prediction.trained import predictions

MANY = 30  # classes; with more, a confusion matrix is unreadable
EMBEDDED = 500  # points of a t-SNE


class Exhibit(NamedTuple):
    """A part of a report.

    Attributes:
        body: HTML.
        wide: whether it takes all columns of the page.
    """

    title: str
    body: str
    wide: bool = False


# A function that makes one exhibit, or None if these data have none. Each is called on its own, so that one failure does not lose the others.
Maker = Callable[[], Exhibit | None]


class Shown(NamedTuple):
    """An example of the test split and what was predicted for it; example: transformed."""

    index: int
    example: dict[str, Any]
    row: dict[str, np.ndarray]


def spread_out(source: Source, count: int) -> list[int]:
    """At most ``count`` indices over all of a split: folders are sorted by class."""
    return np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)).tolist()


def shown(run: TrainedRun, source: Source, count: int) -> list[Shown]:
    """Predictions for examples all over a split; what cannot be read is left out.

    Raises:
        UserError: none of them can be read.
    """

    def examples() -> Iterator[tuple[str, Any]]:
        for i in spread_out(source, count):
            try:
                yield str(i), source[i]
            except (ValueError, OSError) as error:
                yield str(i), error

    predicted = [
        Shown(int(name), example, row) for name, example, row in predictions(run, examples()) if row is not None
    ]
    if not predicted:
        raise UserError(f"none of {min(count, len(source))} test examples can be read")
    return predicted


def confusion(rows: list[Shown], names: list[str]) -> Exhibit:
    """The confusion matrix or, for many classes, the most frequent confusions."""
    true = np.array([int(item.example["label"]) for item in rows])
    guesses = np.array([int(item.row["probabilities"].argmax()) for item in rows])
    right = paragraph_of_accuracy(true == guesses)
    if len(names) > MANY:
        each, wrong = Counter(true.tolist()), Counter(zip(true.tolist(), guesses.tolist(), strict=True))
        pairs = [(pair, n) for pair, n in wrong.most_common() if pair[0] != pair[1]][:20]
        lines = [(names[a], names[b], n, each[a]) for (a, b), n in pairs]
        return Exhibit("Most frequent confusions", right + page.table(("class", "taken for", "times", "of"), lines))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (true, guesses), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [[n or "" for n in row] for row in counts.tolist()]
    note = page.paragraph("Rows are the true classes, columns the predicted ones.", note=True)
    matrix = page.heat(shares, names, names, cells)
    return Exhibit("Confusion matrix", right + note + matrix + recalls(counts, names))


def recalls(counts: np.ndarray, names: list[str]) -> str:
    """Recall and precision of each class, the worst recall first.

    Args:
        counts: [K, K], rows are the true classes.
    """
    totals, taken, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    lines: list[tuple[str, float, float, int]] = [
        (names[k], float(hits[k] / totals[k]), float(hits[k] / taken[k]) if taken[k] else float("nan"), int(totals[k]))
        for k in np.flatnonzero(totals)
    ]
    head = ("class", "recall", "precision", "examples")
    return page.folded("recall of each class", page.table(head, sorted(lines, key=operator.itemgetter(1))))


def calibration(rows: list[Shown]) -> Exhibit:
    """A reliability diagram: how often predictions of a certain confidence are right (Guo et al. 2017, arXiv:1706.04599)."""
    probabilities = np.stack([item.row["probabilities"] for item in rows])
    labels = np.array([int(item.example["label"]) for item in rows])
    count, _, accuracy = reliability(probabilities, labels).T
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    panel = figure.subplots()
    width = 1 / len(count)
    panel.bar((np.arange(len(count)) + 0.5) * width, accuracy, width * 0.9, color=looks_of(0)[0])
    panel.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    panel.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    note = (
        f"On the dashed line, accuracy equals confidence; bars below it mean that the model is overconfident. Expected calibration error of {len(rows)} test "
        f"examples: {calibration_error(probabilities, labels):.3f}; mean confidence {probabilities.max(axis=1).mean():.3f}."
    )
    return Exhibit("Calibration", page.paragraph(note, note=True) + page.chart(figure, "accuracy by confidence"))


def paragraph_of_accuracy(right: np.ndarray) -> str:
    """A sentence with the number of correct predictions; right: [n] bool."""
    sentence = f"{int(right.sum()):,} of {len(right):,} examples, spread over the test split, are classified correctly ({right.mean():.1%})."
    return page.paragraph(sentence, note=True)


class Mistake(NamedTuple):
    """A wrong prediction: the example, and the true and the predicted class with their probabilities."""

    item: Shown
    true: str
    guess: str


def worst_mistakes(rows: list[Shown], names: list[str], count: int) -> list[Mistake]:
    """The wrong predictions with the least probability of the true class; classes as words, with probabilities."""
    wrong = [item for item in rows if item.row["probabilities"].argmax() != item.example["label"]]
    worst = sorted(wrong, key=lambda item: float(item.row["probabilities"][int(item.example["label"])]))
    mistakes = []
    for item in worst[:count]:
        probabilities = item.row["probabilities"]
        both = int(item.example["label"]), int(probabilities.argmax())
        mistakes.append(Mistake(item, *(f"{names[k]} ({probabilities[k]:.0%})" for k in both)))
    return mistakes


def in_two_dimensions(features: np.ndarray) -> np.ndarray:
    """Features [n, D] as places [n, 2], the same every time (t-SNE: van der Maaten & Hinton 2008, JMLR 9)."""
    from sklearn.manifold import TSNE  # takes a second to import
    from threadpoolctl import threadpool_limits

    near = min(30.0, (len(features) - 1) / 3)
    with threadpool_limits(1):  # several threads take ten times as long
        return TSNE(perplexity=near, init="pca", random_state=0).fit_transform(features)


def embedding(rows: list[Shown], names: list[str]) -> Exhibit | None:
    """Features in two dimensions, coloured by class (t-SNE: van der Maaten & Hinton 2008, JMLR 9); None if there are no classes,
    or too few examples of them."""
    labelled = [item for item in rows if names and int(item.example.get("label", -1)) >= 0]
    some = labelled[:: -(-len(labelled) // EMBEDDED)] if labelled else []
    if len(some) < 10:
        return None
    features = np.stack([np.asarray(item.row["features"], np.float64).reshape(-1) for item in some])
    labels = np.array([int(item.example["label"]) for item in some])
    places = in_two_dimensions(features)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    panel = figure.subplots()
    present = np.unique(labels)
    looks = [looks_of(k) for k in range(len(present))]
    for label, (color, (marker, _)) in zip(present, looks, strict=True):
        x, y = places[labels == label].T
        panel.scatter(x, y, s=20, color=color, marker=marker, linewidths=0)
    panel.set_xticks([])
    panel.set_yticks([])
    note = (
        f"t-SNE of the features that the head reads, {len(some)} test examples; distances between groups mean little."
    )
    body = page.paragraph(note, note=True) + page.chart(figure, "features in two dimensions, coloured by class")
    if len(present) <= MANY:
        entries = zip(present, looks, strict=True)
        body += page.legend([(names[label], color, sign) for label, (color, (_, sign)) in entries])
    return Exhibit("Features by class", body)


def looks_of(number: int) -> tuple[str, tuple[str, str]]:
    """Colour and marker of a class in a chart."""
    return page.COLORS[number % len(page.COLORS)], page.MARKERS[number // len(page.COLORS) % len(page.MARKERS)]
