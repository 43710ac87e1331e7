"""Builds model, task, data, optimizer and evaluators from the values of a config.

`vitax.schema` lists the keys, and the functions whose docstrings explain them.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vitax import sections
from vitax.config import call, did_you_mean, steps
from vitax.data.buckets import cut
from vitax.data.loader import Loader, Transform
from vitax.data.source import Source, Splits
from vitax.errors import UserError
from vitax.evals import EVALUATORS, Evaluation, Given, together
from vitax.mesh import batch_sharding, make_mesh
from vitax.models import MODELS
from vitax.monitoring.trackers import check_trackers
from vitax.pipelines import KINDS, Kind, Pipeline, Reader
from vitax.rundir import TOKENIZER
from vitax.schema import Config
from vitax.sections import Average, Evals, Logging, Saving, Top
from vitax.tasks import TASKS, Task, resized_first
from vitax.training.evaluate import Evaluator, mean_metrics
from vitax.training.optim import frozen_mask, make_optimizer
from vitax.training.schedule import Schedule
from vitax.training.session import Plan
from vitax.training.step import TrainState, first_state, make_init, make_step


class Run(NamedTuple):
    """A run, built and checked; nothing has been written or compiled yet.

    Attributes:
        mesh: mesh of the devices.
        family: key of MODELS.
        task_name: key of TASKS.
        train: loader of the training batches.
        schedule: step -> learning rate.
        init: see `vitax.training.step.make_init`.
        step: see `vitax.training.step.make_step`.
        abstract_batches: {name: `jax.ShapeDtypeStruct`} for every shape of a training batch, the longest texts first.
        shapes: the training state, made of `jax.ShapeDtypeStruct`.
        evaluators: {split: evaluator} of the evaluations during training: of the validation split or, without one, of
            the test split.
        final: {split: evaluator} of the test split, if another one is evaluated during training.
    """

    mesh: Mesh
    family: str
    model: nn.Module
    task_name: str
    task: Task
    pipeline: Pipeline
    train: Loader
    schedule: Schedule
    top: Top
    plan: Plan
    init: Callable[[Any], TrainState]
    step: Callable[[TrainState, Any], Any]
    abstract_batches: list[dict[str, jax.ShapeDtypeStruct]]
    shapes: TrainState
    evaluators: dict[str, Evaluator]
    final: dict[str, Evaluator]
    evals: Evals
    saving: Saving
    logging: Logging

    @property
    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of the training batch with the longest texts, or of all of them."""
        return self.abstract_batches[0]


def build(
    config: Config,
    folder: Path | None = None,
    pipeline: Pipeline | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Run:
    """Builds a run from a resolved config, and checks it as far as possible without compiling.

    Args:
        folder: folder of an existing run; its tokenizer is kept, even if the data have changed.
        pipeline: pipeline to use in place of the data that config.data describes.
        devices: devices to use in place of the devices of this machine.

    Raises:
        UserError: something is wrong with the config or the data.
    """
    top = call(Top, "", config)
    mesh = call(make_mesh, "mesh", config["mesh"], devices)
    evals = call(Evals, "evals", config["evals"])
    saving = call(Saving, "checkpoint", config["checkpoint"])
    ema_decay = call(Average, "optim", config["optim"]).ema_decay
    logging = call(Logging, "log", config["log"])
    check_trackers(logging.to)
    sections.check_scalars(top, evals, saving, ema_decay, mesh.size)
    pipeline = pipeline or open_pipeline(config, folder)
    unit = mesh.size * top.accumulate
    train = build_loader(config, pipeline.splits.train, pipeline.augment, top.batch_size, top.seed, unit)
    model = build_model(config, pipeline.reader)
    task = build_task(config, model, pipeline.reader)
    sections.check_mixing(train.lengths, model)
    batches = _batch_shapes(train, mesh)

    def in_steps(name: str, duration: str) -> int:
        return steps(name, duration, batch_size=train.mean_batch_size, examples=len(pipeline.splits.train))

    plan = build_plan(config, in_steps)
    curve = call(sections.schedule, "optim", config["optim"], top.batch_size, plan.total, in_steps)
    init, step, shapes = _training(config, top, task, mesh, batches[0], curve, ema_decay)
    during, final = _evaluators(config, top, evals, task, model, pipeline, mesh, shapes, batches[0])
    return Run(
        mesh=mesh,
        family=config["model"]["name"],
        model=model,
        task_name=config["task"]["name"],
        task=task,
        pipeline=pipeline,
        train=train,
        schedule=curve,
        top=top,
        plan=plan,
        init=init,
        step=step,
        abstract_batches=batches,
        shapes=shapes,
        evaluators=during,
        final=final,
        evals=evals,
        saving=saving,
        logging=logging,
    )


def kind_of(config: Config) -> Kind:
    """The kind of data that the objective of a config needs."""
    return KINDS[TASKS[config["task"]["name"]].data]


def open_pipeline(config: Config, folder: Path | None = None) -> Pipeline:
    """The data that config.data describes.

    If the config names no tokenizer, the run in ``folder`` provides it or, for a new run, the run of config.init_from.
    """
    runs = [folder, Path(config["init_from"]).expanduser() if config["init_from"] else None]
    tokenizers = [run / TOKENIZER for run in runs if run and (run / TOKENIZER).is_file()]
    if tokenizers and config["data"].get("tokenizer") == "":
        config = {**config, "data": {**config["data"], "tokenizer": str(tokenizers[0])}}
    return kind_of(config).open(functools.partial(call_data, config))


def read_pipeline(config: Config, record: dict[str, Any]) -> Reader:
    """The reader of a run's examples, built without the data of the run.

    Args:
        record: metadata from a checkpoint of the run, such as class names and tokenizer.
    """
    return kind_of(config).read(functools.partial(call_data, config), record)


def call_data(config: Config, function: Callable[..., Any], *given: Any) -> Any:
    """Calls a function with ``given`` and with its keyword-only arguments from config.data."""
    return call(function, "data", config["data"], *given)


def build_model(config: Config, reader: Reader) -> nn.Module:
    """The module that config.model describes."""
    module = MODELS[config["model"]["name"]].module
    data_fields = {k: v for k, v in reader.fields.items() if k in module.__dataclass_fields__}
    return call(module, "model", config["model"], **data_fields)


def build_task(config: Config, model: nn.Module, reader: Reader) -> Task:
    """The objective that config.task describes, for the model."""
    task = call(TASKS[config["task"]["name"]].factory, "task", config["task"], model, reader.spec)
    return call_data(config, resized_first, task, reader.spec) if config["data"].get("resize_on_device") else task


def build_loader(config: Config, source: Source, transform: Transform, *batch: int) -> Loader:
    """A loader of this host's rows of each batch; ``batch`` = size, seed and ``unit``, see `Loader`."""
    host, hosts = jax.process_index(), jax.process_count()
    cached_source = call_data(config, sections.cached, source)
    return call_data(config, Loader, cached_source, transform, *batch[:2], host, hosts, *batch[2:])


def build_evaluations(config: Config, given: Given) -> list[Evaluation]:
    """The evaluations that config.evals switches on, besides the means of the objective's own metrics."""
    evaluations = [call(make, "evals", config["evals"], given) for make in EVALUATORS.get(config["task"]["name"], ())]
    return [evaluation for evaluation in evaluations if evaluation is not None]


def build_plan(config: Config, in_steps: Callable[[str, str], int]) -> Plan:
    """The plan of a run: its length, and the steps of its log lines, evaluations, checkpoints and profile.

    Args:
        in_steps: (name of the key, duration) -> steps.

    Raises:
        UserError: a duration of 0 steps, a profile outside the run, or a number out of its range.
    """
    log = call(Logging, "log", config["log"])
    total = in_steps("duration", config["duration"])
    if not total:
        raise UserError(f"config.duration={config['duration']!r} leaves no time to train")
    if log.profile_at and not 1 <= log.profile_at <= total - log.profile_steps + 1:
        profile = f"config.log.profile_at={log.profile_at} with profile_steps={log.profile_steps}"
        raise UserError(f"{profile} does not lie within the {total} steps of the run")
    if log.report < 0:
        raise UserError(f"config.log.report={log.report} must not be negative")
    if log.profile_at and log.profile_steps < 1:
        raise UserError(f"config.log.profile_steps={log.profile_steps} must be at least 1")
    return Plan(
        total=total,
        log_every=in_steps("log.every", log.every),
        eval_every=in_steps("evals.every", config["evals"]["every"]),
        save_every=in_steps("checkpoint.every", config["checkpoint"]["every"]),
        profile_at=log.profile_at,
        profile_steps=log.profile_steps,
    )


def _training(config: Config, top: Top, task: Task, mesh: Mesh, batch: Any, curve: Schedule, ema_decay: float):
    """The first state as a function, the train step, and the shapes of a state."""
    variables = _shapes(task.init, mesh, jax.random.key(0), batch)
    params = variables["params"]
    optimizer = call(make_optimizer, "optim", config["optim"], params, curve)
    frozen = call(frozen_mask, "optim", config["optim"], params)
    init = make_init(task, optimizer, top.seed, ema=bool(ema_decay))
    step = make_step(task, optimizer, top.seed, top.accumulate, ema_decay, frozen, skip=top.on_nan == "skip")
    shapes = _shapes(lambda v: first_state(v, optimizer, bool(ema_decay)), mesh, variables)
    _shapes(step, mesh, shapes, batch)  # fails if the parts do not fit together, before they are compiled
    return init, step, shapes


def _evaluators(
    config: Config, top: Top, evals: Evals, task: Task, model: nn.Module, pipeline: Pipeline, mesh: Mesh, *example: Any
) -> tuple[dict[str, Evaluator], dict[str, Evaluator]]:
    """The evaluators that run during training, and those that run at its end; see `Run`."""

    def of(splits: Splits) -> tuple[Evaluator, list[Evaluation]]:
        given = _given(config, top, evals, task, model, pipeline._replace(splits=splits), mesh)
        extra = build_evaluations(config, given)
        return together(mean_metrics(task, given.test.once, mesh, top.seed), extra), extra

    test, extra = of(pipeline.splits)
    shapes, batch = example
    _check_best(evals, task, shapes, batch, mesh, extra)
    if (held := pipeline.splits.validation) is None:
        return {"test": test}, {}
    return {"val": of(pipeline.splits._replace(test=held))[0]}, {"test": test}


def _given(config: Config, top: Top, evals: Evals, task: Task, model: nn.Module, pipeline: Pipeline, mesh: Mesh):
    """The inputs of evaluations: both splits, read as in a test."""
    size = math.ceil((evals.batch_size or top.batch_size) / mesh.size) * mesh.size
    loader = lambda split: build_loader(config, split, pipeline.reader.transform, size, top.seed)
    train, test = pipeline.splits.train, pipeline.splits.test
    return Given(task, model, pipeline.splits, pipeline.reader, loader(train), loader(test), mesh, top.seed)


def _check_best(evals: Evals, task: Task, shapes: TrainState, batch: Any, mesh: Mesh, extra: list[Evaluation]) -> None:
    """Raises an error if no evaluation measures config.evals.best."""

    def names(state: TrainState, batch: Any) -> Any:
        return task.loss(state.variables, batch, jax.random.key(0), False)[1].metrics

    splits = ("test", "test_ema") if shapes.ema else ("test",)
    metrics = [*_shapes(names, mesh, shapes, batch), *(name for e in extra for name in e.metrics)]
    known = [f"{split}/{name}" for split in splits for name in metrics]
    if evals.best and evals.best not in known:
        raise UserError(f"config.evals.best={evals.best!r} is never measured{did_you_mean(evals.best, known)}")


def _batch_shapes(loader: Loader, mesh: Mesh) -> list[dict[str, jax.ShapeDtypeStruct]]:
    """The shapes of a batch of each bucket, the longest first; without buckets there is one."""
    rows, found = loader.buckets.rows if loader.buckets else {0: loader.batch_size}, []
    for length in sorted(rows, reverse=True):
        example = cut(loader.blank, length, loader.source.length) if length else loader.blank  # type: ignore[attr-defined]
        struct = functools.partial(jax.ShapeDtypeStruct, sharding=batch_sharding(mesh))
        shapes = {name: struct((rows[length], *value.shape), value.dtype) for name, value in example.items()}
        found.append({**shapes, "valid": struct((rows[length],), bool)})
    return found


def _shapes(function: Callable[..., Any], mesh: Mesh, *arguments: Any) -> Any:
    """`jax.eval_shape` on the mesh; an error of a model while it is traced becomes a UserError."""
    try:
        with jax.set_mesh(mesh):
            return jax.eval_shape(function, *arguments)
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"the model does not fit the data: {error}") from error
