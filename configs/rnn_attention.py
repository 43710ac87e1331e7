"""Recurrent encoder-decoder with attention, the predecessor of the Transformer: English to German.

Recipe: Bahdanau et al. 2014, "Neural Machine Translation by Jointly Learning to Align and Translate"
(arXiv:1409.0473); the paper translates to French and reaches 28.45 BLEU (RNNsearch-50 trained longer). This file uses
the Transformer's recipe, for a comparison with the Transformer. Not run at this size in this project.
Hardware: one accelerator with 16 GB.

    python -m vitax.main --config=configs/rnn_attention.py                                  # data prepared with TFDS
    python -m vitax.main --config=configs/rnn_attention.py --config.data.name=bitext --config.data.path=DIR
    python -m vitax.main --workdir=RUN --mode=eval --checkpoint=average
    echo "A man is playing a guitar." | python -m vitax.predict --workdir=RUN --checkpoint=average

DIR holds train.en, train.de, test.en and test.de, aligned line by line (``data.source`` and ``data.target`` choose
other endings).

:demo trains a small model to translate German numbers, such as "zweihundertsiebzehn", into English, offline and on
two CPU cores. The 400 numbers of the test are not among the 7,500 numbers of the training. It translates all of them
correctly (BLEU 100).

    python -m vitax.main --config=configs/rnn_attention.py:demo

:small trains on 30,000 pairs of short sentences, on a laptop. It reaches 32.3 BLEU on the 2016 test set of Multi30k,
English to German, after 6 epochs, which take 14 minutes on two CPU cores.

    python -m vitax.main --config=configs/rnn_attention.py:small --config.data.path=DIR

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": wmt, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def wmt() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.duration = "300000 steps"
    config.model = dict(name="rnn_seq2seq", size="base", dtype="bfloat16")
    config.task = dict(name="translation", label_smoothing=0.1, beam=4, length_penalty=0.6)
    config.data = dict(
        name="wmt14_translate/de-en",  # or "bitext", with a path
        path="",
        train="train",
        test="test",
        source="en",
        target="de",
        vocab_size=37000,
        length=128,
        truncate=True,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=5e-4,
        schedule="inverse_sqrt",
        warmup="4000 steps",
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        epsilon=1e-9,
        clip_norm=1.0,
    )
    config.evals = dict(every="10000 steps", best="test/bleu")
    config.checkpoint = dict(every="5000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "12 epochs"
    config.model = dict(name="rnn_seq2seq", width=128, depth=1)
    config.task = dict(name="translation", label_smoothing=0.1, beam=4, length_penalty=0.6)
    config.data = dict(name="number_names", source="de", target="en", vocab_size=400, length=20)
    config.optim = dict(
        name="adamw",
        learning_rate=2e-3,
        schedule="inverse_sqrt",
        warmup="2 epochs",
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        epsilon=1e-9,
        clip_norm=1.0,
    )
    config.evals = dict(every="6 epochs", best="test/exact")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "6 epochs"
    config.model = dict(name="rnn_seq2seq", width=128, depth=1, dropout=0.1)
    config.task = dict(name="translation", label_smoothing=0.1, beam=4, length_penalty=0.6)
    config.data = dict(name="bitext", path="", source="en", target="de", vocab_size=4000, length=40, truncate=True)
    config.optim = dict(
        name="adamw",
        learning_rate=1.5e-3,
        schedule="inverse_sqrt",
        warmup="2 epochs",
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        epsilon=1e-9,
        clip_norm=1.0,
    )
    config.evals = dict(every="3 epochs", best="test/bleu")
    config.checkpoint = dict(every="1 epoch", keep=3)
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
