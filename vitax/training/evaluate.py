"""The evaluator of every task: the mean of the task's own metrics over a source, each example counted once.

An evaluator is a function ``variables -> {name: value}``; it keeps no state between calls.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vitax.metrics import reported
from vitax.tasks.task import Task, Variables
from vitax.training.sharding import to_device

Evaluator = Callable[[Variables], dict[str, float]]


def mean_metrics(task: Task, batches: Callable[[], Iterable[dict[str, Any]]], mesh: Mesh, seed: int = 0) -> Evaluator:
    """The evaluator that averages the metrics of ``task.loss`` with ``train=False`` over all valid examples.

    Args:
        task: the objective.
        batches: function that returns the batches, called for each evaluation; they have few shapes, each of which is
            compiled, and padding is marked invalid.
        mesh: mesh to compute on.
        seed: seed of tasks that draw random numbers in evaluation too; they draw the same ones each time.

    Returns:
        An evaluator. Its results are the task's metrics, "examples" (the number of valid examples), "corrupt" (the
        number of this host's examples that could not be read) and "seconds".
    """

    def metrics(variables: Variables, batch, number):
        key = jax.random.fold_in(jax.random.key(seed), number)
        _, aux = task.loss(variables, batch, key, False)
        return aux.metrics, batch["valid"].sum()

    compiled = jax.jit(metrics)

    def evaluate(variables: Variables) -> dict[str, float]:
        started = time.perf_counter()
        sums: dict[str, list[float]] = {}
        examples = corrupt = 0
        pending = None

        def add(found) -> int:
            pairs, count = jax.device_get(found)
            for name, (total, n) in pairs.items():
                pair = sums.setdefault(name, [0.0, 0.0])
                pair[0] += float(total)
                pair[1] += float(n)
            return int(count)

        with jax.set_mesh(mesh):
            for number, batch in enumerate(batches()):
                corrupt += int((~batch["valid"] & (batch["index"] >= 0)).sum())
                counted = compiled(variables, to_device(batch, mesh), number)
                if pending is not None:  # one batch late, so that the device never waits
                    examples += add(pending)
                pending = counted
        if pending is not None:
            examples += add(pending)
        means = {name: reported(name, total, n) for name, (total, n) in sums.items()}
        seconds = time.perf_counter() - started
        return {**means, "examples": examples, "corrupt": corrupt, "seconds": seconds}

    return evaluate


def evaluate_all(evaluators: Mapping[str, Evaluator], variables: Variables, ema: Variables | None) -> dict[str, float]:
    """Results of every evaluator: ``<split>/<metric>`` and, for the averaged parameters, ``<split>_ema/<metric>``."""
    results = {}
    for split, evaluator in evaluators.items():
        for suffix, chosen in (("", variables), ("_ema", ema)):
            if chosen is not None:
                results |= {f"{split}{suffix}/{name}": value for name, value in evaluator(chosen).items()}
    return results
