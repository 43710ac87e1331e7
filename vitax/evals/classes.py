"""What the accuracy of a classifier does not tell: classes of unequal size, calibration, and how sure the accuracy is."""

import numpy as np

from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables

NAMES = ("balanced_accuracy", "macro_f1", "roc_auc", "calibration_error", "accuracy_low", "accuracy_high")
BINS = 15


def classwise(given: Given, *, classwise: bool = False) -> Evaluation | None:
    """Measures a classifier class by class, and its probabilities.

    Args:
        classwise: "balanced_accuracy", the mean recall of the classes; "macro_f1", the mean of their F1 scores;
            "roc_auc", the mean area under the curve of each class against the others (of two classes, of the second);
            "calibration_error", see `calibration_error`; and "accuracy_low" and "accuracy_high", a 95 % interval of the
            accuracy, see `bootstrap_interval`. They take a second pass over the test split. False = off.

    Raises:
        ValueError: the data have no classes.
    """
    if not classwise:
        return None
    if not given.reader.record["class_names"]:
        raise ValueError("classwise needs labelled data")
    predict = choose(given.task, "probabilities")

    def run(variables: Variables) -> dict[str, float]:
        pairs = [
            (out["probabilities"], batch["label"])
            for batch, out in predicted(predict, variables, given.test, given.mesh)
        ]
        probabilities, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return scores(probabilities, labels, given.seed)

    return Evaluation(NAMES, run)


def scores(probabilities: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, float]:
    """The metrics of `classwise`; classes without an example count in none of them.

    Args:
        probabilities: [n, K].
        labels: [n] int.
        seed: seed of the bootstrap.
    """
    # The import takes a second, so it is delayed until it is needed.
    from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

    guesses, present = probabilities.argmax(axis=1), np.unique(labels)
    areas = [
        roc_auc_score(labels == k, probabilities[:, k])
        for k in (present if probabilities.shape[1] > 2 else present[-1:])
        if len(present) > 1
    ]
    low, high = bootstrap_interval(guesses == labels, seed)
    values = (
        balanced_accuracy_score(labels, guesses),
        f1_score(labels, guesses, labels=present, average="macro", zero_division=0),
        np.mean(areas) if areas else np.nan,
        calibration_error(probabilities, labels),
        low,
        high,
    )
    return {name: float(value) for name, value in zip(NAMES, values, strict=True)}


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Confidence and accuracy in bins of the confidence, the largest probability.

    Args:
        probabilities: [n, K].
        labels: [n] int.
        bins: number of bins of equal width on 0..1.

    Returns:
        [bins, 3]: number of examples, mean confidence, accuracy; the latter are 0 in an empty bin.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights, bins) for weights in (confidence, right)]
    return np.stack([count, *(total / np.maximum(count, 1) for total in sums)], axis=1)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of Guo et al. 2017 (arXiv:1706.04599), equation 5: 0 = the confidence is the accuracy.

    The arguments are those of `reliability`.
    """
    count, confidence, accuracy = reliability(probabilities, labels, bins).T
    return float((count * np.abs(confidence - accuracy)).sum() / count.sum())


def bootstrap_interval(right: np.ndarray, seed: int = 0, draws: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """The interval in which the mean lies of examples that are drawn again, with replacement (Efron 1979).

    Args:
        right: [n] bool.
        seed: seed of the draws.
        draws: number of draws.
        level: share of the draws inside the interval.
    """
    n = len(right)
    # The number of right examples in a draw is binomial, so that no draw has to be made example by example.
    means = np.random.default_rng(seed).binomial(n, right.mean(), draws) / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
