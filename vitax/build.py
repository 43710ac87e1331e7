"""The only reader of a config: from its values to model, task, data, optimizer and evaluators.

Every section is consumed through `vitax.config.Section`: the arguments of the functions called here are the keys
of the config, and their docstrings say what each means.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vitax.config import Section, did_you_mean, steps
from vitax.data.loader import Loader
from vitax.data.sources import Cached, Source, Splits, open_source
from vitax.data.transforms import Chain, test_transform, train_transform
from vitax.errors import UserError
from vitax.mesh import batch_sharding, make_mesh
from vitax.models import MODELS
from vitax.tasks import TASKS, Task, Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.evaluate import Evaluator, mean_metrics
from vitax.training.loop import Plan
from vitax.training.optim import Schedule, make_optimizer, make_schedule, scaled_learning_rate
from vitax.training.step import TrainState, abstract, make_init, make_step

Config = Mapping[str, Any]

SECTIONS = ("model", "task", "data", "optim", "evals", "checkpoint", "log", "mesh")
SCALARS = ("seed", "batch_size", "accumulate", "duration")
# What may differ between two starts of one run: none of it changes what is computed.
MAY_CHANGE = (
    "mesh.",
    "log.",
    "checkpoint.",
    "data.threads",
    "data.workers",
    "data.cache_gib",
)


class Sections(NamedTuple):
    """The sections of a config, each key still to be consumed, and its scalars."""

    model: Section
    task: Section
    data: Section
    optim: Section
    evals: Section
    checkpoint: Section
    log: Section
    mesh: Section
    top: Section


def sections(config: Config) -> Sections:
    """Opens a config.

    Raises:
        UserError: a top-level key that does not exist, or one that is missing.
    """
    for key in config:
        if key not in SECTIONS + SCALARS:
            raise UserError(f"config.{key} is unknown{did_you_mean(key, SECTIONS + SCALARS)}")
    for key in SECTIONS:
        if not isinstance(config.get(key), Mapping):
            raise UserError(f"config.{key} is missing; it must be a section")
    top = Section("", {key: config[key] for key in SCALARS if key in config})
    return Sections(*(Section(key, config[key]) for key in SECTIONS), top)


class Knobs(NamedTuple):
    """Scalars at the top of a config."""

    seed: int
    batch_size: int
    duration: str
    accumulate: int


def knobs(
    *, seed: int = 0, batch_size: int, duration: str, accumulate: int = 1
) -> Knobs:
    """Scalars at the top of a config.

    Args:
        seed: of initialisation, data order, augmentation and dropout.
        batch_size: examples per update, over all devices and hosts.
        duration: of the run, as in "300 epochs", "10000 steps" or "1e9 examples".
        accumulate: micro-batches per update; memory for activations shrinks by this factor.
    """
    return Knobs(seed, batch_size, duration, accumulate)


def build_model(section: Section, *, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """The module that config.model names, its size's fields overridden by the fields given."""
    values = section.values
    name, size = values.pop("name", ""), values.pop("size", "")
    if name not in MODELS:
        raise UserError(f"config.model.name={name!r} is unknown{did_you_mean(name, MODELS)}")
    module, sizes = MODELS[name]
    if size and size not in sizes:
        raise UserError(f"config.model.size={size!r} is unknown; choose one of {', '.join(sizes)}")
    section.values = {**sizes.get(size, {}), **values}
    if "dtype" in values:
        dtypes = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
        if values["dtype"] not in dtypes:
            raise UserError(
                f"config.model.dtype={values['dtype']!r} is unknown; choose one of {', '.join(dtypes)}"
            )
        section.values["dtype"] = dtypes[values["dtype"]]
    model = section.call(
        module, num_classes=num_classes, image_size=image_size, parent=None, name=None
    )
    section.finish()
    return model


def build_task(section: Section, model: nn.Module, **given: Any) -> Task:
    name = section.values.pop("name", "")
    if name not in TASKS:
        raise UserError(f"config.task.name={name!r} is unknown{did_you_mean(name, TASKS)}")
    task = section.call(TASKS[name], model=model, **given)
    section.finish()
    return task


class DataSettings(NamedTuple):
    """What training data and prediction share."""

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test_transform: Chain


def data_settings(section: Section) -> DataSettings:
    """Size, channels, normalisation and the test transform; the other keys of config.data stay to be consumed."""

    def read(
        *, image_size: tuple[int, ...], channels: int = 3, mean: tuple[float, ...], std: tuple[float, ...]
    ):
        size = tuple(image_size) * 2 if len(image_size) == 1 else tuple(image_size)
        if len(size) != 2 or min(size) < 1:
            raise UserError(f"config.data.image_size={image_size} is not (height, width)")
        if not len(mean) == len(std) == channels:
            raise UserError(
                f"config.data.mean {mean} and config.data.std {std} must have one number for each "
                f"of the {channels} channels"
            )
        return size, channels, mean, std

    size, channels, mean, std = section.call(read)
    section.values["image_size"] = size
    return DataSettings(size, channels, mean, std, section.call(test_transform))


def build_splits(section: Section, channels: int) -> Splits:
    def read(
        *,
        name: str,
        path: str = "",
        train: str = "train",
        test: str = "test",
        test_fraction: float = 0.2,
    ) -> Splits:
        return open_source(
            name, path=path, train=train, test=test, test_fraction=test_fraction, channels=channels
        )

    return section.call(read)


class Data(NamedTuple):
    splits: Splits
    train: Loader
    test: Loader
    settings: DataSettings


def build_data(
    section: Section, *, batch_size: int, test_batch_size: int, seed: int
) -> Data:
    """Sources, transforms and loaders of config.data."""
    settings = data_settings(section)
    splits = build_splits(section, settings.channels)

    def cached(source: Source, cache_gib: float = 1.0) -> Source:
        budget = int(cache_gib * 2**30)
        return Cached(source, budget) if budget else source

    def loader(source: Source, transform: Chain, size: int) -> Loader:
        return section.call(
            Loader,
            source=section.call(cached, source=source),
            transform=transform,
            batch_size=size,
            seed=seed,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )

    training = loader(
        splits.train, section.call(train_transform, image_size=settings.image_size), batch_size
    )
    test = loader(splits.test, settings.test_transform, test_batch_size)
    section.finish()
    return Data(splits, training, test, settings)


class Run(NamedTuple):
    """All that `vitax.main` needs, built and checked; nothing has been written or compiled yet."""

    mesh: Mesh
    model: nn.Module
    task: Task
    data: Data
    optimizer: optax.GradientTransformation
    schedule: Schedule
    knobs: Knobs
    plan: Plan
    init: Any  # see make_init
    step: Any  # see make_step
    abstract_batch: dict[str, jax.ShapeDtypeStruct]
    shapes: TrainState  # of `jax.ShapeDtypeStruct`
    evaluators: dict[str, Evaluator]
    best: str  # metric that chooses the best checkpoint
    mode: str
    keep: int


def build(config: Config) -> Run:
    """Builds a run and checks it as far as can be done without compiling.

    Raises:
        UserError: whatever is wrong with the config or the data.
    """
    parts = sections(config)
    top = parts.top.call(knobs)
    mesh = _mesh(parts.mesh)
    _check_batch(top, mesh.size)
    evals = parts.evals.call(_evals)
    parts.evals.finish()
    test_batch_size = math.ceil((evals.batch_size or top.batch_size) / mesh.size) * mesh.size
    data = build_data(
        parts.data, batch_size=top.batch_size, test_batch_size=test_batch_size, seed=top.seed
    )
    settings = data.settings
    model = build_model(
        parts.model,
        num_classes=len(data.splits.train.class_names),
        image_size=settings.image_size,
    )
    task = build_task(parts.task, model, mean=settings.mean, std=settings.std)

    def in_steps(name: str, duration: str) -> int:
        return steps(
            name, duration, batch_size=top.batch_size, examples=len(data.splits.train)
        )

    total = in_steps("duration", top.duration)
    if not total:
        raise UserError(f"config.duration={top.duration!r} is no time to train")
    batch_shapes = _batch_shapes(data.train, top.batch_size, mesh)
    optimizer, schedule, ema_decay = _optimizer(
        parts.optim, task, batch_shapes, top, total, in_steps
    )
    logs = parts.log.call(_log)
    parts.log.finish()
    checkpoint = parts.checkpoint.call(_checkpoint)
    parts.checkpoint.finish()
    plan = Plan(
        total=total,
        log_every=in_steps("log.every", logs.every),
        eval_every=in_steps("evals.every", evals.every),
        save_every=in_steps("checkpoint.every", checkpoint.every),
        profile_at=logs.profile_at,
        profile_steps=logs.profile_steps,
    )
    init = make_init(task, optimizer, top.seed, ema=bool(ema_decay))
    step = make_step(
        task, optimizer, seed=top.seed, accumulate=top.accumulate, ema_decay=ema_decay
    )
    evaluators = {"test": mean_metrics(task, data.test.once, mesh, top.seed)}
    shapes = _check_shapes(init, step, batch_shapes, mesh)
    return Run(
        mesh, model, task, data, optimizer, schedule, top, plan, init, step, batch_shapes, shapes,
        evaluators, evals.best, evals.mode, checkpoint.keep,
    )  # fmt: skip


class Evals(NamedTuple):
    every: str
    batch_size: int
    best: str
    mode: str


def _evals(*, every: str = "", batch_size: int = 0, best: str = "", mode: str = "max") -> Evals:
    """every: duration between evaluations, "" = only at the end; batch_size: 0 = that of training;
    best, mode: the metric, "test/accuracy" say, whose "max" or "min" marks the checkpoint to keep."""
    return Evals(every, batch_size, best, mode)


class Checkpointing(NamedTuple):
    every: str
    keep: int


def _checkpoint(*, every: str = "", keep: int = 2) -> Checkpointing:
    """every: duration between checkpoints, "" = only at the end; keep: how many of the newest stay."""
    return Checkpointing(every, keep)


class Logging(NamedTuple):
    every: str
    profile_at: int
    profile_steps: int


def _log(*, every: str = "50 steps", profile_at: int = 0, profile_steps: int = 5) -> Logging:
    """every: duration between log lines; profile_at: step at which a profiler trace begins, 0 = none."""
    return Logging(every, profile_at, profile_steps)


def _mesh(section: Section) -> Mesh:
    try:
        mesh = section.call(make_mesh)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error
    section.finish()
    return mesh


def _check_batch(top: Knobs, devices: int) -> None:
    unit = devices * top.accumulate
    if top.accumulate < 1 or top.batch_size < 1 or top.batch_size % unit:
        below = top.batch_size // unit * unit if top.accumulate > 0 else 0
        raise UserError(
            f"config.batch_size={top.batch_size} cannot be dealt out to {devices} devices in "
            f"config.accumulate={top.accumulate} micro-batches; use a multiple of {unit}, "
            f"such as {below or unit} or {below + unit}"
        )


def _optimizer(section: Section, task: Task, batch, top: Knobs, total: int, in_steps):
    """Optimizer, schedule and decay of the moving average of config.optim."""

    def read(
        *,
        learning_rate: float,
        lr_scaling: str = "none",
        schedule: str = "cosine",
        warmup: str = "",
        final_learning_rate: float = 0.0,
        ema_decay: float = 0.0,
    ):
        """learning_rate: peak, scaled by lr_scaling; warmup: duration; ema_decay: 0 = no moving average."""
        peak = scaled_learning_rate(learning_rate, lr_scaling, top.batch_size)
        curve = make_schedule(
            schedule, peak, total, in_steps("optim.warmup", warmup), final_learning_rate
        )
        return curve, ema_decay

    curve, ema_decay = section.call(read)
    if not 0 <= ema_decay < 1:
        raise UserError(f"config.optim.ema_decay={ema_decay} must lie in [0, 1)")
    try:
        variables = jax.eval_shape(task.init, jax.random.key(0), batch)
    except ValueError as error:
        raise UserError(f"the model does not fit the data: {error}") from error
    optimizer = section.call(make_optimizer, params=variables["params"], schedule=curve)
    section.finish()
    return optimizer, curve, ema_decay


def _batch_shapes(loader: Loader, batch_size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = batch_sharding(mesh)
    example = {**loader.blank, "valid": jnp.zeros((), bool)}
    return {
        name: jax.ShapeDtypeStruct((batch_size, *value.shape), value.dtype, sharding=sharding)
        for name, value in example.items()
    }


def _check_shapes(init: Any, step: Any, batch: Any, mesh: Mesh) -> TrainState:
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
