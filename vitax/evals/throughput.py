"""Savings from pruning: counted multiply-accumulates, and measured images per second."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from vitax.evals.evaluation import Evaluation, Given
from vitax.macs import count_macs
from vitax.tasks import Variables


def throughput(given: Given, *, throughput: tuple[int, ...] = ()) -> Evaluation | None:
    """Compares a `vitax.models.dynamic_vit.DynamicViT` with the dense model of the same parameters.

    Args:
        throughput: batch sizes to measure; () = off. The metrics are "gmacs" and "gmacs_dense" of one image, and for
            each batch size b "images_per_second_b" and "images_per_second_b_dense": medians of calls that alternate.

    Raises:
        ValueError: a batch size is below 1.
    """
    if not throughput:
        return None
    if min(throughput) < 1:
        raise ValueError(f"throughput={throughput} must hold batch sizes of at least 1")
    models = {"": given.model, "_dense": given.model.clone(stages=(), keep_ratios=())}
    spec = given.reader.spec

    def images(batch: int) -> jax.Array:
        return jnp.zeros((batch, *spec.image_size, spec.channels), jnp.float32)

    def run(variables: Variables) -> dict[str, float]:
        params = {"params": jax.device_get(variables["params"])}
        metrics = {}
        for suffix, model in models.items():
            metrics[f"gmacs{suffix}"] = count_macs(model.apply, params, images(1)) / 1e9
        for batch in throughput:
            times = _take_turns([jax.jit(m.apply) for m in models.values()], params, images(batch))
            for suffix, seconds in zip(models, times, strict=True):
                metrics[f"images_per_second_{batch}{suffix}"] = batch / seconds
        return metrics

    names = ["gmacs", *(f"images_per_second_{batch}" for batch in throughput)]
    return Evaluation(tuple(name + suffix for name in names for suffix in models), run)


def _take_turns(functions, *arguments, least_seconds: float = 1.0) -> list[float]:
    """Median seconds of each function, called in turns, so that other load on the machine affects all of them alike.

    Args:
        functions: functions to measure.
        arguments: arguments of each function.
        least_seconds: minimum duration of the measurement, which also includes at least 5 calls of each function.
    """
    for function in functions:
        jax.block_until_ready(function(*arguments))
    times: list[list[float]] = [[] for _ in functions]
    began = time.perf_counter()
    while len(times[0]) < 5 or time.perf_counter() - began < least_seconds:
        for function, durations in zip(functions, times, strict=True):
            before = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            durations.append(time.perf_counter() - before)
    return [float(np.median(durations)) for durations in times]
