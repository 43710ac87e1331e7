"""Transformer-base: English to German, WMT14.

Recipe: Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), section 5: 100,000 steps of about 25,000
tokens each way, sentences of like length together, mean of the last five checkpoints, beam 4; 27.3 BLEU (tokenised,
newstest2014). Not run in this project. A batch has 25,600 tokens each way, padding included: 200 pairs of 128 tokens,
400 of 64, and so on. Before the first step all 4.5 million pairs are encoded once, to measure their lengths.
Hardware: 8 accelerators with 8 GB; compiled for 8 CPU devices, each needs 4.5 GiB (``python -m vitax.plan
--config=configs/transformer_base.py --examples=4500000 --devices=8``).

    python -m vitax.main --config=configs/transformer_base.py                                  # data prepared with TFDS
    python -m vitax.main --config=configs/transformer_base.py --config.data.name=bitext --config.data.path=DIR
    python -m vitax.main --workdir=RUN --mode=eval --checkpoint=average
    echo "A man is playing a guitar." | python -m vitax.predict --workdir=RUN --checkpoint=average

DIR holds train.en, train.de, test.en and test.de, aligned line by line (``data.source`` and ``data.target`` choose
other endings).

:demo trains a small model to translate German numbers, such as "zweihundertsiebzehn", into English, offline and on
two CPU cores. The 400 numbers of the test are not among the 7,500 numbers of the training. It translates 398 of them
correctly (BLEU 99.9).

    python -m vitax.main --config=configs/transformer_base.py:demo

:small trains on 30,000 pairs of short sentences, on a laptop. It reaches 30.9 BLEU on the 2016 test set of Multi30k,
English to German, after 6 epochs, which take 21 minutes on two CPU cores.

    python -m vitax.main --config=configs/transformer_base.py:small --config.data.path=DIR

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
    config.batch_size = 200  # pairs of 128 tokens
    config.duration = "100000 steps"
    config.model = dict(name="transformer", size="base", dtype="bfloat16")
    config.task = dict(name="translation", label_smoothing=0.1, beam=4, length_penalty=0.6, extra_length=50)
    config.data = dict(
        name="wmt14_translate/de-en",  # or "bitext", with a path
        path="",
        train="train",
        test="test",
        source="en",
        target="de",
        vocab_size=37000,
        length=128,
        buckets=(8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96),
        truncate=True,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=6.98771e-4,  # 512^-0.5 * 4000^-0.5
        schedule="inverse_sqrt",
        warmup="4000 steps",
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        epsilon=1e-9,
    )
    config.evals = dict(every="10000 steps", best="test/bleu")
    config.checkpoint = dict(every="1500 steps", keep=5)
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "8 epochs"
    config.model = dict(name="transformer", width=128, encoder_depth=2, decoder_depth=2, num_heads=4, mlp_width=256)
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
    )
    config.evals = dict(every="4 epochs", best="test/exact")
    config.checkpoint = dict(every="1 epoch", keep=5)
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "6 epochs"
    config.model = dict(
        name="transformer", width=128, encoder_depth=2, decoder_depth=2, num_heads=4, mlp_width=512, dropout=0.1
    )
    config.task = dict(name="translation", label_smoothing=0.1, beam=4, length_penalty=0.6)
    config.data = dict(name="bitext", path="", source="en", target="de", vocab_size=4000, length=40, truncate=True)
    config.optim = dict(
        name="adamw",
        learning_rate=2e-3,
        schedule="inverse_sqrt",
        warmup="2 epochs",
        weight_decay=0.0,
        b1=0.9,
        b2=0.98,
        epsilon=1e-9,
    )
    config.evals = dict(every="3 epochs", best="test/bleu")
    config.checkpoint = dict(every="1 epoch", keep=3)
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
