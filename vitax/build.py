"""From a config to model, task, data, optimizer and evaluators: the only reader of its values.

Which keys there are, and what they mean, stands in `vitax.schema`.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vitax import schema
from vitax.config import call, steps
from vitax.data.loader import Loader
from vitax.data.source import Source, Splits
from vitax.data.transforms import Chain, eval_transform, train_transform
from vitax.errors import UserError
from vitax.mesh import batch_sharding, make_mesh
from vitax.models import MODELS
from vitax.schema import Config, Data, Evals, Saving, Top
from vitax.tasks import TASKS, Task, Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator, mean_metrics
from vitax.training.loop import Plan
from vitax.training.optim import Schedule, make_optimizer
from vitax.training.step import TrainState, abstract, make_init, make_step

# What may differ between two starts of one run: none of it changes what is computed.
MAY_CHANGE = ("mesh.", "log.", "checkpoint.", "data.threads", "data.workers", "data.cache_gib")


class Run(NamedTuple):
    """All that `vitax.main` needs, built and checked; nothing has been written or compiled yet."""

    mesh: Mesh
    model: nn.Module
    task: Task
    data: Data
    splits: Splits
    train: Loader
    optimizer: optax.GradientTransformation
    schedule: Schedule
    top: Top
    plan: Plan
    init: Any  # see make_init
    step: Any  # see make_step
    abstract_batch: dict[str, jax.ShapeDtypeStruct]
    shapes: TrainState  # of `jax.ShapeDtypeStruct`
    evaluators: dict[str, Evaluator]
    evals: Evals
    saving: Saving


def build_model(config: Config, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """The module that config.model describes."""
    module, _ = MODELS[config["model"]["name"]]
    return call(module, "model", config["model"], num_classes=num_classes, image_size=image_size)


def build_task(config: Config, model: nn.Module, data: Data) -> Task:
    """The objective that config.task describes, for that model."""
    return call(TASKS[config["task"]["name"]], "task", config["task"], model, data.mean, data.std)


def build_eval_transform(config: Config, data: Data) -> Chain:
    return call(eval_transform, "data", config["data"], data.image_size)


def build(config: Config) -> Run:
    """Builds a run from a settled config, and checks it as far as can be done without compiling.

    Raises:
        UserError: whatever is wrong with the config or the data.
    """
    scalars = call(schema.top, "", config)
    mesh = call(make_mesh, "mesh", config["mesh"])
    _check_batch(scalars, mesh.size)
    evaluation = call(schema.evals, "evals", config["evals"])
    data = call(schema.image_format, "data", config["data"])
    sources = call(schema.splits, "data", config["data"], data.channels)

    def loader(source: Source, transform: Chain, batch_size: int) -> Loader:
        kept = call(schema.cached, "data", config["data"], source)
        host, hosts = jax.process_index(), jax.process_count()
        given = (kept, transform, batch_size, scalars.seed, host, hosts)
        return call(Loader, "data", config["data"], *given)

    augment = call(train_transform, "data", config["data"], data.image_size, data.mean, data.std)
    training = loader(sources.train, augment, scalars.batch_size)
    test_size = math.ceil((evaluation.batch_size or scalars.batch_size) / mesh.size) * mesh.size
    test = loader(sources.test, build_eval_transform(config, data), test_size)

    model = build_model(config, len(sources.train.class_names), data.image_size)
    task = build_task(config, model, data)
    batch = _batch_shapes(training, scalars.batch_size, mesh)

    def in_steps(name: str, duration: str) -> int:
        return steps(name, duration, batch_size=scalars.batch_size, examples=len(sources.train))

    total = in_steps("duration", scalars.duration)
    if not total:
        raise UserError(f"config.duration={scalars.duration!r} is no time to train")
    given = (scalars.batch_size, total, in_steps)
    curve = call(schema.schedule, "optim", config["optim"], *given)
    ema_decay = call(schema.average, "optim", config["optim"])
    params = _variable_shapes(task, batch)["params"]
    optimizer = call(make_optimizer, "optim", config["optim"], params, curve)
    log, save = (
        call(schema.logging, "log", config["log"]),
        call(schema.saving, "checkpoint", config["checkpoint"]),
    )
    plan = Plan(
        total=total,
        log_every=in_steps("log.every", log.every),
        eval_every=in_steps("evals.every", evaluation.every),
        save_every=in_steps("checkpoint.every", save.every),
        profile_at=log.profile_at,
        profile_steps=log.profile_steps,
    )
    init = make_init(task, optimizer, scalars.seed, ema=bool(ema_decay))
    step = make_step(task, optimizer, scalars.seed, scalars.accumulate, ema_decay)
    return Run(
        mesh=mesh,
        model=model,
        task=task,
        data=data,
        splits=sources,
        train=training,
        optimizer=optimizer,
        schedule=curve,
        top=scalars,
        plan=plan,
        init=init,
        step=step,
        abstract_batch=batch,
        shapes=_state_shapes(init, step, batch, mesh),
        evaluators={"test": mean_metrics(task, test.once, mesh, scalars.seed)},
        evals=evaluation,
        saving=save,
    )


def _check_batch(scalars: Top, devices: int) -> None:
    if scalars.accumulate < 1 or scalars.batch_size < 1:
        raise UserError(
            f"config.batch_size={scalars.batch_size} and config.accumulate={scalars.accumulate} "
            "must be at least 1"
        )
    unit = devices * scalars.accumulate
    if scalars.batch_size % unit:
        below = scalars.batch_size // unit * unit
        raise UserError(
            f"config.batch_size={scalars.batch_size} cannot be dealt out to {devices} devices in "
            f"config.accumulate={scalars.accumulate} micro-batches; use a multiple of {unit}, such as "
            + (f"{below} or {below + unit}" if below else f"{unit}")
        )


def _batch_shapes(loader: Loader, batch_size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = batch_sharding(mesh)
    example = {**loader.blank, "valid": jnp.zeros((), bool)}
    return {
        name: jax.ShapeDtypeStruct((batch_size, *value.shape), value.dtype, sharding=sharding)
        for name, value in example.items()
    }


def _variable_shapes(task: Task, batch: Any) -> Variables:
    try:
        return jax.eval_shape(task.init, jax.random.key(0), batch)
    except ValueError as error:
        raise UserError(f"the model does not fit the data: {error}") from error


def _state_shapes(init: Any, step: Any, batch: Any, mesh: Mesh) -> TrainState:
    """Traces one step: whatever does not fit together shows here, before anything is compiled or written."""
    try:
        with jax.set_mesh(mesh):
            state = jax.eval_shape(init, batch)
            jax.eval_shape(step, state, batch)
    except ValueError as error:
        raise UserError(f"the model does not fit the data: {error}") from error
    return state


def restore_variables(
    checkpoints: Checkpoints, step: int, shapes: TrainState, mesh: Mesh
) -> tuple[Variables, Variables | None]:
    """Variables of a checkpoint, and the same with averaged parameters where the run keeps an average.

    Args:
        shapes: fields ``params``, ``collections`` and ``ema`` are read, the others are not.
    """
    wanted = {
        name: abstract(getattr(shapes, name), mesh) for name in ("params", "collections", "ema")
    }
    found = checkpoints.restore(step, {name: tree for name, tree in wanted.items() if tree})
    collections = found.get("collections", {})
    variables = {"params": found["params"], **collections}
    return variables, {"params": found["ema"], **collections} if "ema" in found else None
