"""What of a task is worth a picture: each function shows one thing of a trained run on examples of its test split."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from vitax import page
from vitax.data.source import Source
from vitax.errors import UserError
from vitax.prediction import TrainedRun
from vitax.prediction.trained import predictions

MANY = 30  # classes: beyond, a confusion matrix cannot be read
EMBEDDED = 500  # points of a t-SNE


class Exhibit(NamedTuple):
    """body: HTML."""

    title: str
    body: str


# What makes one: called one after the other, so that what fails does not take the others with it. None: not of these data.
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

    found = [Shown(int(name), example, row) for name, example, row in predictions(run, examples()) if row is not None]
    if not found:
        raise UserError(f"none of {min(count, len(source))} test examples can be read")
    return found


def confusion(rows: list[Shown], names: list[str]) -> Exhibit:
    """Which class is taken for which: a matrix or, of many classes, the most frequent confusions."""
    true = np.array([int(item.example["label"]) for item in rows])
    found = np.array([int(item.row["probabilities"].argmax()) for item in rows])
    right = paragraph_of_accuracy(true == found)
    if len(names) > MANY:
        each, wrong = Counter(true.tolist()), Counter(zip(true.tolist(), found.tolist(), strict=True))
        pairs = [(pair, n) for pair, n in wrong.most_common() if pair[0] != pair[1]][:20]
        lines = [(names[a], names[b], n, each[a]) for (a, b), n in pairs]
        return Exhibit("Most frequent confusions", right + page.table(("class", "taken for", "times", "of"), lines))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (true, found), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [[n or "" for n in row] for row in counts.tolist()]
    told = page.paragraph("Rows are the true classes, columns the predicted ones.", note=True)
    return Exhibit("Confusion matrix", right + told + page.heat(shares, names, names, cells))


def paragraph_of_accuracy(right: np.ndarray) -> str:
    """How many of how many are right; [n] bool."""
    told = f"{int(right.sum()):,} of {len(right):,} examples, spread over the test split, are classified correctly ({right.mean():.1%})."
    return page.paragraph(told, note=True)


class Mistake(NamedTuple):
    """true, guess: the classes, with what probability each had."""

    item: Shown
    true: str
    guess: str


def worst_mistakes(rows: list[Shown], names: list[str], count: int) -> list[Mistake]:
    """The wrong predictions with the least probability of the true class; classes as words, with probabilities."""
    wrong = [item for item in rows if item.row["probabilities"].argmax() != item.example["label"]]
    worst = sorted(wrong, key=lambda item: float(item.row["probabilities"][int(item.example["label"])]))
    found = []
    for item in worst[:count]:
        chances = item.row["probabilities"]
        both = int(item.example["label"]), int(chances.argmax())
        found.append(Mistake(item, *(f"{names[k]} ({chances[k]:.0%})" for k in both)))
    return found


def embedding(rows: list[Shown], names: list[str]) -> Exhibit | None:
    """Features in two dimensions, coloured by class (t-SNE: van der Maaten & Hinton 2008, JMLR 9); None if there are no classes,
    or too few examples of them."""
    labelled = [item for item in rows if names and int(item.example.get("label", -1)) >= 0]
    some = labelled[:: -(-len(labelled) // EMBEDDED)] if labelled else []
    if len(some) < 10:
        return None
    from sklearn.manifold import TSNE  # a second: only who asks for it pays
    from threadpoolctl import threadpool_limits

    features = np.stack([np.asarray(item.row["features"], np.float64).reshape(-1) for item in some])
    labels = np.array([int(item.example["label"]) for item in some])
    near = min(30.0, (len(some) - 1) / 3)
    with threadpool_limits(1):  # threads that wait for each other take ten times as long
        places = TSNE(perplexity=near, init="pca", random_state=0).fit_transform(features)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    panel = figure.subplots()
    present = np.unique(labels)
    colors = [to_hex(colormaps["gist_rainbow"](k / len(present))) for k in range(len(present))]
    for label, color in zip(present, colors, strict=True):
        x, y = places[labels == label].T
        panel.scatter(x, y, s=9, color=color)
    panel.set_xticks([])
    panel.set_yticks([])
    told = f"t-SNE of what the head reads, {len(some)} test examples; distances between groups mean little."
    body = page.paragraph(told, note=True) + page.chart(figure)
    if len(present) <= MANY:
        body += page.legend([(names[label], color) for label, color in zip(present, colors, strict=True)])
    return Exhibit("Features by class", body)
