"""A run of the loop on a task of three numbers, least squares through points."""

import contextlib
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType

from vitax import metrics
from vitax.mesh import AXES, batch_sharding
from vitax.monitoring import log
from vitax.tasks import Aux, Task
from vitax.training import checkpoint, evaluate, loop, session, step

BATCH = 8


def line(poison_step=-1, where="loss"):
    """Least squares through points; may go wrong on purpose at one step."""

    def init(key, batch):
        return {"params": {"slope": jax.random.normal(key, (1,)), "offset": jnp.zeros(1)}}

    @jax.custom_vjp
    def poison(x, bad):
        return x

    poison.defvjp(lambda x, bad: (x, bad), lambda bad, g: (jnp.where(bad, jnp.nan, g), None))

    def loss(variables, batch, key, train):
        params = variables["params"]
        bad = (batch["step"] == poison_step).any()
        offset = poison(params["offset"], bad) if where == "gradient" else params["offset"]
        error = params["slope"] * batch["x"] + offset - batch["y"]
        if where == "loss":
            error = jnp.where(bad & train, jnp.nan, error)
        values = jnp.square(error)
        if train:
            values = values + 0.01 * jax.random.normal(key, values.shape)
        found = {"loss": metrics.masked(values, batch["valid"])}
        return metrics.mean(found["loss"]), Aux(found)

    def predict(variables, batch):
        return {"y": variables["params"]["slope"] * batch["x"] + variables["params"]["offset"]}

    return Task(init, loss, predict)


def batch_of(n):
    x = np.random.default_rng(n % 1000).normal(size=BATCH).astype(np.float32)
    valid = np.arange(BATCH) < BATCH - 1
    return {"x": x, "y": 3 * x + 1, "valid": valid, "step": np.full(BATCH, n, np.int32)}


def evaluation():
    return iter([{**batch_of(n), "index": np.arange(BATCH)} for n in (-1, -2)])


def batches(start):
    n = start
    while True:
        n += 1
        yield {**batch_of(n), "index": np.arange(BATCH)}


class Feed:
    """Training batches, as `vitax.data.loader.Loader` gives them."""

    batch_size = BATCH

    def __init__(self, train):
        self.train, self.corrupt = train, set()

    def reading(self):
        return ()


class Outcome(NamedTuple):
    state: step.TrainState
    results: dict
    lines: list
    checkpoints: checkpoint.Checkpoints


def run(
    folder,
    plan,
    task=None,
    stop=lambda step: False,
    optimizer=None,
    ema=0.9,
    data=None,
    points=None,
    devices=8,
    skip=False,
    source=None,
    interrupting=contextlib.nullcontext,
):
    """Trains in a folder, or continues what is there.

    Args:
        stop: see `vitax.training.session.Inputs`.
        data: the identity of the data.
        points: batches of an evaluation.
        source: start step -> batches.
        skip: steps that are not finite.
    """
    grid = np.array(jax.devices()[:devices]).reshape(-1, 1)
    mesh = jax.sharding.Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 2)
    task, optimizer = task or line(), optimizer or optax.adam(0.05)
    shapes = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(mesh)) for name, x in batch_of(0).items()
    }
    program = step.compile_step(
        step.make_init(task, optimizer, 0, ema=bool(ema)),
        step.make_step(task, optimizer, 0, 1, ema, skip=skip),
        [shapes],
        mesh,
    )
    evaluator = evaluate.mean_metrics(task, points or evaluation, mesh)
    data = data or {"points": 8}
    inputs = session.Inputs(
        feed=Feed(source or batches),
        evaluators={"test": evaluator},
        schedule=lambda n: jnp.asarray(0.05),
        unit="points",
        identity=data,
        stop=stop,
        interrupting=interrupting,
        skip=skip,
    )
    folder.mkdir(exist_ok=True)
    saved = checkpoint.Checkpoints(folder / "checkpoints", keep=2, best="test/loss", mode="min")
    file = log.MetricsLog(folder)
    meta = {"config": {}}
    profile = folder / "profile"
    state, results, *_ = loop.train(program, inputs, plan, mesh, saved, file, meta, profile)
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return Outcome(jax.device_get(state), results, lines, saved)


def timeless(lines):
    clocks = ("per_second", "data_wait", "seconds")
    return [{k: v for k, v in one.items() if not k.endswith(clocks)} for one in lines]


PLAN = session.Plan(total=23, log_every=4, eval_every=10, save_every=5)
