"""Explanations of images by a trained run: a figure for each image."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment
from vitax.data.drawing import viewable, write_png
from vitax.errors import UserError
from vitax.explain.heatmap import draw, head_tiles, large
from vitax.explain.methods import Subject, applicable, attends_globally, explainer, head_maps
from vitax.explanation.photographs import at_own_resolution
from vitax.explanation.scores import Explained, choose, classifier, describe, image_spec, in_float32, view_of
from vitax.prediction import TrainedRun
from vitax.prediction.images import read_images
from vitax.prediction.output import output_folder, output_path

LOGGER = logging.getLogger("vitax")
Scores = Callable[[jax.Array], jax.Array]  # normalised image [1, H, W, C] to [1, K]
HEADS = "heads"  # the method that shows each head separately
CLASSLESS = ("rollout", "attention")  # methods that need no class


class ImageExplanation(NamedTuple):
    """The explanation of one image.

    Attributes:
        image: [H, W, C] uint8, as the model sees it.
        photograph: [H', W', C] uint8, the same part of the image at its own resolution.
        what: the class, or the number, that is explained.
        maps: {method: [h, w]}, how much each patch or pixel speaks for the class (below 0: against it).
        kept: numbers of the patches that are left after each pruning.
        heads: [layers, A, h, w], attention of each head of each layer; None = not requested.
    """

    image: np.ndarray
    photograph: np.ndarray
    what: Explained
    maps: dict[str, np.ndarray]
    kept: list[np.ndarray]
    heads: np.ndarray | None

    @property
    def label(self) -> str:
        """The class that is explained, or the name of the number; "" if the model has neither."""
        return self.what.label

    @property
    def probability(self) -> float:
        """The probability of the class; NaN if the model has no classes."""
        return self.what.probability

    @property
    def top(self) -> list[dict[str, Any]]:
        """The most probable classes, or all numbers, see `vitax.explanation.scores.Explained`."""
        return list(self.what.top)

    @property
    def title(self) -> str:
        """The class and its probability, or the number; "" if the model has neither."""
        return self.what.title


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
        run: the trained run.
        images: see `vitax.prediction.images.read_images`.
        method: keys of `vitax.explain.methods.METHODS`, "heads", or "all" (without "heads"); () = relevance, or rollout
            for a model without classes.
        label: name or number of the class to explain; "" = the most probable one.
        labels: names of the classes of an image-text model, with commas between them; "" = those of its data.
        top: number of classes to list.

    Raises:
        UserError: this run does not have the method or the class.
    """
    run, spec = in_float32(run), image_spec(run)
    view, (scores, names) = view_of(run), classifier(run, labels)
    map_methods = [name for name in method if name != HEADS]
    chosen_methods = methods_for(map_methods, bool(names)) if map_methods or HEADS not in method else []
    score, traced, explain, heads = jax.jit(scores), None, {}, None
    rng = np.random.default_rng(0)  # test transforms draw no random numbers
    for file, example in read_images(images, run):
        if isinstance(example, Exception):
            yield file, example
            continue
        pixels = run.reader.transform(example, rng)["image"]
        photograph = at_own_resolution(run.reader.transform, example["image"])
        image = augment.normalize(jnp.asarray(pixels)[None], spec.mean, spec.std)
        if traced is None:  # the first image that can be read
            traced = describe(run, view, scores, image)
            explain = explainers(chosen_methods, traced, not names)
            heads = heads_of(traced) if HEADS in method else None
        what = choose(run, score(image)[0], names, label, top) if names else Explained()
        yield (
            file,
            ImageExplanation(
                image=viewable(pixels),
                photograph=viewable(pixels if photograph is None else photograph),
                what=what,
                maps=heat_maps(explain, image, what.number),
                kept=[np.asarray(patches) for patches in traced.kept(image).values()],
                heads=None if heads is None else np.asarray(heads(image)),
            ),
        )


def explain_images(
    run: TrainedRun, images: Iterable[Any], *, out: str = "", **options: Any
) -> Iterator[dict[str, Any]]:
    """Explanations written to files: {"file", "class", "probability", "top", "output", "heads"} for each image.

    For a regression, "target" and "value" are in place of "class" and "probability".

    "output" is the file of a figure with the image under each map and, for DynamicViT, the kept patches; "heads" is the
    file of an image with a tile for each head of each layer.

    Args:
        run: the trained run.
        images: see `vitax.prediction.images.read_images`.
        out: folder of the files; "" = RUN/explanations.
        options: see `explained_images`.

    Raises:
        UserError: this run does not have the method or the class.
    """
    folder, stride = output_folder(run.path, "explanations", out), view_of(run).stride
    for file, result in explained_images(run, images, **options):
        if isinstance(result, Exception):
            yield {"file": file, "error": str(result)}
            continue
        row: dict[str, Any] = {"file": file, **result.what.row}
        if result.maps:
            row["output"] = str(output_path(folder, file))
            draw(row["output"], result.photograph, result.maps, result.title, result.kept, result.image, stride)
        if result.heads is not None:
            row["heads"] = str(output_path(folder, f"{Path(file).stem}-heads"))
            write_png(row["heads"], large(head_tiles(result.heads)))
        yield row


def heads_of(it: Subject) -> Callable[[jax.Array], jax.Array]:
    """The function from an image to the attention of each head of each layer, [layers, A, h, w].

    Raises:
        UserError: the attention of the model is local, or it has none.
    """
    if not attends_globally(it):
        raise UserError(f"--method={HEADS} has no meaning for this model: its attention is local, or it has none")
    return jax.jit(lambda image: head_maps(it, image))


def methods_for(given: Sequence[str], with_classes: bool) -> list[str]:
    """The requested methods; by default relevance or, for a model without classes, rollout.

    Raises:
        UserError: a method needs classes, and the model has none.
    """
    methods = list(given) or ["relevance" if with_classes else "rollout"]
    need_class = [name for name in methods if name not in (*CLASSLESS, "all")]
    if need_class and not with_classes:
        raise UserError(
            f"--method={','.join(need_class)} explains a class, and this run has none; choose {' or '.join(CLASSLESS)}"
        )
    return methods


def explainers(
    wanted: Sequence[str], it: Subject, classless: bool = False
) -> dict[str, Callable[[jax.Array, int], jax.Array]]:
    """The functions that make the heat maps of each method: {method: function}.

    Args:
        wanted: methods; "all" = every method that has a meaning for the model.
        it: the model.
        classless: whether the model has no classes.

    Raises:
        UserError: a method has no meaning for the model.
    """
    every = [name for name in applicable(it) if not classless or name in CLASSLESS]
    try:
        return {name: explainer(name, it) for name in (every if "all" in wanted else wanted)}
    except ValueError as error:
        raise UserError(str(error)) from error


def heat_maps(
    explain: dict[str, Callable[[jax.Array, int], jax.Array]], x: jax.Array, label: int
) -> dict[str, np.ndarray]:
    """The heat maps of an image: {method: [h, w]}; of several methods, those that fail are warned of and left out.

    Raises:
        UserError: no method gave a map, for example because relevance met a step that it has no rule for.
    """
    found, problem = {}, None
    for name, method in list(explain.items()):
        try:
            found[name] = np.asarray(method(x, label))
        except ValueError as error:
            problem = error
            del explain[name]  # it would fail for every image
            if explain:
                LOGGER.warning("%s is left out: %s", name, error)
    if problem is not None and not found:
        raise UserError(str(problem)) from problem
    return found
