"""Adaptation of variables to a model with another image size, window or number of classes."""

import re
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vitax.errors import UserError
from vitax.models import MODELS, variable_shapes
from vitax.nn.interpolation import resize_positions
from vitax.pretrained.report import Report

Variables = dict[str, Any]
Flat = dict[str, np.ndarray]

# Variables that may be initialised again when another number of classes is requested.
HEADS = (
    r"params/(.*/)?(head|head_dist)/(kernel|bias)$|batch_stats/head_norm/"
    r"|params/(decode|auxiliary)_head/classifier/logits/(kernel|bias)$|params/detection_head/classes/(kernel|bias)$"
)
# Tables on a grid, which are interpolated for another image or window size.
GRIDS = r"(pos_embed\d*/(grid|relative_bias)|positions/relative_bias)$"


def adapt(
    variables: Variables,
    model: nn.Module,
    family: str,
    report: Report,
    *,
    channels: int = 3,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> Variables:
    """Variables for a model with another image size, window or number of classes; records the changes in the report.

    Args:
        variables: variables of a model that differs from ``model`` only in these.
        model: the model to fit.
        family: family of the model, a name of `vitax.models.MODELS`.
        report: report to which the changes are added.
        channels: number of image channels.
        allow_missing: patterns of further paths that may be initialised.
        allow_unexpected: patterns of paths that the model has no place for.

    Raises:
        UserError: the models differ in more.
    """
    flat = flatten_dict(variables, sep="/")
    shapes = flatten_dict(shapes_of(model, family, channels), sep="/")
    fresh: Flat = {}

    def new(path: str) -> np.ndarray:
        if not fresh:
            fresh.update(initial(model, family, channels))
        report.remade.append(path)
        report.loaded = [name for name in report.loaded if name != path]
        return fresh[path]

    adapted: Flat = {}
    for path, shape in shapes.items():
        value = flat.get(path)
        if value is not None and value.shape == shape.shape:
            adapted[path] = value
        elif re.search(HEADS, path) or any(re.search(pattern, path) for pattern in allow_missing):
            adapted[path] = new(path)
        elif value is not None and re.search(GRIDS, path) and value.shape[2:] == shape.shape[2:]:
            adapted[path] = np.asarray(
                resize_positions(jnp.asarray(value), shape.shape[:2], getattr(model, "antialias", True))
            )
            report.resized[path] = (value.shape, shape.shape)
        else:
            stored = "absent" if value is None else list(value.shape)
            raise UserError(
                f"{path} is {stored} in the weights and {list(shape.shape)} in the model; "
                "only positions are resized and only heads are initialised, unless other paths are allowed by name"
            )
    unmatched = [path for path in flat if path not in shapes and not re.search(HEADS, path)]
    forbidden = [path for path in unmatched if not any(re.search(p, path) for p in allow_unexpected)]
    if forbidden:
        raise UserError(f"the model has no place for {', '.join(forbidden[:5])} of the weights")
    report.unexpected += unmatched
    report.loaded = [path for path in report.loaded if path in shapes]
    return unflatten_dict(adapted, sep="/")


def paths(variables: Variables) -> list[str]:
    """The paths of all variables, "params/block0/norm1/scale" for example."""
    return list(flatten_dict(variables, sep="/"))


def image_channels(model: nn.Module, family: str, variables: Variables) -> int:
    """Number of image channels, from the first kernel that is applied to the image; 3 if there is no such kernel."""
    flat = flatten_dict(variables.get("params", {}), sep="/")
    for path, value in flat.items():
        if path.endswith("patch_embed/projection/kernel"):
            return value.shape[0] // model.patch_size**2
        if path in ("tokenizer0/kernel", "conv_first/kernel", "image/conv1/kernel"):
            return value.shape[2]
    return 3


def shapes_of(model: nn.Module, family: str, channels: int) -> Variables:
    """The shapes of all variables of a model.

    Raises:
        UserError: the fields of the model are invalid.
    """
    try:
        return variable_shapes(model, family, channels)
    except ValueError as error:
        raise UserError(f"the model cannot be built: {error}") from error


def initial(model: nn.Module, family: str, channels: int) -> Flat:
    """Freshly initialised variables, flat."""
    example = MODELS[family].example(model, channels)
    zeros = [jnp.zeros(x.shape, x.dtype) for x in example]
    return jax.device_get(flatten_dict(dict(jax.jit(model.init)(jax.random.key(0), *zeros)), sep="/"))
