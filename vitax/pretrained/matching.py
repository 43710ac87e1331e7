"""Matching of the tensors of a file with the variables of a model, each of which must have its place."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vitax.errors import UserError
from vitax.pretrained.adapt import Variables, image_channels, initial, shapes_of
from vitax.pretrained.format import Format
from vitax.pretrained.report import Report

Tensors = Mapping[str, np.ndarray]

# Parts without which a model still computes its features: heads, poolers, and tokens for what is hidden.
DISPENSABLE = (
    r"(^|[./])(heads?|head_\w+|\w*classifier|pooler|cls|lm_head|mask_token|qa_outputs|decoder\w*|n_averaged)([./]|$)"
)


@contextlib.contextmanager
def fitting(kind: Format) -> Iterator[None]:
    """Turns errors that arise while a file is fitted to a model into one sentence.

    Raises:
        UserError: the file is incomplete, or the file or a given field does not fit.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"the file of {kind.name} weights is incomplete: it lacks {error}") from error
    except (ArithmeticError, AttributeError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise UserError(
            f"{kind.name}: the file or a given field does not fit: {type(error).__name__}: {error}"
        ) from error


def from_tensors(
    kind: Format, model: nn.Module, tensors: Tensors, allow_missing: Sequence[str], allow_unexpected: Sequence[str]
) -> tuple[Variables, Report]:
    """Variables of a model, from the tensors of a file by the rules of its format, and a report.

    Raises:
        UserError: a tensor does not fit, or one is missing or left over that is not allowed to be.
    """
    report, flat, used = Report(kind.name), {}, set()
    missing = []
    for rule in kind.rules(model):
        present = [name for name in rule.theirs if name in tensors]
        if set(rule.theirs) - set(present) - set(rule.optional):
            missing += rule.ours
            continue
        used |= set(present)
        for name in present:
            if tensors[name].dtype.kind != "f":
                raise UserError(f"{name} is of type {tensors[name].dtype}; parameters are floating-point numbers")
        values = tuple(tensors[name] for name in present)
        try:
            arrays = rule.load(values)
        except UserError:
            raise
        except ValueError as error:
            shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in present)
            raise UserError(
                f"{kind.name}: {shapes} does not have the shape that these fields of the model need; check the given ones"
            ) from error
        flat |= dict(zip(rule.ours, arrays, strict=True))
        if [x.shape for x in arrays] != [x.shape for x in values[: len(arrays)]]:
            report.reshaped += rule.ours
    unused = [name for name in tensors if name not in used]
    report.ignored = [name for name in unused if re.search(kind.ignore, name)]
    report.unexpected = [name for name in unused if not re.search(kind.ignore, name)]
    report.loaded = list(flat)
    _refuse(kind, "lacks", missing, allow_missing, "allow_missing")
    _refuse(kind, "also holds", report.unexpected, allow_unexpected, "allow_unexpected")

    channels = image_channels(model, kind.family, unflatten_dict(flat, sep="/"))
    shapes = flatten_dict(shapes_of(model, kind.family, channels), sep="/")
    report.missing = [path for path in shapes if path not in flat]
    _refuse(kind, "lacks", report.missing, allow_missing, "allow_missing")
    for path, value in flat.items():
        if path not in shapes or shapes[path].shape != value.shape:
            expected = list(shapes[path].shape) if path in shapes else "nothing"
            raise UserError(
                f"{kind.name}: {path} is {list(value.shape)} in the file, and the model has {expected}; "
                f"check the given fields"
            )
    if report.missing:
        fresh = initial(model, kind.family, channels)
        flat |= {path: fresh[path] for path in report.missing}
    flat = {path: np.asarray(flat[path], shapes[path].dtype) for path in shapes}
    return unflatten_dict(flat, sep="/"), report


def _refuse(kind: Format, verb: str, names: list[str], allowed: Sequence[str], option: str) -> None:
    forbidden = [name for name in names if not any(re.search(pattern, name) for pattern in allowed)]
    if not forbidden:
        return
    more = f" and {len(forbidden) - 5} more" if len(forbidden) > 5 else ""
    advice = "these take part in what the model computes: vitax does not have this variant, or the file is not whole"
    if all(re.search(DISPENSABLE, name) for name in forbidden):
        advice = f"if this is intended, allow it with {option}=['PATTERN']"
    raise UserError(f"the file ({kind.name}) {verb} {', '.join(forbidden[:5])}{more}; {advice}")
