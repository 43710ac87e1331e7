"""Measures how fast a config trains, predicts, or reads its data.

    python -m vitax.bench --config=configs/vit_b16.py --examples=1000 --batch=64
    python -m vitax.bench --config=configs/vit_b16.py:demo --mode=infer
    python -m vitax.bench --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR --mode=data

The command prints a table and, as the last line, the same values as one JSON object. A step is timed from its start
until its results are ready, on one batch that is already on the devices. The cost of the data is measured separately,
in steps that fetch their batches. --examples stands in for images that are not on this machine.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vitax import build, environment
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.config import changed
from vitax.errors import UserError
from vitax.macs import count_macs
from vitax.monitoring import log
from vitax.planning.memory import program_bytes
from vitax.planning.placeholder import placeholder_pipeline
from vitax.training.sharding import prefetch, to_device
from vitax.training.step import compile_step

MODES = ("train", "infer", "data")


FLAGS = (
    Flag("mode", "train", "what to time", MODES),
    Flag("batch", 0, "batch size; 0: the batch size of the config"),
    Flag("steps", 20, "number of timed steps"),
    Flag("warmup", 3, "number of steps before the timed steps"),
    Flag("examples", 0, "number of placeholder images, if the data are not on this machine"),
    Flag("classes", 1000, "number of classes of these images"),
)


def run(arguments: Arguments) -> None:
    """Runs the measurement that --mode names, and prints a table and a JSON object.

    Raises:
        UserError: a number out of its range.
    """
    flags = arguments.flags
    if flags["steps"] < 1 or flags["warmup"] < 1 or flags["batch"] < 0:
        raise UserError("--steps and --warmup must be at least 1, and --batch must not be negative")
    start_jax()
    log.start_logging()
    config = changed(arguments.config, {"batch_size": flags["batch"]} if flags["batch"] else {})
    examples, classes = flags["examples"], flags["classes"]
    pipeline = placeholder_pipeline(config, examples, classes) if examples else None
    built = build.build(config, None, pipeline)
    time_it = {"train": bench_train, "infer": bench_infer, "data": bench_data}[flags["mode"]]
    results = {
        "config": arguments.spec,
        "mode": flags["mode"],
        "batch": built.top.batch_size,
        "dtype": built.model.dtype.__name__,
        **time_it(built, flags["steps"], flags["warmup"]),
        **environment.hardware(),
        "versions": environment.versions(),
    }
    for name, value in results.items():
        if name != "versions":
            print(f"{name:<30}{value:.4g}" if isinstance(value, float) else f"{name:<30}{value}")
    print(json.dumps(results))


def timed(step: Callable[[], Any], steps: int, warmup: int) -> list[float]:
    """Seconds of each of ``steps`` calls, each until its results are ready, after ``warmup`` calls."""
    seconds = []
    for i in range(warmup + steps):
        began = time.perf_counter()
        jax.block_until_ready(step())
        if i >= warmup:
            seconds.append(time.perf_counter() - began)
    return seconds


def summary(seconds: list[float], examples: int, unit: str) -> dict[str, float]:
    """Median and interquartile range of the time of a step, and the rate at the median."""
    median = statistics.median(seconds)
    low, high = (median, median)
    if len(seconds) > 1:
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {f"{unit}_per_second": examples / median, "step_seconds": median, "step_seconds_iqr": high - low}


def bench_train(run: build.Run, steps: int, warmup: int) -> dict[str, Any]:
    """Times of the training step, of its compilation with an empty and a filled cache, and of its wait for data."""
    compiled, compiling = compile_twice(lambda: compile_step(run.init, run.step, run.abstract_batches, run.mesh))
    host_batch = next(iter(run.train.train()))
    with jax.set_mesh(run.mesh):
        batch, state = to_device(host_batch, run.mesh), compiled.init()

        def step() -> Any:
            nonlocal state
            state, reported = compiled.step(state, batch)
            return state, reported

        seconds, size, seen = timed(step, steps, warmup), len(batch["valid"]), 0
        shapes = {name: run.abstract_batch[name].update(shape=x.shape) for name, x in batch.items()}
        fetched = prefetch(run.train.train(), run.mesh)
        waited, began = 0.0, 0.0
        for i in range(warmup + steps):
            if i == warmup:
                jax.block_until_ready(state)
                waited, began, seen = 0.0, time.perf_counter(), 0
            before = time.perf_counter()
            batch = next(fetched)
            waited, seen = waited + time.perf_counter() - before, seen + len(batch["valid"])
            state, _ = compiled.step(state, batch)
        jax.block_until_ready(state)
        with_data = time.perf_counter() - began
        fetched.close()

        def forward(variables: Any, batch: Any) -> Any:
            return run.task.loss(variables, batch, jax.random.key(0), True)[0]

        flops = 3 * 2 * count_macs(forward, run.shapes.variables, shapes)
    unit = run.pipeline.unit
    return {
        **summary(seconds, size, unit),
        f"{unit}_per_second_with_data": seen / with_data,
        "data_wait": waited / with_data,
        **compiling,
        **utilisation(flops, statistics.median(seconds), run),
        "memory_bytes": peak_memory(compiled.step),
    }


def bench_infer(run: build.Run, steps: int, warmup: int) -> dict[str, Any]:
    """Times of `Task.predict` on one batch, and of its compilation with an empty and a filled cache."""
    host_batch = next(iter(run.train.train()))
    with jax.set_mesh(run.mesh):
        batch = to_device(host_batch, run.mesh)
        variables = jax.jit(run.task.init)(jax.random.key(0), batch)
        predict, compiling = compile_twice(lambda: jax.jit(run.task.predict).lower(variables, batch).compile())
        seconds = timed(lambda: predict(variables, batch), steps, warmup)
        flops = 2 * count_macs(run.task.predict, variables, batch)
    return {
        **summary(seconds, len(host_batch["valid"]), run.pipeline.unit),
        **compiling,
        **utilisation(flops, statistics.median(seconds), run),
    }


def bench_data(run: build.Run, steps: int, warmup: int) -> dict[str, Any]:
    """Rate at which the host makes batches, as fast as it can."""
    batches = run.train.train()
    for _ in range(warmup):
        next(batches)
    seconds, seen = [], 0
    for _ in range(steps):
        began = time.perf_counter()
        seen += len(next(batches)["valid"])
        seconds.append(time.perf_counter() - began)
    batches.close()
    # Several batches are made at a time, so the rate is that of all of them, not the median of single batches.
    rate = seen / sum(seconds)
    return {f"{run.pipeline.unit}_per_second": rate, "threads": run.train.threads}


def compile_twice(compiling: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Compiles with an empty and with a filled persistent cache; returns the program and both times."""
    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        seconds = []
        for _ in range(2):
            jax.clear_caches()
            began = time.perf_counter()
            compiled = compiling()
            seconds.append(time.perf_counter() - began)
        jax.config.update("jax_compilation_cache_dir", cache)
    return compiled, {"compile_seconds_cold": seconds[0], "compile_seconds_warm": seconds[1]}


def utilisation(flops: int, seconds: float, run: build.Run) -> dict[str, float]:
    """Model FLOPs of a step, compared with the rate of the devices in matrix products of the model's dtype.

    A multiply-accumulate is 2 FLOPs, and a training step is three times the forward pass.
    """
    peak = matmul_peak(run.model.dtype) * run.mesh.size
    return {
        "model_flops_per_step": float(flops),
        "flops_per_second": flops / seconds,
        "matmul_peak_flops_per_second": peak,
        "share_of_peak": flops / seconds / peak,
    }


def matmul_peak(dtype: Any) -> float:
    """FLOPs per second of one device in a large square matrix product: the best of ten runs."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    return 2 * side**3 / min(timed(lambda: product(x), 10, 2))


def peak_memory(program: Any) -> int:
    """Peak bytes on one device, as counted by the device or, if it does not count them, by the compiler."""
    counted = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in counted:
        return counted["peak_bytes_in_use"]
    return program_bytes(program)


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
