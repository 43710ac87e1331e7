"""Explanations of images by a trained run: a picture for each image."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment
from vitax.data.decode import write_png
from vitax.errors import UserError
from vitax.explain.heatmap import draw, head_tiles, large
from vitax.explain.methods import Subject, applicable, attends_globally, explainer, head_maps, subject
from vitax.models import MODELS
from vitax.models.clip import unit_length
from vitax.models.views import View
from vitax.prediction import TrainedRun
from vitax.prediction.images import ranked, read_images
from vitax.prediction.output import output_folder, output_path
from vitax.prediction.pairs import label_weights
from vitax.specs import ImageSpec, PairSpec

Scores = Callable[[jax.Array], jax.Array]  # normalised image [1, H, W, C] to [1, K]
HEADS = "heads"  # the method that shows each head apart
CLASSLESS = ("rollout", "attention")  # methods that need no class


class ImageExplanation(NamedTuple):
    """What explanations found in one image.

    Attributes:
        image: [H, W, C] uint8, as the model sees it.
        label: the class that is explained; "" = the model has no classes.
        probability: of that class; NaN = the model has no classes.
        top: the most probable classes.
        maps: {method: [h, w]}, how much each patch or pixel speaks for the class, below 0: against it.
        kept: numbers of the patches that are left after each pruning.
        heads: [layers, A, h, w], what each head of each layer looks at; None = not asked for.
    """

    image: np.ndarray
    label: str
    probability: float
    top: list[dict[str, Any]]
    maps: dict[str, np.ndarray]
    kept: list[np.ndarray]
    heads: np.ndarray | None

    @property
    def title(self) -> str:
        """The class and its probability, if it has one."""
        return f"{self.label} {self.probability:.2f}" if self.label else ""


def explained_images(
    run: TrainedRun,
    images: Iterable[Any],
    *,
    method: Sequence[str] = (),
    label: str = "",
    labels: str = "",
    top: int = 5,
) -> Iterator[tuple[str, ImageExplanation | Exception]]:
    """(name, explanation), or (name, error), for each image, see `vitax.prediction.images.read_images`.

    Args:
        method: keys of `vitax.explain.methods.METHODS`, "heads", or "all" (without "heads"); () = relevance.
        label: name or number of the class to explain; "" = the most probable one.
        labels: names of the classes of an image-text model, with commas between them; "" = those of its data.
        top: number of classes to list.

    Raises:
        UserError: a method or a class that this run does not have.
    """
    run, spec = in_float32(run), image_spec(run)
    view, (scores, names) = view_of(run), classifier(run, labels)
    others = [name for name in method if name != HEADS]
    chosen_methods = methods_for(others, bool(names)) if others or HEADS not in method else []
    score, it, explain, heads = jax.jit(scores), None, {}, None
    rng = np.random.default_rng(0)  # test transforms draw nothing
    for file, example in read_images(images, run.reader.blank, spec.channels):
        if isinstance(example, Exception):
            yield file, example
            continue
        picture = run.reader.transform(example, rng)["image"]
        image = augment.normalize(jnp.asarray(picture)[None], spec.mean, spec.std)
        if it is None:  # the first image that can be read
            it = describe(run, view, scores, image)
            explain = explainers(chosen_methods, it, not names)
            heads = heads_of(it) if HEADS in method else None
        number, probability, ranking = 0, math.nan, []
        if names:
            probabilities = np.asarray(jax.nn.softmax(score(image)[0]))
            number = class_number(label, names, probabilities)
            probability = float(probabilities[number])
            ranking = ranked(probabilities, names, top)["top"]
        yield (
            file,
            ImageExplanation(
                image=picture,
                label=names[number] if names else "",
                probability=probability,
                top=ranking,
                maps=heat_maps(explain, image, number),
                kept=[np.asarray(patches) for patches in it.kept(image).values()],
                heads=None if heads is None else np.asarray(heads(image)),
            ),
        )


def explain_images(
    run: TrainedRun, images: Iterable[Any], *, out: str = "", **options: Any
) -> Iterator[dict[str, Any]]:
    """{"file", "class", "probability", "top", "output", "heads"} for each image; the pictures are written to files.

    "output" has the image under each map and, for DynamicViT, the patches that are kept; "heads" has a tile for each
    head of each layer.

    Args:
        out: folder of the pictures; "" = RUN/explanations.
        options: see `explained_images`.

    Raises:
        UserError: a method or a class that this run does not have.
    """
    folder, stride = output_folder(run.path, "explanations", out), view_of(run).stride
    for file, found in explained_images(run, images, **options):
        if isinstance(found, Exception):
            yield {"file": file, "error": str(found)}
            continue
        row: dict[str, Any] = {"file": file}
        if found.label:
            row |= {"class": found.label, "probability": round(found.probability, 6), "top": found.top}
        if found.maps:
            row["output"] = str(output_path(folder, file))
            draw(row["output"], found.image, found.maps, found.title, found.kept, stride)
        if found.heads is not None:
            row["heads"] = str(output_path(folder, f"{Path(file).stem}-heads"))
            write_png(row["heads"], large(head_tiles(found.heads)))
        yield row


def view_of(run: TrainedRun) -> View:
    """How the model of a run is looked into.

    Raises:
        UserError: its family has no view.
    """
    make = MODELS[run.family].view
    if make is None:
        raise UserError(f"model {run.family!r} has no view in vitax.models.MODELS, and so nothing to explain in images")
    return make(run.model)


def in_float32(run: TrainedRun) -> TrainedRun:
    """The run with a model that computes in float32: relevance is divided by sums that may be near 0."""
    return run._replace(model=run.model.clone(dtype=jnp.float32))


def image_spec(run: TrainedRun) -> ImageSpec:
    """Of the images that a run takes."""
    spec = run.reader.spec
    return spec.image if isinstance(spec, PairSpec) else spec


def heads_of(it: Subject) -> Callable[[jax.Array], jax.Array]:
    """Image -> what each head of each layer looks at, [layers, A, h, w].

    Raises:
        UserError: attention is local, or there is none.
    """
    if not attends_globally(it):
        raise UserError(f"--method={HEADS} has no meaning for this model, whose attention is local, if it has any")
    return jax.jit(lambda image: head_maps(it, image))


def methods_for(given: Sequence[str], with_classes: bool) -> list[str]:
    """The methods that were asked for; by default relevance or, of a model without classes, rollout.

    Raises:
        UserError: a method that needs classes, where there are none.
    """
    wanted = list(given) or ["relevance" if with_classes else "rollout"]
    refused = [name for name in wanted if name not in (*CLASSLESS, "all")]
    if refused and not with_classes:
        raise UserError(
            f"--method={','.join(refused)} explains a class, and this run has none; choose {' or '.join(CLASSLESS)}"
        )
    return wanted


def explainers(
    wanted: Sequence[str], it: Subject, classless: bool = False
) -> dict[str, Callable[[jax.Array, int], jax.Array]]:
    """{method: what makes its maps}; all that have a meaning for the model, if wanted.

    Args:
        classless: the model has no classes.

    Raises:
        UserError: one that has none was asked for.
    """
    every = [name for name in applicable(it) if not classless or name in CLASSLESS]
    try:
        return {name: explainer(name, it) for name in (every if "all" in wanted else wanted)}
    except ValueError as error:
        raise UserError(str(error)) from error


def heat_maps(
    explain: dict[str, Callable[[jax.Array, int], jax.Array]], x: jax.Array, label: int
) -> dict[str, np.ndarray]:
    """{method: [h, w]}.

    Raises:
        UserError: relevance met a step that it has no rule for.
    """
    try:
        return {name: np.asarray(method(x, label)) for name, method in explain.items()}
    except ValueError as error:
        raise UserError(str(error)) from error


def classifier(run: TrainedRun, labels: str = "") -> tuple[Scores, Sequence[str]]:
    """Scores of an image, and the names of the classes; of a model without classes features, and no names.

    Args:
        labels: names of the classes of an image-text model, with commas between them; "" = those of its data.

    Raises:
        UserError: an image-text model has no names.
    """
    encode = encoder(run)
    if isinstance(run.reader.spec, PairSpec):
        names, classes = label_weights(run, labels)
        scale = jnp.exp(run.variables["params"]["logit_scale"])
        return lambda image: scale * unit_length(encode(image)) @ classes.T, names
    return encode, run.reader.record["class_names"] if view_of(run).has_classes else ()


def encoder(run: TrainedRun) -> Scores:
    """The model of a run as a function of a normalised image: logits or, where it has no classes of its own, features."""
    view = view_of(run)
    return lambda image: view.encode(run.variables, image)


def describe(run: TrainedRun, view: View, scores: Scores, image: jax.Array) -> Subject:
    """The model of a run, traced for explanations.

    Args:
        scores: of `classifier` or `encoder`.
        image: [1, H, W, C], normalised.
    """
    kept = lambda image: view.kept(run.variables, image)
    return subject(scores, image, view.grid(image), pooled=view.pooled, layers=view.layers, kept=kept)


def class_number(label: str, names: Sequence[str], probabilities: np.ndarray) -> int:
    """The number of a class given by name or number; without one, of the most probable class.

    Raises:
        UserError: there is no such class.
    """
    if not label:
        return int(np.argmax(probabilities))
    if label in names:
        return list(names).index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    raise UserError(f"--class={label} is none of the {len(names)} classes: {', '.join(list(names)[:20])}")
