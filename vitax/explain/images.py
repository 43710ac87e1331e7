"""What a run looks at in images: a picture for each."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitax import images
from vitax.errors import UserError
from vitax.explain.methods import Subject, applicable, explainer, subject
from vitax.explain.picture import draw
from vitax.formats import ImageFormat, PairFormat
from vitax.models.clip import CLIP, unit_length
from vitax.models.dynamic_vit import DynamicViT
from vitax.models.mae import MAE
from vitax.prediction import TrainedRun
from vitax.prediction.images import image_files, ranked, read_images
from vitax.prediction.pairs import label_weights
from vitax.prediction.pictures import output_folder, output_path

Scores = Callable[[jax.Array], jax.Array]  # normalised image [1, H, W, C] to [1, K]
CLASSLESS = ("rollout", "attention")  # methods that ask for no class


def explain_images(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "class", "output", "top"}; the picture has the image under each map and, of DynamicViT, the patches kept."""
    files = image_files(given)
    scores, names, format = classifier(run, options)
    wanted = methods_wanted(options.method, bool(names))
    folder, score = output_folder(options, "explanations"), jax.jit(scores)
    explain: dict[str, Callable[[jax.Array, int], jax.Array]] = {}
    rng, it = np.random.default_rng(0), None
    for file, example in read_images(files, run.reader.blank, format.channels):
        if isinstance(example, Exception):
            yield {"file": file, "error": str(example)}
            continue
        picture = run.reader.transform(example, rng)["image"]
        image = images.normalize(jnp.asarray(picture)[None], format.mean, format.std)
        it = it or describe(run, scores, image)
        explain = explain or explainers(wanted, it, not names)
        found, title, label = {"file": file}, "", 0
        if names:
            probabilities = np.asarray(jax.nn.softmax(score(image)[0]))
            label = chosen(options["class"].value, names, probabilities)
            title = f"{names[label]} {probabilities[label]:.2f}"
            found["class"] = names[label]
            found["top"] = ranked(probabilities, names, options.top)["top"]
        heats = heat_maps(explain, image, label)
        output = output_path(folder, file)
        kept = [np.asarray(patches) for patches in it.kept(image)]
        draw(output, picture, heats, title, kept, picture.shape[0] // it.grid[0])
        yield {**found, "output": str(output)}


def methods_wanted(given: Sequence[str], with_classes: bool) -> list[str]:
    """What --method means: relevance or, where there are no classes, rollout, if nothing is said.

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


def classifier(run: TrainedRun, options: Any) -> tuple[Scores, Sequence[str], ImageFormat]:
    """Scores of an image, the names of the classes, and the format of the images; of an MAE features, and no names."""
    variables, format = run.variables, run.reader.format
    if isinstance(format, PairFormat):
        names, classes = label_weights(run, options.labels)
        scale = jnp.exp(variables["params"]["logit_scale"])

        def compare(image: jax.Array) -> jax.Array:
            found = run.model.apply(variables, image, method="encode_image")
            return scale * unit_length(found) @ classes.T

        return compare, names, format.image
    if isinstance(run.model, MAE):
        height, width = (side // run.model.patch_size for side in format.image_size)

        def encode(image: jax.Array) -> jax.Array:
            everything = jnp.arange(height * width)[None]
            _, seen = run.model.apply(variables, image, everything, mutable="intermediates")
            return seen["intermediates"]["encoder"]["tokens"][0].mean(axis=1)

        return encode, (), format
    scores = lambda image: run.model.apply(variables, image, train=False)
    return scores, run.reader.record["class_names"], format


def describe(run: TrainedRun, scores: Scores, image: jax.Array) -> Subject:
    """How the tokens of the run's model lie."""
    model = run.model
    patch = getattr(model, "patch_size", 4)  # the stem of NAT has no such field
    pooled, layers, more = getattr(model, "pooling", "mean"), None, {}
    if isinstance(model, CLIP):
        # Of the plain ViT; the others read a token, which is the field's default.
        pooled = model.image_pooling
        if model.image_tower == "resnet":
            patch = 32  # the stem and the stages halve the side five times
    elif isinstance(model, MAE):
        pooled, layers = "token", model.depth  # the decoder's layers do not count
    elif isinstance(model, DynamicViT):
        pooled, more = "token", {"kept": functools.partial(kept_patches, run)}
    grid = (image.shape[1] // patch, image.shape[2] // patch)
    return subject(scores, image, grid, pooled=pooled, layers=layers, **more)


def kept_patches(run: TrainedRun, image: jax.Array) -> list[jax.Array]:
    """[n] numbers of the patches that a DynamicViT has left after each pruning."""
    _, state = run.model.apply(run.variables, image, mutable="intermediates")
    seen = state["intermediates"]
    return [seen[f"kept{stage}"][0][0] for stage in range(len(run.model.stages))]


def chosen(wanted: str, names: Sequence[str], probabilities: np.ndarray) -> int:
    """The number of a class given by name or number; the most probable one if none is."""
    if not wanted:
        return int(np.argmax(probabilities))
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    some = ", ".join(list(names)[:20])
    raise UserError(f"--class={wanted} is none of the {len(names)} classes: {some}")
