"""vitax: the vision-transformer family in JAX and Flax, one readable file per paper.

Where things are
----------------
    main, predict, explain,
    report, folds           what a user types: ``python -m vitax.main``, ``python -m vitax.predict``
    plan, doctor, bench     ... before: what it will need, what will go wrong, how fast it is
    schema                  every key of a config: its meaning, its default
    config                  text, flat keys and differences of a config; durations with their units
    build                   the only reader of a config: config -> model, task, data, optimizer
    losses, masking,
    images, metrics,
    decoding                pure functions: arrays in, arrays out
    nn/                     layers that more than one model uses
    models/                 one paper, one file; the table is ``vitax.models.MODELS``, ``python -m vitax.models`` lists it
    macs                    multiply-accumulates of any function
    pretrained/             weights of other projects, in and out; one table a family
    start, restore, finish  weights that a run starts from; variables of a checkpoint; what a run leaves
    needs, blank            bytes of a step, by counting and compiling; images that are not there, for plans
    tasks/                  one objective, one file; the table is ``vitax.tasks.TASKS``
    data/                   sources, transforms, loader: NumPy only; the table is ``vitax.data.SOURCES``
    pipelines/              one kind of data, one file: from files to examples; the table is ``vitax.pipelines.KINDS``
    formats                 what data, objective and model have to agree on: image size, special tokens
    evals/                  evaluations that are not a mean: zero-shot, retrieval, k-NN, BLEU, whole pictures
    prediction/             what ``vitax.predict`` does for each task
    explain/                what a model looks at: traced, and walked back; the table is ``vitax.explain.methods.METHODS``
    report/                 a run on one page, or several compared; the table is ``vitax.report.EXHIBITS``
    cli, errors             the command line; errors that end in a sentence
    workdir, mesh           the folder of a run, its lock and its files; the devices
    training/               step, loop, optimizer, sharding, checkpoints, logs, signals: know a Task, never a model

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

__version__ = "0.1.0"
