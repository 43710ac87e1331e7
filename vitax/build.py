"""The only reader of a config: from its values to model, task, data, optimizer and evaluators.

The keys of a config are the keyword-only arguments of the functions listed in `schema`; their docstrings say what
each means.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vitax.config import call, complete, did_you_mean, steps
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

# What may differ between two starts of one run: none of it changes what is computed.
MAY_CHANGE = ("mesh.", "log.", "checkpoint.", "data.threads", "data.workers", "data.cache_gib")


class Top(NamedTuple):
    seed: int
    batch_size: int
    duration: str
    accumulate: int


def top(*, seed: int = 0, batch_size: int, duration: str, accumulate: int = 1) -> Top:
    """The scalars of a config.

    Args:
        seed: of initialisation, data order, augmentation and dropout.
        batch_size: examples per update, over all devices and hosts.
        duration: of the run: "300 epochs", "10000 steps" or "1e9 examples".
        accumulate: micro-batches per update; memory for activations shrinks by this factor.
    """
    return Top(seed, batch_size, duration, accumulate)


class Data(NamedTuple):
    """What tells how images look to a model; prediction needs no more of config.data than this."""

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_format(
    *, image_size: tuple[int, ...], channels: int = 3, mean: tuple[float, ...], std: tuple[float, ...]
) -> Data:
    """Size, channels and normalisation of images.

    Args:
        image_size: (height, width) in pixels, or (side,).
        channels: 3 = RGB, 1 = grey; files of the other kind are converted.
        mean, std: per channel, on the scale 0..1.
    """
    size = image_size * 2 if len(image_size) == 1 else image_size
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"config.data.image_size={image_size} is not (height, width)")
    if not len(mean) == len(std) == channels:
        raise UserError(
            f"config.data.mean={mean} and config.data.std={std} must have one number for each of "
            f"{channels} channels"
        )
    return Data(size, channels, mean, std)


def splits(
    channels: int,
    *,
    name: str,
    path: str = "",
    train: str = "train",
    test: str = "test",
    test_fraction: float = 0.2,
) -> Splits:
    """Sources of the training and the test split, see `vitax.data.sources`.

    Args:
        name: "folder", "digits" or a TFDS name.
        path: of the folder, or TFDS's data_dir.
        train, test: names of the splits.
        test_fraction: share of every class held back where the data have no test split.
    """
    return open_source(
        name, path=path, train=train, test=test, test_fraction=test_fraction, channels=channels
    )


def cached(source: Source, *, cache_gib: float = 1.0) -> Source:
    """Keeps decoded examples in memory, up to ``cache_gib`` GiB per source (and per worker process); 0 = none."""
    return Cached(source, int(cache_gib * 2**30)) if cache_gib else source


def schedule(
    batch_size: int,
    total: int,
    in_steps: Callable[[str, str], int],
    *,
    learning_rate: float,
    lr_scaling: str = "none",
    schedule: str = "cosine",
    warmup: str = "",
    final_learning_rate: float = 0.0,
) -> Schedule:
    """The learning rate of each step, see `scaled_learning_rate` and `make_schedule`.

    Args:
        learning_rate: peak, before scaling.
        lr_scaling: "none", "linear" or "sqrt" in batch_size / 256.
        schedule: "cosine", "linear", "inverse_sqrt" or "constant".
        warmup: a duration.
        final_learning_rate: where cosine and line end.
    """
    peak = scaled_learning_rate(learning_rate, lr_scaling, batch_size)
    return make_schedule(
        schedule, peak, total, in_steps("optim.warmup", warmup), final_learning_rate
    )


def average(*, ema_decay: float = 0.0) -> float:
    """Decay of the moving average of the parameters; 0 = none is kept."""
    if not 0 <= ema_decay < 1:
        raise UserError(f"config.optim.ema_decay={ema_decay} must lie in [0, 1)")
    return ema_decay


class Evals(NamedTuple):
    every: str
    batch_size: int
    best: str
    mode: str


def evals(*, every: str = "", batch_size: int = 0, best: str = "", mode: str = "max") -> Evals:
    """When and how to evaluate.

    Args:
        every: a duration; "" = only at the end.
        batch_size: 0 = that of training. Rounded up to a multiple of the devices; padding does not count.
        best: metric whose best checkpoint is kept, "test/accuracy" say; "" = none.
        mode: "max" or "min".
    """
    return Evals(every, batch_size, best, mode)


class Saving(NamedTuple):
    every: str
    keep: int


def saving(*, every: str = "", keep: int = 2) -> Saving:
    """every: duration between checkpoints, "" = only at the end; keep: how many of the newest stay."""
    return Saving(every, keep)


class Logging(NamedTuple):
    every: str
    profile_at: int
    profile_steps: int


def logging(*, every: str = "50 steps", profile_at: int = 0, profile_steps: int = 5) -> Logging:
    """every: duration between lines; profile_at: step at which a profiler trace begins, 0 = none."""
    return Logging(every, profile_at, profile_steps)


def schema(config: Config) -> dict[str, tuple[Callable[..., Any], ...]]:
    """For each section, the functions whose keys it holds."""
    module, _ = _look_up("model", config, MODELS)
    return {
        "model": (module,),
        "task": (_look_up("task", config, TASKS),),
        "data": (image_format, splits, cached, train_transform, test_transform, Loader),
        "optim": (schedule, average, make_optimizer),
        "evals": (evals,),
        "checkpoint": (saving,),
        "log": (logging,),
        "mesh": (make_mesh,),
    }


def _look_up(section: str, config: Config, table: Mapping[str, Any]) -> Any:
    values = config.get(section)
    name = values.get("name") if isinstance(values, Mapping) else None
    if name not in table:
        raise UserError(
            f"config.{section}.name={name!r} is unknown{did_you_mean(str(name), table)}"
        )
    return table[name]


def resolve(config: Config) -> dict[str, Any]:
    """The config with every key there is, defaults filled in.

    Fields that ``model.size`` decides are empty (0) until they are given; `settle` fills them.

    Raises:
        UserError: an unknown or missing key.
    """
    functions = schema(config)
    scalars = {key: value for key, value in config.items() if key not in functions}
    full = complete("", scalars, [top])
    for name, takers in functions.items():
        values = dict(config.get(name, {}))
        if name in ("model", "task"):
            own = {key: values.pop(key) for key in ("name", "size") if key in values}
            if name == "model":
                own.setdefault("size", "")
                sizes = MODELS[own["name"]][1]
                for key in sizes.get(own["size"], {}):
                    values.setdefault(key, type(sizes[own["size"]][key])())
            full[name] = {**own, **complete(name, values, takers)}
        else:
            full[name] = complete(name, values, takers)
    return full


def settle(config: Config) -> dict[str, Any]:
    """The config with the model's size spelled out: what is written to config.json."""
    model = dict(config["model"])
    _, sizes = MODELS[model["name"]]
    if model["size"] and model["size"] not in sizes:
        raise UserError(
            f"config.model.size={model['size']!r} is unknown; choose one of {', '.join(sizes)}"
        )
    for key, value in sizes.get(model["size"], {}).items():
        model[key] = model[key] or value
    return {**config, "model": model}


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


def build_test_transform(config: Config, data: Data) -> Chain:
    return call(test_transform, "data", config["data"], data.image_size)


def build(config: Config) -> Run:
    """Builds a run from a settled config, and checks it as far as can be done without compiling.

    Raises:
        UserError: whatever is wrong with the config or the data.
    """
    scalars = call(top, "", config)
    mesh = call(make_mesh, "mesh", config["mesh"])
    _check_batch(scalars, mesh.size)
    evaluation = call(evals, "evals", config["evals"])
    data = call(image_format, "data", config["data"])
    sources = call(splits, "data", config["data"], data.channels)

    def loader(source: Source, transform: Chain, batch_size: int) -> Loader:
        kept = call(cached, "data", config["data"], source)
        host, hosts = jax.process_index(), jax.process_count()
        given = (kept, transform, batch_size, scalars.seed, host, hosts)
        return call(Loader, "data", config["data"], *given)

    augment = call(train_transform, "data", config["data"], data.image_size, data.mean, data.std)
    training = loader(sources.train, augment, scalars.batch_size)
    test_size = math.ceil((evaluation.batch_size or scalars.batch_size) / mesh.size) * mesh.size
    test = loader(sources.test, build_test_transform(config, data), test_size)

    model = build_model(config, len(sources.train.class_names), data.image_size)
    task = build_task(config, model, data)
    batch = _batch_shapes(training, scalars.batch_size, mesh)

    def in_steps(name: str, duration: str) -> int:
        return steps(name, duration, batch_size=scalars.batch_size, examples=len(sources.train))

    total = in_steps("duration", scalars.duration)
    if not total:
        raise UserError(f"config.duration={scalars.duration!r} is no time to train")
    given = (scalars.batch_size, total, in_steps)
    curve = call(schedule, "optim", config["optim"], *given)
    ema_decay = call(average, "optim", config["optim"])
    params = _variable_shapes(task, batch)["params"]
    optimizer = call(make_optimizer, "optim", config["optim"], params, curve)
    log, save = call(logging, "log", config["log"]), call(saving, "checkpoint", config["checkpoint"])
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
