"""Quality of an encoder's frozen features: nearest neighbours, and linear classifiers trained on few examples."""

import warnings
from collections.abc import Sequence

import numpy as np

from vitax.errors import UserError
from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables


def probes(given: Given, *, knn: int = 0, shots: tuple[int, ...] = (), draws: int = 3) -> Evaluation | None:
    """Classifies the test split by the "features" that a task predicts, scaled to length 1.

    Args:
        knn: number of neighbours that vote, weighted by exp(cosine / 0.07) (Wu et al. 2018, arXiv:1805.01978; 20 is
            usual); 0 = off. The metric is "knn_accuracy".
        shots: numbers of labelled examples of each class on which a logistic regression is trained; () = off. The
            metric of each is "accuracy_{n}shot", the mean over ``draws`` draws.
        draws: number of random draws of the examples for ``shots``, at least 1.

    Raises:
        ValueError: a number is out of its range, the images have no labels, or the model is distilled.
        UserError: there are fewer training images than ``knn``, or fewer of a class than ``shots``.
    """
    if knn < 0 or draws < 1 or any(n < 1 for n in shots):
        raise ValueError(f"knn={knn}, shots={shots} and draws={draws} must be positive (knn=0 is off)")
    if not knn and not shots:
        return None
    classes = len(given.reader.record["class_names"])
    if not classes:
        raise ValueError("knn and shots need labelled images")
    if getattr(given.model, "distillation_token", False):
        raise ValueError("knn and shots need one feature per image; a distilled model has two")
    _check_sizes(given, knn, shots)
    predict = choose(given.task, "features")

    def extract(variables: Variables, loader) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(out["features"], batch["label"]) for batch, out in predicted(predict, variables, loader, given.mesh)]
        x, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), y

    def run(variables: Variables) -> dict[str, float]:
        train, test = extract(variables, given.train), extract(variables, given.test)
        if len(np.unique(train[1])) < 2:
            raise UserError("knn and shots need at least two classes among the training images")
        if given.splits.train.labels is None:  # otherwise they were counted before the training
            _check_counts(np.bincount(train[1]), given.reader.record["class_names"], shots)
        accuracies = {}
        if knn:
            accuracies["knn_accuracy"] = knn_accuracy(*train, *test, min(knn, len(train[1])), classes)
        for n in shots:
            accuracies[f"accuracy_{n}shot"] = few_shot_accuracy(*train, *test, n, draws, given.seed)
        return accuracies

    names = (*(("knn_accuracy",) if knn else ()), *(f"accuracy_{n}shot" for n in shots))
    return Evaluation(names, run)


def _check_sizes(given: Given, knn: int, shots: tuple[int, ...]) -> None:
    """Raises an error where a metric would keep the name of a setting that the data do not allow."""
    labels = given.splits.train.labels
    if knn > len(given.splits.train):
        raise UserError(
            f"config.evals.knn={knn} is more than the {len(given.splits.train):,} training images; lower it, or "
            "switch it off with 0"
        )
    if labels is not None:
        _check_counts(np.bincount(labels), given.splits.train.class_names, shots)


def _check_counts(counts: np.ndarray, names: Sequence[str], shots: tuple[int, ...]) -> None:
    """Raises an error for a class with fewer training images than ``shots``."""
    few = [k for k in range(len(counts)) if 0 < counts[k] < max(shots, default=0)]
    if few:
        raise UserError(
            f"config.evals.shots={shots}: the class {names[few[0]]!r} has {counts[few[0]]} training images, fewer than "
            f"{max(shots)}; lower it, or switch it off with ()"
        )


def knn_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    k: int,
    classes: int,
    temperature: float = 0.07,
) -> float:
    """Share of the test examples that their neighbours classify correctly.

    Args:
        train, test: [n, D] features of length 1.
        train_labels, test_labels: [n] int.
        k: number of neighbours, at most the number of training examples.
        classes: number of classes.
        temperature: a neighbour's vote has the weight exp(cosine / temperature).
    """
    from sklearn.neighbors import NearestNeighbors  # the import takes a second, so it is delayed until it is needed

    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(train)
    distance, index = search.kneighbors(test)
    cosine = 1 - np.square(distance) / 2  # because the vectors have length 1
    votes = np.zeros((len(test), classes))
    rows = np.arange(len(test))[:, None]
    np.add.at(votes, (rows, train_labels[index]), np.exp(cosine / temperature))
    return float((votes.argmax(1) == test_labels).mean())


def few_shot_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    shots: int,
    draws: int,
    seed: int,
) -> float:
    """Test accuracy, 0..1, of logistic regressions trained on few examples, the mean over random draws.

    Args:
        train, test: [N, D] features.
        train_labels, test_labels: [N] int.
        shots: number of training examples of each class.
        draws: number of draws of the training examples.
        seed: seed of the draws.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    results = []
    for _ in range(draws):
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(train_labels == label))[:shots] for label in np.unique(train_labels)]
        )
        model = LogisticRegression(C=10.0, max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train[chosen], train_labels[chosen])
        results.append((model.predict(test) == test_labels).mean())
    return float(np.mean(results))
