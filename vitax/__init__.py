"""vitax: the vision-transformer family in JAX and Flax, one readable file per paper.

Where things are
----------------
    library                         ``vitax.load``: a model in Python, ready to predict and to explain
    main, predict, explain, report,
    cross_validate, export,
    embed, neighbors, sweep/        what a user types: ``python -m vitax.main``, ``python -m vitax.predict``
    command, show_configs           the command ``vitax``, with these as its verbs; the configs that come with vitax
    plan, doctor, bench             ... before a run: its needs, its problems, its speed
    cli, config_file, config_help   the command line: flags, config files, the meaning of every key
    schema, sections, resolve       which function takes which key of a config; all keys with their defaults
    config, docstrings              values and text of a config; meanings of arguments from docstrings
    adopt                           configs whose model and preprocessing come from the weights that they start from
    build, reading                  the only readers of a config: config -> model, task, data, optimizer
    lock, rundir, runs/             the folder of a run and its lock; runs opened, restored, evaluated, started from weights
    losses, masking, boxes, augment,
    metrics, generate               pure functions: arrays in, arrays out
    nn/                             layers that more than one model uses
    models/                         one paper, one file; the table is ``vitax.models.MODELS``
    macs                            multiply-accumulates of any function
    pretrained/                     weights of other projects, in and out; one table for each family
    tasks/                          one objective, one file; the table is ``vitax.tasks.TASKS``
    data/                           sources, transforms, loader: NumPy only; the table is ``vitax.data.SOURCES``
    pipelines/                      one kind of data, one file: from files to examples; ``vitax.pipelines.KINDS``
    specs                           what data, objective and model agree on: image size, special tokens
    hub                             files on the Hugging Face hub: weights, datasets
    sniff                           what a file seems to be, for messages
    training/                       step, loop, optimizer, sharding, checkpoints: know a Task, never a model
    monitoring/                     logs, TensorBoard, other trackers, progress, signals, watchdog, the heartbeat of hosts
    evals/                          evaluations that are not a mean: zero-shot, retrieval, k-NN, BLEU, whole images
    prediction/                     predictions of a trained run; the table is ``vitax.prediction.PREDICTORS``
    exports/                        a trained run for others: folders of the hub's libraries, StableHLO, ONNX
    explain/                        methods of explanation, pure; the table is ``vitax.explain.methods.METHODS``
    explanation/                    explanations of the predictions of a trained run
    report/, page                   a run on one page, or several compared; HTML
    planning/                       bytes and estimated time of a step, here or on devices elsewhere; placeholder data
    mesh, backend, environment      devices; start-up of JAX; versions and hardware
    errors                          errors that end in a sentence

The way of a batch
------------------
    pipelines/images.py     which source, which transforms
    data/source.py          example: "image" [H, W, C] uint8 of any size, "label" int32
    data/transforms.py      the same, H x W = data.image_size
    data/loader.py          batch: "image" [B, H, W, C], "label" [B], "valid" [B] bool, "index" [B] int64
    training/sharding.py    on the devices, B split over all of them; "index" stays behind
    tasks/                  normalised to float32, mixed, through the model, to a loss: metrics are (sum, count)
    training/step.py        gradient, clipped, to an update; everything random is a function of (seed, step)

Letters in shape comments (upper case) and in einsum strings (lower case)
-------------------------------------------------------------------------
    B batch                 H, W, C  image height, width, channels
    P patch side            N tokens, M key tokens
    D width                 A heads, E width of a head
    F width of the MLP      K classes
    L length of a text      V vocabulary

Masks are boolean, and True always means keep, visible, valid.
"""

from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from vitax.library import Model

__version__ = "0.1.0"


def load(path: str | _Path, *, checkpoint: str = "best", **fields: _Any) -> "Model":
    """A model with its weights: from the folder of a run, or from a file or hub folder of another project.

        model = vitax.load("runs/a")
        model("cat.jpg")                    # {"label": "cat", "probability": 0.93, "top": [...]}
        model.features(["cat.jpg", image])  # [2, D]
        model.explain("cat.jpg").maps       # {"relevance": [h, w]}

    The arguments are those of `vitax.library.load`.
    """
    from vitax.library import load  # JAX and the models: only for who asks for them

    return load(path, checkpoint=checkpoint, **fields)
