"""Explains the predictions of a trained run: a figure for each image, and one JSON object per line on stdout.

    python -m vitax.explain --workdir=RUN IMAGES...                       files, or folders of files
    python -m vitax.explain --workdir=RUN --method=rollout IMAGES...
    python -m vitax.explain --workdir=RUN --method=all --class=cat IMAGES...
    python -m vitax.explain --workdir=RUN --method=heads IMAGES...        a tile for every head of every layer
    python -m vitax.explain --workdir=RUN --labels="a dog, a cat" IMAGES...  an image-text model
    python -m vitax.explain --workdir=RUN --class=dog --region=0,0,0.5,1 IMAGES...  the pixels, or the object, of a class there
    python -m vitax.explain --workdir=RUN FILE.txt                        texts, one per line: the words that speak for
                                                                          a class or, in a text with [MASK], for the
                                                                          hidden word

    {"file": "cat.jpg", "class": "cat", "top": [...], "output": "RUN/explanations/cat.png"}

The method relevance is that of Chefer et al. 2020; for models with local attention, it is the relevance of the patches.
lrp is the same down to the pixels or to the embedded words. rollout and attention show what the model looks at,
whatever the class (an MAE has no other methods). Segmentations and detections have integrated_gradients, which is their
default, and gradient_x_input; detections have attention too, that of the object's query. gradcam, gradient_x_input and integrated_gradients use gradients.
Everything is computed in float32, whatever the dtype of the run: relevance is divided by sums that may be near 0.
"""

from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.explain.methods import METHODS
from vitax.explanation import explain
from vitax.explanation.images import HEADS
from vitax.monitoring import log
from vitax.predict import print_rows
from vitax.prediction import load_run

ALL = (*METHODS, HEADS)
FLAGS = (
    Flag("workdir", "", "folder of the run"),
    Flag("checkpoint", "best", "best, last, average, or a step"),
    Flag("method", (), f"{', '.join(ALL)}, or all (but {HEADS}), with commas; empty: relevance, else rollout"),
    Flag("class", "", "name or number of the class; empty: the most probable"),
    Flag("labels", "", "image-text models: names of the classes, with commas between them"),
    Flag("region", "", "segmentation, detection: left,top,right,bottom in shares of the picture; empty: everywhere"),
    Flag("top", 5, "number of classes to list"),
    Flag("out", "", "folder for the figures, or for the page of texts; empty: RUN/explanations"),
)


def run(arguments: Arguments) -> int:
    """Explains each input, and prints a line for it.

    Raises:
        UserError: no run was named, a method is unknown, or a number is out of its range.
    """
    flags = arguments.flags
    if not flags["workdir"]:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    if unknown := sorted(set(flags["method"]) - {*ALL, "all"}):
        raise UserError(f"--method={','.join(unknown)} is unknown; choose one of {', '.join(ALL)}, or all")
    if flags["top"] < 1:
        raise UserError(f"--top={flags['top']} must be at least 1")
    start_jax()
    log.start_logging()
    trained = load_run(flags["workdir"], flags["checkpoint"])
    options = {flag.name: flags[flag.name] for flag in FLAGS[2:] if flags[flag.name] != flag.default}
    if "class" in options:
        options["label"] = options.pop("class")
    return print_rows(explain(trained, arguments.positional, **options))


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
