"""Several labels for each example, and numbers: what the means over a batch do not tell."""

import numpy as np

from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables

THRESHOLDS = np.linspace(0.01, 0.99, 99)


def label_scores(given: Given, *, map: bool = True) -> Evaluation | None:
    """Measures several labels for each example.

    Args:
        map: "map", the mean average precision of the labels; "macro_f1", the mean of their F1 scores at a probability of a
            half; "best_f1" at "best_threshold", the one probability for all labels at which it is largest:
            ``vitax.predict --threshold=val`` takes that of the validation split. False = off.
    """
    if not map:
        return None
    predict = choose(given.task, "probabilities")

    def run(variables: Variables) -> dict[str, float]:
        probabilities, labels = _all(given, predict, variables, "probabilities")
        precision = average_precisions(probabilities, labels)
        f1 = [macro_f1(probabilities, labels, threshold) for threshold in THRESHOLDS]
        largest = [k for k, value in enumerate(f1) if value >= np.nanmax(f1)] or [49]  # without any label, the middle
        best = min(largest, key=lambda k: abs(THRESHOLDS[k] - 0.5))
        return {
            "map": float(np.nanmean(precision)) if np.isfinite(precision).any() else np.nan,
            "macro_f1": macro_f1(probabilities, labels, 0.5),
            "best_f1": f1[best],
            "best_threshold": float(THRESHOLDS[best]),
        }

    return Evaluation(("map", "macro_f1", "best_f1", "best_threshold"), run)


def value_scores(given: Given, *, r2: bool = True) -> Evaluation | None:
    """Measures predicted numbers.

    Args:
        r2: "r2", the share of the variance that is explained, the mean over the numbers; and "mae_NAME", the mean absolute
            error of each, in its unit. False = off.
    """
    if not r2:
        return None
    predict, names = choose(given.task, "values"), given.reader.record["class_names"]

    def run(variables: Variables) -> dict[str, float]:
        values, targets = _all(given, predict, variables, "values")
        errors = np.nanmean(np.abs(values - targets), axis=0)
        found = {"r2": float(np.nanmean(explained(values, targets)))}
        return found | {f"mae_{name}": float(error) for name, error in zip(names, errors, strict=True)}

    return Evaluation(("r2", *(f"mae_{name}" for name in names)), run)


def _all(given: Given, predict, variables: Variables, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets of the test split, both [n, T] float64."""
    pairs = [(out[name], batch["target"]) for batch, out in predicted(predict, variables, given.test, given.mesh)]
    outputs, targets = (np.concatenate(parts).astype(np.float64) for parts in zip(*pairs, strict=True))
    return outputs, targets


def average_precisions(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The average precision of each label, [K]; NaN where no example has it, or none lacks it.

    Args:
        probabilities: [n, K].
        labels: [n, K]: 0, 1, or NaN for unknown.
    """
    from sklearn.metrics import average_precision_score  # the import takes a second

    found = np.full(labels.shape[1], np.nan)
    for k in range(labels.shape[1]):
        known = np.isfinite(labels[:, k])
        if len(np.unique(labels[known, k])) == 2:
            found[k] = average_precision_score(labels[known, k], probabilities[known, k])
    return found


def macro_f1(probabilities: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """The mean F1 score of the labels that occur; the arguments are those of `average_precisions`."""
    taken, known = probabilities >= threshold, np.isfinite(labels)
    hits = (taken & (labels == 1)).sum(axis=0)
    total = (taken & known).sum(axis=0) + (labels == 1).sum(axis=0)
    occurs = (labels == 1).any(axis=0)
    return float((2 * hits[occurs] / np.maximum(total[occurs], 1)).mean()) if occurs.any() else float("nan")


def explained(values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The coefficient of determination of each number, [T]: 1 = exact, 0 = as good as the mean of the targets.

    Args:
        values: [n, T] predictions.
        targets: [n, T], NaN = unknown.
    """
    spread = np.nansum((targets - np.nanmean(targets, axis=0)) ** 2, axis=0)
    return 1 - np.nansum((values - targets) ** 2, axis=0) / np.where(spread > 0, spread, np.nan)
