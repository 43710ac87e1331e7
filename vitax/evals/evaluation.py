"""Inputs and results of evaluations that are not a mean over the test split."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vitax.data.loader import Loader
from vitax.data.source import Splits
from vitax.pipelines import Reader
from vitax.tasks import Batch, Task, Variables
from vitax.training.evaluate import Evaluator
from vitax.training.sharding import to_device


class Given(NamedTuple):
    """Inputs of an evaluation.

    Attributes:
        task: the objective.
        model: the model.
        splits: training and test data.
        reader: reader of single examples.
        train, test: batches of both splits, not augmented.
        mesh: devices that compute.
        seed: seed of the run.
    """

    task: Task
    model: nn.Module
    splits: Splits
    reader: Reader
    train: Loader
    test: Loader
    mesh: Mesh
    seed: int


class Evaluation(NamedTuple):
    """An evaluation that is ready to run.

    Attributes:
        metrics: names of the metrics that ``run`` measures.
        run: variables -> {name: value}.
    """

    metrics: tuple[str, ...]
    run: Evaluator


def together(means: Evaluator, extra: list[Evaluation]) -> Evaluator:
    """One evaluator that combines the means with the extra evaluations."""

    def evaluate(variables: Variables) -> dict[str, float]:
        metrics = means(variables)
        for evaluation in extra:
            metrics |= evaluation.run(variables)
        return metrics

    return evaluate


def predicted(
    predict: Callable[[Variables, Batch], dict[str, jax.Array]], variables: Variables, loader: Loader, mesh: Mesh
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Predictions for each readable example of a loader, once, in the order of `Loader.once`; every host gets all of them.

    Args:
        predict: jitted; see `vitax.tasks.Task.predict`.

    Yields:
        A batch and its predictions, both cut to the valid examples.
    """
    everywhere = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))
    for batch in loader.once():
        batch["position"] = batch.pop("index").astype(np.int32)  # devices have no int64
        with jax.set_mesh(mesh):
            inputs = to_device(batch, mesh)
            out = predict(variables, inputs)
            if jax.process_count() > 1:
                inputs, out = everywhere((inputs, out))
        batch, out = jax.device_get((inputs, out))
        valid = batch["valid"]
        yield {name: x[valid] for name, x in batch.items()}, {name: x[valid] for name, x in out.items()}


def choose(task: Task, *names: str) -> Any:
    """``task.predict``, jitted and limited to the predictions with these names; the others are not computed."""

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out = task.predict(variables, batch)
        return {name: out[name] for name in names}

    return jax.jit(predict)
