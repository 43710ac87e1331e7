"""A trained run as a function whose results are explained, and which of them is: a class, or a number."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax.errors import UserError
from vitax.explain.methods import Subject, subject
from vitax.models import MODELS
from vitax.models.views import View
from vitax.nn.dense import unit_length
from vitax.prediction import TrainedRun
from vitax.prediction.images import probabilities_of, ranked
from vitax.prediction.pairs import label_weights, scale_of
from vitax.specs import ImageSpec, PairSpec, inputs_of

Scores = Callable[[jax.Array], jax.Array]  # normalised image [1, H, W, C] to [1, K]


class Explained(NamedTuple):
    """What is explained of an input.

    Attributes:
        number: which of the scores.
        label: the class, or the name of the number; "" = the model has neither.
        probability: probability of the class; NaN for a number.
        value: the number in the units of the data; NaN for a class.
        top: the most probable classes, or all numbers, as JSON.
    """

    number: int = 0
    label: str = ""
    probability: float = math.nan
    value: float = math.nan
    top: tuple[dict[str, Any], ...] = ()

    @property
    def title(self) -> str:
        """The class and its probability, or the name of the number and the number; "" if the model has neither."""
        shown = f"{self.probability:.2f}" if math.isnan(self.value) else f"{self.value:.4g}"
        return f"{self.label} {shown}" if self.label else ""

    @property
    def row(self) -> dict[str, Any]:
        """The same as JSON: {"class", "probability", "top"}, or {"target", "value", "top"}; {} if the model has neither."""
        if not self.label:
            return {}
        if math.isnan(self.value):
            return {"class": self.label, "probability": round(self.probability, 6), "top": list(self.top)}
        return {"target": self.label, "value": self.value, "top": list(self.top)}


def choose(run: TrainedRun, scores: jax.Array, names: Sequence[str], label: str, top: int) -> Explained:
    """The class or the number that is explained.

    Args:
        run: the trained run.
        scores: [K] of the input.
        names: names of the classes or of the numbers.
        label: name or number of the one to explain; "" = the most probable class, or the first number.
        top: number of classes to list.

    Raises:
        UserError: there is no such class or number.
    """
    if run.task_name in ("regression", "text_regression"):
        values = np.asarray(scores) * np.array(run.reader.spec.target_std) + np.array(run.reader.spec.target_mean)
        number = class_number(label, names, np.eye(len(names))[0])
        listed = tuple({"label": name, "value": float(value)} for name, value in zip(names, values, strict=True))
        return Explained(number, names[number], value=float(values[number]), top=listed)
    probabilities = probabilities_of(run, scores)
    number = class_number(label, names, probabilities)
    listed = tuple(ranked(probabilities, names, top)["top"])
    return Explained(number, names[number], float(probabilities[number]), top=listed)


def view_of(run: TrainedRun) -> View:
    """The view of the model of a run, through which explanations see it.

    Raises:
        UserError: its family has no view.
    """
    make = MODELS[run.family].view
    if make is None:
        raise UserError(f"model {run.family!r} has no view in vitax.models.MODELS, so it cannot be explained on images")
    return make(run.model)


def in_float32(run: TrainedRun) -> TrainedRun:
    """The run with a model that computes in float32: relevance is divided by sums that may be near 0."""
    return run._replace(model=run.model.clone(dtype=jnp.float32))


def image_spec(run: TrainedRun) -> ImageSpec:
    """The specification of the images that a run takes."""
    return inputs_of(run.reader.spec)  # type: ignore[return-value]


def classifier(run: TrainedRun, labels: str = "") -> tuple[Scores, Sequence[str]]:
    """The function from an image to its scores, and the names of the classes.

    For a model without classes, the scores are features, and there are no names.

    Args:
        run: the trained run.
        labels: names of the classes of an image-text model, with commas between them; "" = those of its data.

    Raises:
        UserError: an image-text model has fewer than two names.
    """
    encode = encoder(run)
    if isinstance(run.reader.spec, PairSpec):
        names, classes = label_weights(run, labels)
        scale = scale_of(run)
        return lambda image: scale * unit_length(encode(image)) @ classes.T, names
    return encode, run.reader.record["class_names"] if view_of(run).has_classes else ()


def encoder(run: TrainedRun) -> Scores:
    """The model of a run as a function of a normalised image: logits, or features if it has no classes of its own."""
    view = view_of(run)
    return lambda image: view.encode(run.variables, image)


def describe(run: TrainedRun, view: View, scores: Scores, image: jax.Array) -> Subject:
    """The model of a run, traced for explanations.

    Args:
        run: the trained run.
        view: the view of its model.
        scores: function from `classifier` or `encoder`.
        image: [1, H, W, C], normalised.
    """
    kept = lambda image: view.kept(run.variables, image)
    return subject(scores, image, view.grid(image), pooled=view.pooled, layers=view.layers, kept=kept)


def class_number(label: str, names: Sequence[str], probabilities: np.ndarray) -> int:
    """The number of a class given by name or number; if ``label`` is empty, of the most probable class.

    Raises:
        UserError: the class does not exist.
    """
    if not label:
        return int(np.argmax(probabilities))
    if label in names:
        return list(names).index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    raise UserError(f"--class={label} is not one of the {len(names)} classes: {', '.join(list(names)[:20])}")
