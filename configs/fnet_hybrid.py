"""FNet-Hybrid: FNet-base whose last two blocks have attention.

Recipe: Lee-Thorp et al. 2021, "FNet: Mixing Tokens with Fourier Transforms" (arXiv:2105.03824), section 4.1 and the
official code: a million steps of 256 texts of 512 tokens on C4; this file states no figure for the hybrid. Not run in
this project.
Hardware: batch 256 in bfloat16 needs one accelerator with 80 GB.

    python -m vitax.main --config=configs/fnet_hybrid.py --config.data.path=FILE.txt
    python -m vitax.main --config=configs/fnet_hybrid.py --config.data.path=DIR --config.data.tokenizer=vocab.txt
    echo "The capital of France is [MASK]." | python -m vitax.predict --workdir=RUN

Passages are cut, paired and masked while training; nothing is prepared or stored.

:demo trains a small version of the same model on English prose that comes with Python (the language reference of
``help()``), offline and on two CPU cores. It predicts 0.26 of the hidden tokens correctly (the most frequent token
alone: 0.04), and classifies 0.51 of the pairs correctly, no more than chance: the text is small.

    python -m vitax.main --config=configs/fnet_hybrid.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": text, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def text() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.duration = "1000000 steps"
    config.model = dict(name="fnet", size="base", heads="pretraining", attention_depth=2, dtype="bfloat16")
    config.task = dict(name="masked_words", mask_rate=0.15, max_predictions=80)
    config.data = dict(
        name="text",
        path="",  # a .txt file or a folder of them: one sentence per line, an empty line between documents
        tokenizer="",  # tokenizer.json or vocab.txt; empty: a BPE is trained on the text
        vocab_size=32000,
        lowercase=False,
        length=512,
        sentence_pairs=True,
    )
    config.optim = dict(
        name="adamw", learning_rate=1e-4, schedule="linear", warmup="10000 steps", weight_decay=0.01, epsilon=1e-6
    )
    config.evals = dict(every="50000 steps")
    config.checkpoint = dict(every="5000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "40 epochs"
    config.model = dict(
        name="fnet",
        heads="pretraining",
        attention_depth=1,
        max_length=48,
        width=128,
        depth=3,
        num_heads=4,
        mlp_width=512,
    )
    config.task = dict(name="masked_words", mask_rate=0.15, max_predictions=8)
    config.data = dict(
        name="topics", test_fraction=0.1, vocab_size=1000, lowercase=True, length=48, sentence_pairs=True
    )
    config.optim = dict(
        name="adamw", learning_rate=1e-3, schedule="linear", warmup="3 epochs", weight_decay=0.01, clip_norm=1.0
    )
    config.evals = dict(every="20 epochs", best="test/loss", mode="min")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
