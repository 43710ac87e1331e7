"""From a config to what reading a run needs, without its data: model, objective, transform; and a few words about it."""

from typing import Any, NamedTuple

import flax.linen as nn

from vitax import build
from vitax.config import call
from vitax.pipelines import Reader
from vitax.schema import Config
from vitax.sections import Average, Evals, Top
from vitax.tasks import Task


class Reading(NamedTuple):
    """What predicting with a run needs of its config, without its data.

    Attributes:
        family: key of MODELS; task_name: key of TASKS.
        evals: which checkpoint is the best.
        averaged: whether the run keeps a moving average of the parameters.
    """

    family: str
    model: nn.Module
    task_name: str
    task: Task
    reader: Reader
    evals: Evals
    averaged: bool


def read(config: Config, record: dict[str, Any]) -> Reading:
    """Builds what predicting needs from a resolved config.

    Args:
        record: what a checkpoint of the run says of itself.

    Raises:
        UserError: whatever is wrong with the config.
    """
    reader = build.read_pipeline(config, record)
    model = build.build_model(config, reader)
    return Reading(
        family=config["model"]["name"],
        model=model,
        task_name=config["task"]["name"],
        task=build.build_task(config, model, reader),
        reader=reader,
        evals=best_of(config),
        averaged=bool(call(Average, "optim", config["optim"]).ema_decay),
    )


class Outline(NamedTuple):
    """What a run is, in a few words: values of its config for a headline."""

    model: str
    task: str
    data: str
    duration: str
    batch_size: int
    init_from: str
    best: str


def outline(config: Config) -> Outline:
    """The few words about a resolved config."""
    top = call(Top, "", config)
    names = (config[section]["name"] for section in ("model", "task", "data"))
    return Outline(*names, top.duration, top.batch_size, top.init_from, best_of(config).best)


def best_of(config: Config) -> Evals:
    """When a run evaluates, and which of its checkpoints is the best."""
    return call(Evals, "evals", config["evals"])
