"""What a run looks at in images: a picture for each."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment
from vitax.data.decode import write_png
from vitax.errors import UserError
from vitax.explain.heatmap import draw, head_tiles, large
from vitax.explain.methods import Subject, applicable, attends_globally, explainer, head_maps, subject
from vitax.models.clip import CLIP, unit_length
from vitax.models.dynamic_vit import DynamicViT
from vitax.models.mae import MAE
from vitax.prediction import TrainedRun
from vitax.prediction.image_outputs import output_folder, output_path
from vitax.prediction.images import image_files, ranked, read_images
from vitax.prediction.pairs import label_weights
from vitax.specs import ImageSpec, PairSpec

Scores = Callable[[jax.Array], jax.Array]  # normalised image [1, H, W, C] to [1, K]
HEADS = "heads"  # the method that shows each head apart
CLASSLESS = ("rollout", "attention")  # methods that ask for no class


def explain_images(run: TrainedRun, given: Sequence[str], options: Any) -> Iterator[dict[str, Any]]:
    """{"file", "class", "top", "output", "heads"}; the picture has the image under each map and, of DynamicViT, the patches kept;
    that of the heads a tile for each head of each layer."""
    run, files, spec = in_float32(run), image_files(given), image_spec(run)
    scores, names = classifier(run, options.labels)
    heads = HEADS in options.method
    others = [name for name in options.method if name != HEADS]
    wanted = methods_wanted(others, bool(names)) if others or not heads else []
    folder, score = output_folder(options, "explanations"), jax.jit(scores)
    explain: dict[str, Callable[[jax.Array, int], jax.Array]] = {}
    rng, it, look = np.random.default_rng(0), None, None
    for file, example in read_images(files, run.reader.blank, spec.channels):
        if isinstance(example, Exception):
            yield {"file": file, "error": str(example)}
            continue
        picture = run.reader.transform(example, rng)["image"]
        image = augment.normalize(jnp.asarray(picture)[None], spec.mean, spec.std)
        if it is None:  # the first image that can be read
            it = describe(run, scores, image)
            explain = explainers(wanted, it, not names)
            look = heads_of(it) if heads else None
        row, title, label = {"file": file}, "", 0
        if names:
            probabilities = np.asarray(jax.nn.softmax(score(image)[0]))
            label = chosen(options["class"].value, names, probabilities)
            title = f"{names[label]} {probabilities[label]:.2f}"
            row["class"] = names[label]
            row["top"] = ranked(probabilities, names, options.top)["top"]
        if wanted:
            heats = heat_maps(explain, image, label)
            row["output"] = str(output_path(folder, file))
            kept = [np.asarray(patches) for patches in it.kept(image).values()]
            draw(row["output"], picture, heats, title, kept, picture.shape[0] // it.grid[0])
        if look is not None:
            row["heads"] = str(output_path(folder, f"{Path(file).stem}-heads"))
            write_png(row["heads"], large(head_tiles(np.asarray(look(image)))))
        yield row


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


def classifier(run: TrainedRun, labels: str = "") -> tuple[Scores, Sequence[str]]:
    """Scores of an image, and the names of the classes; of an MAE features, and no names.

    Args:
        labels: of an image-text model, names with commas between them; empty: those of its data.

    Raises:
        UserError: an image-text model has no names.
    """
    if isinstance(run.reader.spec, PairSpec):
        names, classes = label_weights(run, labels)
        scale, encode = jnp.exp(run.variables["params"]["logit_scale"]), encoder(run)
        return lambda image: scale * unit_length(encode(image)) @ classes.T, names
    if isinstance(run.model, MAE):
        return encoder(run), ()
    return encoder(run), run.reader.record["class_names"]


def encoder(run: TrainedRun) -> Scores:
    """What a run's model makes of an image: logits or, where it has no classes of its own, features."""
    model, variables = run.model, run.variables
    if isinstance(model, CLIP):
        return lambda image: model.apply(variables, image, method="encode_image")
    if not isinstance(model, MAE):
        return lambda image: model.apply(variables, image, train=False)

    def encode(image: jax.Array) -> jax.Array:
        everything = jnp.arange(np.prod(patches_of(run, image)))[None]
        _, seen = model.apply(variables, image, everything, mutable="intermediates")
        return seen["intermediates"]["encoder"]["tokens"][0].mean(axis=1)

    return encode


def patches_of(run: TrainedRun, image: jax.Array) -> tuple[int, int]:
    """(h, w) of the patches of an image [..., H, W, C]; of features in several resolutions, the finest."""
    model = run.model
    patch = getattr(model, "patch_size", 4)  # the stem of NAT has no such field
    if isinstance(model, CLIP) and model.image_tower == "resnet":
        patch = 32  # the stem and the stages halve the side five times
    return image.shape[-3] // patch, image.shape[-2] // patch


def describe(run: TrainedRun, scores: Scores, image: jax.Array) -> Subject:
    """How the tokens of the run's model lie.

    Args:
        scores: of `classifier` or `encoder`.
        image: [1, H, W, C].
    """
    model, layers, more = run.model, None, {}
    pooling = getattr(model, "pooling", "mean")
    if isinstance(model, CLIP):
        # Of the plain ViT; the others read a token, which is the field's default.
        pooling = model.image_pooling
    elif isinstance(model, MAE):
        pooling, layers = "token", model.depth  # the decoder's layers do not count
    elif isinstance(model, DynamicViT):
        pooling, more = "token", {"kept": functools.partial(kept_patches, run)}
    two = getattr(model, "distillation_token", False)
    pooled = "tokens" if two else "token" if pooling == "token" else "mean"
    grid = patches_of(run, image)
    return subject(scores, image, grid, pooled=pooled, layers=layers, **more)


def kept_patches(run: TrainedRun, image: jax.Array) -> dict[int, jax.Array]:
    """{layer: [n] numbers of the patches that a DynamicViT has left from there on, best first}."""
    _, state = run.model.apply(run.variables, image, mutable="intermediates")
    seen = state["intermediates"]
    return {layer: seen[f"kept{stage}"][0][0] for stage, layer in enumerate(run.model.stages)}


def chosen(wanted: str, names: Sequence[str], probabilities: np.ndarray) -> int:
    """The number of a class given by name or number; the most probable one if none is.

    Raises:
        UserError: there is no such class.
    """
    if not wanted:
        return int(np.argmax(probabilities))
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    some = ", ".join(list(names)[:20])
    raise UserError(f"--class={wanted} is none of the {len(names)} classes: {some}")
