"""Shows what a trained run looks at: a picture for each image, one JSON object a line on stdout.

    python -m vitax.explain --workdir=RUN IMAGES...                       files, or folders of files
    python -m vitax.explain --workdir=RUN --method=rollout IMAGES...
    python -m vitax.explain --workdir=RUN --method=all --class=cat IMAGES...
    python -m vitax.explain --workdir=RUN --labels="a dog, a cat" IMAGES...  an image-text model

    {"file": "cat.jpg", "class": "cat", "output": "RUN/explanations/cat.png", "top": [...]}

relevance: Chefer et al. 2020; of models with local attention, relevance of the patches. lrp: the same down to the pixels.
rollout, attention: what is looked at, whatever the class. gradcam, gradient_x_input, integrated_gradients: by gradients.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from vitax import cli, images
from vitax.errors import UserError
from vitax.explain.methods import METHODS, Subject, applicable, explainer, subject
from vitax.explain.picture import draw
from vitax.formats import ImageFormat, PairFormat
from vitax.models.clip import unit_length
from vitax.prediction import TrainedRun, load_run
from vitax.prediction.images import image_files, ranked, read_images
from vitax.prediction.pairs import label_weights
from vitax.prediction.pictures import output_folder, output_path
from vitax.training import log


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
    flags.DEFINE_string("checkpoint", "best", "best, last, average, or a step", flag_values=values)
    flags.DEFINE_list(
        "method", "relevance", f"{', '.join(METHODS)}, or all; commas between", flag_values=values
    )
    flags.DEFINE_string(
        "class", "", "name or number of the class; empty: the most probable", flag_values=values
    )
    flags.DEFINE_string(
        "labels", "", "image-text models: names of the classes, with commas between them", flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("top", 5, "how many classes to list", flag_values=values)
    flags.DEFINE_string(
        "out", "", "folder for the pictures; empty: RUN/explanations", flag_values=values
    )
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    values, given = cli.parse(argv, define_flags, __doc__, with_config=False, positional=True)
    if not values.workdir:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    unknown = sorted(set(values.method) - {*METHODS, "all"})
    if unknown:
        raise UserError(f"--method={','.join(unknown)} is unknown; choose of {', '.join(METHODS)}, or all")  # fmt: skip
    cli.start_jax()
    log.start_logging(None)
    files = image_files(given)
    run = load_run(Path(values.workdir), values.checkpoint)
    scores, names, format = classifier(run, values)
    folder, score = output_folder(values, "explanations"), jax.jit(scores)
    explain: dict[str, Callable[[jax.Array, int], jax.Array]] = {}
    rng, broken = np.random.default_rng(0), 0
    for file, example in read_images(files, run.reader.blank, format.channels):
        if isinstance(example, Exception):
            broken += 1
            print(json.dumps({"file": file, "error": str(example)}, ensure_ascii=False), flush=True)
            continue
        picture = run.reader.transform(example, rng)["image"]
        image = images.normalize(jnp.asarray(picture)[None], format.mean, format.std)
        explain = explain or explainers(values.method, describe(run, scores, image))
        probabilities = np.asarray(jax.nn.softmax(score(image)[0]))
        label = chosen(values["class"].value, names, probabilities)
        try:
            heats = {name: np.asarray(method(image, label)) for name, method in explain.items()}
        except ValueError as error:  # relevance met a step that it has no rule for
            raise UserError(str(error)) from error
        output = output_path(folder, file)
        draw(output, picture, heats, f"{names[label]} {probabilities[label]:.2f}")
        found = {"file": file, "class": names[label], "output": str(output)}
        print(json.dumps(found | {"top": ranked(probabilities, names, values.top)["top"]}, ensure_ascii=False), flush=True)  # fmt: skip
    return 2 if broken else 0


def explainers(
    wanted: Sequence[str], it: Subject
) -> dict[str, Callable[[jax.Array, int], jax.Array]]:
    """{method: what makes its maps}; all that have a meaning for the model, if wanted.

    Raises:
        UserError: one that has none was asked for.
    """
    try:
        return {
            name: explainer(name, it) for name in (applicable(it) if "all" in wanted else wanted)
        }
    except ValueError as error:
        raise UserError(str(error)) from error


def classifier(
    run: TrainedRun, options: Any
) -> tuple[Callable[[jax.Array], jax.Array], Sequence[str], ImageFormat]:
    """[1, H, W, C] normalised image to [1, K], the names of the classes, and the format of the images.

    Raises:
        UserError: the run does not classify images.
    """
    variables, format = run.variables, run.reader.format
    if isinstance(format, PairFormat):
        names, classes = label_weights(run, options.labels)
        scale = jnp.exp(variables["params"]["logit_scale"])

        def compare(image: jax.Array) -> jax.Array:
            found = run.model.apply(variables, image, method="encode_image")
            return scale * unit_length(found) @ classes.T

        return compare, names, format.image
    if not isinstance(format, ImageFormat) or not getattr(run.model, "num_classes", 0):
        raise UserError(
            f"a run of {run.config['task']['name']} does not classify images; explain one that does: classification, "
            "token_pruning or contrastive"
        )
    scores = lambda image: run.model.apply(variables, image, train=False)
    return scores, run.reader.record["class_names"], format


def describe(
    run: TrainedRun, scores: Callable[[jax.Array], jax.Array], image: jax.Array
) -> Subject:
    """How the tokens of the run's model lie."""
    model = run.model
    patch = getattr(model, "patch_size", 4)
    pooling = getattr(model, "pooling", None)
    by_token = pooling == "token" if pooling else type(model).__name__ in ("DynamicViT", "CLIP")
    grid = (image.shape[1] // patch, image.shape[2] // patch)

    def kept(image: jax.Array) -> list[jax.Array]:
        _, state = model.apply(run.variables, image, mutable=["intermediates"])
        names = sorted(name for name in state["intermediates"] if name.startswith("kept"))
        return [state["intermediates"][name][0][0] for name in names]

    prunes = {"kept": kept} if type(model).__name__ == "DynamicViT" else {}
    return subject(scores, image, grid, pooled="token" if by_token else "mean", **prunes)


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


def main() -> None:
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
