"""The heads of weights: what their outputs mean, and for which classes they stand."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from vitax import pretrained
from vitax.errors import UserError
from vitax.pretrained.adapt import HEADS

NUMBERED = r"LABEL_\d+|\d+"  # numbers in place of names


def head_for(variables: dict[str, Any], theirs: Sequence[str], ours: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Variables of which each output of the head belongs to the class of the same number in a run; and a note for people.

    Args:
        variables: the weights.
        theirs: names of their classes, in order; () = unknown.
        ours: names of the classes of the run, in order.

    Returns:
        The variables: with the outputs in another order if both have the same classes, as they are if the numbers of classes
        differ (such a head is made anew later) or if no name is the same; and a note, "" = nothing has to be told.

    Raises:
        UserError: some classes are the same and others are not, so that the head fits neither.
    """
    if len(theirs) != len(ours) or all(re.fullmatch(NUMBERED, name) for name in theirs):
        return variables, ""
    known, wanted = ([name.strip().casefold() for name in names] for names in (theirs, ours))
    if known == wanted:
        return variables, ""
    shown = f"{', '.join(map(repr, theirs[:3]))} in the weights, {', '.join(map(repr, ours[:3]))} in the data"
    if not set(known) & set(wanted):
        return variables, f"classes       {shown}: the head is kept, as if they were the same in this order"
    if sorted(known) != sorted(wanted) or len(set(known)) < len(known):
        raise UserError(
            f"config.init_from has {len(ours)} classes as the data have, but only some of them are the same ({shown}): its "
            "head would tell the wrong ones; start from weights without a head, or rename the classes"
        )
    order = [known.index(name) for name in wanted]
    flat = flatten_dict(variables, sep="/")
    for path, value in flat.items():
        if re.search(HEADS, path) and value.shape[-1] >= len(order):  # a detector has one output more, for no object
            rest = range(len(order), value.shape[-1])
            flat[path] = jnp.asarray(value)[..., jnp.asarray([*order, *rest])]
    return unflatten_dict(
        flat, sep="/"
    ), f"classes       {shown}: the outputs of the head are put in the order of the data"


def answers_of(path: str | Path, classes: int) -> str:
    """What the outputs of a classifier of Hugging Face mean, as a key of TASKS, from the config.json beside it.

    Raises:
        UserError: it is not recorded, and a single output does not tell.
    """
    config = pretrained.files.read_config(pretrained.find(path).parent)
    kinds = {
        "single_label_classification": "classification",
        "multi_label_classification": "multilabel",
        "regression": "regression",
    }
    kind = config.get("problem_type")
    if kind is None and classes > 1:
        return "classification"
    if kind not in kinds or (classes == 1 and kinds[kind] == "classification"):
        raise UserError(
            f"{path} has {classes} output{'s' * (classes > 1)} and problem_type={kind!r} in its config.json, which does not tell "
            f"what that means: write one of {', '.join(kinds)} into a copy of that file"
        )
    return kinds[kind]
