"""Conversion of a model and its variables to the names and files of other projects."""

from pathlib import Path

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from vitax.errors import UserError
from vitax.models import MODELS
from vitax.pretrained import files
from vitax.pretrained.adapt import Variables
from vitax.pretrained.formats import named


def to_tensors(model: nn.Module, variables: Variables, format: str) -> dict[str, np.ndarray]:
    """The variables of a model under the names of a format.

    Raises:
        UserError: the model is not of the format's family, or the format has no names for some of its parameters.
    """
    kind = named(format)
    if type(model) is not MODELS[kind.family].module:
        raise UserError(f"{kind.name} has no names for a {type(model).__name__}")
    flat = {path: np.asarray(x) for path, x in flatten_dict(variables, sep="/").items()}
    tensors, used = {}, set()
    for rule in kind.rules(model):
        absent = [path for path in rule.ours if path not in flat]
        if absent:
            raise UserError(f"the variables lack {', '.join(absent)}: they do not belong to this model")
        arrays = rule.save(tuple(flat[path] for path in rule.ours))
        tensors |= dict(zip(rule.theirs, arrays, strict=True))
        used |= set(rule.ours)
    unnamed = [path for path in flat if path not in used and path.startswith("params/")]
    if unnamed:
        raise UserError(f"{kind.name} has no names for {', '.join(unnamed[:5])}")
    return tensors


def save(path: str | Path, model: nn.Module, variables: Variables, format: str) -> None:
    """Writes a .safetensors file with the names of another project.

    Args:
        format: a key of `FORMATS`, such as "timm ViT", "Hugging Face BERT" or "OpenAI CLIP" (also for open_clip).
    """
    files.write(path, to_tensors(model, variables, format), {"format": "pt", "vitax": format})
