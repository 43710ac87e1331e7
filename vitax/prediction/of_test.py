"""What a run predicts for its whole test split: file, label, predicted class and its probability."""

import functools
from collections.abc import Iterator
from typing import Any

from vitax.data.source import Source
from vitax.prediction.trained import TrainedRun, predictions

FILE = "test_predictions.csv"
OBJECTIVES = ("classification", "token_pruning", "text_classification")


def test_predictions(run: TrainedRun, source: Source, transform: Any) -> Iterator[dict[str, Any]]:
    """{"file", "label", "predicted", "probability"} for each example of a labelled split, or {"file", "error"}.

    Args:
        run: the trained run, of one of OBJECTIVES.
        source: the split.
        transform: its transform of test examples.
    """
    names = run.reader.record["class_names"]
    run = run._replace(reader=run.reader._replace(transform=transform))
    examples = ((source.name(i), functools.partial(source.__getitem__, i)) for i in range(len(source)))
    for file, example, row in predictions(run, examples):
        if row is None:
            yield {"file": file, "error": str(example)}
            continue
        best = int(row["probabilities"].argmax())
        probability = round(float(row["probabilities"][best]), 6)
        yield {"file": file, "label": names[example["label"]], "predicted": names[best], "probability": probability}
