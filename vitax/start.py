"""Weights to start a run from: a file of another project, or another run."""

from pathlib import Path

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vitax import pretrained, schema, workdir
from vitax.build import Run, build_model, restore_variables
from vitax.config import call
from vitax.errors import UserError
from vitax.models import variable_shapes
from vitax.schema import Config
from vitax.tasks import Variables
from vitax.training.checkpoint import Checkpoints, choose


def initial_variables(config: Config, run: Run) -> tuple[Variables, str]:
    """What config.init_from names: variables to start from, and a report for people.

    A folder of a run gives its best checkpoint, averaged parameters if it has them; anything else is read by
    `vitax.pretrained`.

    Raises:
        UserError: it cannot be read, or does not fit the model.
    """
    path, family = Path(run.top.init_from).expanduser(), config["model"]["name"]
    new, skip = run.top.init_new, run.top.init_skip
    if not (path / "checkpoints").is_dir():
        variables, report = pretrained.load_into(path, run.model, family, new=new, skip=skip)
    else:
        variables, name = _variables_of_run(path, family, run.model, run.mesh)
        report = pretrained.Report(name, pretrained.paths(variables))
        channels = run.image_format.channels
        variables = pretrained.adapt(
            variables,
            run.model,
            family,
            report,
            channels=channels,
            allow_missing=new,
            allow_unexpected=skip,
        )
    return variables, str(report)


def _variables_of_run(
    path: Path, family: str, wanted: nn.Module, mesh: Mesh
) -> tuple[Variables, str]:
    """The best variables in the folder of another run; of a masked autoencoder, the encoder's."""
    config = workdir.read_config(path)
    checkpoints = Checkpoints(path / "checkpoints", best=config["evals"]["best"], mode=config["evals"]["mode"], read_only=True)  # fmt: skip
    step = choose(checkpoints, "best")
    images = call(schema.image_format, "data", config["data"])
    name = config["model"]["name"]
    model = build_model(config, len(checkpoints.meta(step)["class_names"]), images.image_size)
    shapes = variable_shapes(model, name, images.channels)
    ema = bool(config["optim"]["ema_decay"])
    variables, averaged = restore_variables(checkpoints, step, shapes, ema, mesh)
    variables = jax.device_get(averaged or variables)
    if name == "mae" and family == "vit":
        variables = {"params": variables["params"]["encoder"]}
    elif name == family:
        for key in pretrained.NOT_IN_FILES:
            there, here = getattr(model, key, None), getattr(wanted, key, None)
            if there != here and key != "image_size":
                raise UserError(
                    f"config.model.{key}={here!r} is {there!r} in {path}, from where config.init_from takes weights: "
                    "they would mean something else"
                )
    else:
        raise UserError(
            f"config.init_from={path} holds a model {name!r}, which has no weights for {family!r}"
        )
    return variables, f"step {step:,} of {path}"
