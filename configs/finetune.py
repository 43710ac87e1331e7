"""Fine-tuning of any published classifier or encoder on your own images or texts.

The model and its preprocessing come from the weights: sizes, activation, mean and standard deviation, image size, crop
and interpolation; for texts, the tokenizer. The recipe is meant for a few hundred to some tens of thousands of
examples: AdamW with a smaller rate for the layers near the input, light augmentation, and a tenth of the training examples
held out to choose the best checkpoint. It comes from no paper, and was tried on the digits of :demo only. It takes a ViT, DeiT, Swin, NAT, DiNAT or Mixer, the encoder of an MAE, the
image tower of a CLIP, the backbone of a DynamicViT; with :text, a BERT or an FNet.

    python -m vitax.main --config=configs/finetune.py --config.init_from=hf-hub:OWNER/NAME --config.data.path=IMAGES
    python -m vitax.main --config=configs/finetune.py --config.init_from=DIR/model.safetensors --config.data.path=IMAGES
    python -m vitax.main --config=configs/finetune.py --config.init_from=runs/mae --config.data.path=IMAGES
    python -m vitax.main --config=configs/finetune.py:multilabel --config.init_from=WEIGHTS --config.data.path=TABLE.csv
    python -m vitax.main --config=configs/finetune.py:regression --config.init_from=WEIGHTS --config.data.path=TABLE.csv "--config.data.targets=('age',)"
    python -m vitax.main --config=configs/finetune.py:text --config.init_from=bert-base-uncased --config.data.path=TABLES
    python -m vitax.main --config=configs/finetune.py:text_multilabel --config.init_from=bert-base-uncased --config.data.path=TABLES
    python -m vitax.main --config=configs/finetune.py:text_regression --config.init_from=bert-base-uncased --config.data.path=TABLES

IMAGES holds a folder for each class, or train and test with such folders. TABLES holds train.csv and test.csv with the
columns text, label and, for pairs, text_pair. TABLE.csv has a column of files and one that lists the labels of an image, such as
"cat;dog", or a column for each label or number; TABLES for several labels, or for numbers such as the likeness of two
sentences, have the same with texts. ``--config.optim.train=head`` trains only the head, a linear probe; a second
run from the folder of the first, without that key, then trains all of it.

:demo fine-tunes the encoder of ``mae_b16_pretrain.py:demo`` on 100 labelled digits, offline and on two CPU cores.
It reaches an accuracy of 0.94 on the 359 test digits.

    python -m vitax.main --config=configs/mae_b16_pretrain.py:demo --workdir=runs/mae
    python -m vitax.main --config=configs/finetune.py:demo --config.init_from=runs/mae

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {
        "": images,
        "multilabel": multilabel,
        "regression": regression,
        "text": text,
        "text_multilabel": text_multilabel,
        "text_regression": text_regression,
        "demo": demo,
    }
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def images() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "10 epochs, at least 500 steps"
    config.init_from = ""  # a file of weights, a name or a folder as a model hub has it, or the folder of a run
    config.model = dict(name="from_weights")
    config.task = dict(name="classification", label_smoothing=0.1)
    config.data = dict(
        name="folder",
        path="",
        validation="10%",
        crop="random_resized",
        crop_scale=(0.5, 1.0),
        flip=True,
    )
    config.optim = dict(
        name="adamw", learning_rate=3e-4, warmup="50 steps", weight_decay=0.05, layer_decay=0.75, clip_norm=1.0
    )
    config.evals = dict(every="1 epoch, at least 100 steps", best="test/accuracy")
    config.checkpoint = dict(every="1 epoch, at least 100 steps")
    config.log = dict(every="20 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def multilabel() -> ConfigDict:
    config = images()
    config.task = dict(name="multilabel")
    config.data.name = "table"
    config.data.targets = ()  # columns with 0 or 1; empty: one column lists the labels
    config.evals.best = "test/map"
    return config


def regression() -> ConfigDict:
    config = images()
    config.task = dict(name="regression")
    config.data.name = "table"
    config.data.targets = ()  # columns of numbers; empty: the column value
    config.evals.best = "test/mae"
    config.evals.mode = "min"
    return config


def text() -> ConfigDict:
    config = images()
    config.duration = "3 epochs, at least 500 steps"
    config.task = dict(name="text_classification")
    config.data = dict(name="table", path="", validation="10%", length=128, truncate=True)
    config.optim = dict(
        name="adamw", learning_rate=3e-5, schedule="linear", warmup="50 steps", weight_decay=0.01, clip_norm=1.0
    )
    return config


def text_multilabel() -> ConfigDict:
    config = text()
    config.task = dict(name="text_multilabel")
    config.data.targets = ()  # columns with 0 or 1; empty: one column lists the labels
    config.evals.best = "test/map"
    return config


def text_regression() -> ConfigDict:
    config = text()
    config.task = dict(name="text_regression")
    config.data.targets = ()  # columns of numbers; empty: the column value, score or label
    config.evals.best = "test/mae"
    config.evals.mode = "min"
    return config


def demo() -> ConfigDict:
    config = images()
    config.data = dict(
        name="digits",
        train_examples=100,
        validation="",
        crop="random_resized",
        crop_scale=(0.6, 1.0),
        flip=False,  # a mirrored 2 is not a 2
    )
    config.optim.learning_rate = 2e-3
    config.optim.warmup = "15 steps"
    return config
