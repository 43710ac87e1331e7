"""Model, objective and reader of a run, built from its config without its data; and a short outline of the run."""

import os
from typing import Any, NamedTuple

import flax.linen as nn

from vitax import build
from vitax.config import call
from vitax.data.folder import labelled_images
from vitax.data.source import Splits
from vitax.pipelines import KINDS, Pipeline, Reader
from vitax.schema import Config
from vitax.sections import Average, Evals, Top
from vitax.tasks import Task

CLASSIFIES = ("classification", "token_pruning")  # objectives whose test is a folder of labelled images


class Reading(NamedTuple):
    """The parts of a run that prediction needs, built from its config without its data.

    Attributes:
        family: key of MODELS.
        model: the model.
        task_name: key of TASKS.
        task: the objective.
        reader: reader of the run's examples.
        evals: settings of evaluation, which define the best checkpoint.
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
    """Builds the parts that prediction needs from a resolved config.

    Args:
        record: metadata from a checkpoint of the run, such as class names and tokenizer.

    Raises:
        UserError: something is wrong with the config.
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
    """A short description of a run: values of its config for a headline."""

    model: str
    task: str
    data: str
    duration: str
    batch_size: int
    init_from: str
    best: str


def outline(config: Config) -> Outline:
    """The outline of a resolved config."""
    top = call(Top, "", config)
    model, task, data = (config[section]["name"] for section in ("model", "task", "data"))
    return Outline(model, task, data, top.duration, top.batch_size, top.init_from, best_of(config).best)


def best_of(config: Config) -> Evals:
    """The settings of evaluation of a run, which define its best checkpoint."""
    return call(Evals, "evals", config["evals"])


def has_classes(config: Config) -> bool:
    """True if the examples of a run have labels."""
    return build.kind_of(config) in (KINDS["images"], KINDS["sentences"])


def has_targets(config: Config) -> bool:
    """True if the examples of a run have several labels, or numbers."""
    return build.kind_of(config) in [KINDS[name] for name in ("labels", "values", "text_labels", "text_values")]


def side_on_device(config: Config) -> int:
    """The side in pixels of the crops that a device resizes; 0 = the host resizes all, or there are none."""
    return config["data"].get("resize_on_device", 0)


def has_texts(config: Config) -> bool:
    """True if the examples of a run have texts, which need a tokenizer."""
    return "tokenizer" in config["data"]


def test_crop(config: Config) -> tuple[float, str]:
    """The share of an image that tests and predictions crop, and the interpolation; for runs of images only."""
    return config["data"]["test_crop_fraction"], config["data"]["interpolation"]


def num_folds(config: Config) -> int:
    """The number of folds for cross-validation; 0 if there are none."""
    return config["data"].get("num_folds", 0)


def depths(config: Config) -> dict[str, int]:
    """The depths in config.model that are numbers of equal blocks, {key: blocks}; {} = the model is not made so."""
    model = config["model"]
    if model["name"] == "dynamic_vit":  # each block keeps fewer tokens than those before it
        return {}
    return {
        f"model.{key}": value
        for key, value in model.items()
        if (key == "depth" or key.endswith("_depth")) and key != "attention_depth" and isinstance(value, int)
    }


def evaluated_pipeline(config: Config, former: Config, record: dict[str, Any]) -> Pipeline | None:
    """All labelled images of a folder that is evaluated in place of a run's own data; None = data as in training.

    ``former`` is the config of the run, and ``record`` the metadata from a checkpoint of it.
    """
    data, names = config["data"], record.get("class_names")
    place = lambda section: (section["name"], os.path.realpath(os.path.expanduser(section.get("path") or "")))
    another = place(data) != place(former["data"])
    if not (another and data["name"] == "folder" and names and config["task"]["name"] in CLASSIFIES):
        return None
    reader = build.read_pipeline(config, record)
    source, root = build.call_data(config, labelled_images, names, reader.spec.pixels)
    splits = Splits(source, source, f"all images of {root}")
    return Pipeline(splits, reader.transform, reader, "images", f"{len(names):,} classes")


def logits_chunks(config: Config) -> int | None:
    """The number of parts in which the logits of words are computed; None = the objective has none."""
    return config["task"].get("logits_chunks")
