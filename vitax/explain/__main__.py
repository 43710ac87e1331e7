"""Shows what a trained run looks at: a picture for each image, one JSON object a line on stdout.

    python -m vitax.explain --workdir=RUN IMAGES...                       files, or folders of files
    python -m vitax.explain --workdir=RUN --method=rollout IMAGES...
    python -m vitax.explain --workdir=RUN --method=all --class=cat IMAGES...
    python -m vitax.explain --workdir=RUN --method=heads IMAGES...        a tile for every head of every layer
    python -m vitax.explain --workdir=RUN --labels="a dog, a cat" IMAGES...  an image-text model
    python -m vitax.explain --workdir=RUN FILE.txt                        texts, a line each: the words that speak for
                                                                          a class or, with [MASK] in it, for a hidden word

    {"file": "cat.jpg", "class": "cat", "top": [...], "output": "RUN/explanations/cat.png"}

relevance: Chefer et al. 2020; of models with local attention, relevance of the patches. lrp: the same down to the pixels, or to
the embedded words. rollout, attention: what is looked at, whatever the class (of an MAE, that is all there is). gradcam,
gradient_x_input, integrated_gradients: by gradients. Computed in float32, whatever the run computes in: relevance is divided
by sums that may be near 0.
"""

import json
import sys
from pathlib import Path

from absl import flags

from vitax import cli
from vitax.errors import UserError
from vitax.explain.methods import METHODS
from vitax.explanation.images import HEADS, explain_images
from vitax.explanation.texts import explain_texts
from vitax.monitoring import log
from vitax.prediction import load_run

EXPLAINED = {
    "classification": explain_images,
    "token_pruning": explain_images,
    "contrastive": explain_images,
    "masked_image": explain_images,
    "text_classification": explain_texts,
    "masked_words": explain_texts,
}


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
    flags.DEFINE_string("checkpoint", "best", "best, last, average, or a step", flag_values=values)
    flags.DEFINE_list(
        "method",
        "",
        f"{', '.join((*METHODS, HEADS))}, or all (but heads); commas between; empty: relevance",
        flag_values=values,
    )
    flags.DEFINE_string("class", "", "name or number of the class; empty: the most probable", flag_values=values)
    flags.DEFINE_string(
        "labels", "", "image-text models: names of the classes, with commas between them", flag_values=values
    )
    flags.DEFINE_integer("top", 5, "how many classes to list", flag_values=values)
    flags.DEFINE_string("out", "", "folder for the pictures; empty: RUN/explanations", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    """Does what the command line says; gives the exit code."""
    values, given = cli.parse(argv, define_flags, __doc__, with_config=False, positional=True)
    if not values.workdir:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    unknown = sorted(set(values.method) - {*METHODS, HEADS, "all"})
    if unknown:
        raise UserError(f"--method={','.join(unknown)} is unknown; choose of {', '.join((*METHODS, HEADS))}, or all")
    cli.start_jax()
    log.start_logging(None)
    run = load_run(Path(values.workdir), values.checkpoint)
    task = run.config["task"]["name"]
    if task not in EXPLAINED:
        raise UserError(f"a run of {task} has nothing to explain; these have: {', '.join(EXPLAINED)}")
    broken = 0
    for found in EXPLAINED[task](run, given, values):
        broken += "error" in found
        print(json.dumps(found, ensure_ascii=False), flush=True)
    return 2 if broken else 0


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
