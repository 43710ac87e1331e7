"""A small decoder-only language model.

The model is the decoder of Vaswani et al. 2017 (arXiv:1706.03762), with its norms before the sub-layers; there is no
published figure for it. Not run at full size in this project.
Hardware: batch 64 at length 512 in bfloat16 needs one accelerator with 16 GB.

    python -m vitax.main --config=configs/lm_small.py --config.data.path=FILE.txt
    echo "Once upon a" | python -m vitax.predict --workdir=RUN

:demo learns lines such as "217 = two hundred and seventeen" and is tested on numbers that it has not seen, offline
and on two CPU cores. It predicts 0.77 of the tokens correctly; the digits themselves cannot be predicted.

    python -m vitax.main --config=configs/lm_small.py:demo
    echo "217 =" | python -m vitax.predict --workdir=RUN

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
    config.batch_size = 64
    config.duration = "100000 steps"
    config.model = dict(name="language_model", size="small", dtype="bfloat16")
    config.task = dict(name="language")
    config.data = dict(
        name="text",
        path="",  # a .txt file or a folder of them: one sentence per line, an empty line between documents
        tokenizer="",  # tokenizer.json or vocab.txt; empty: a BPE is trained on the text
        vocab_size=32000,
        lowercase=False,
        length=512,
        sentence_pairs=False,
        newlines=True,  # lines keep their indentation and their ends; False: prose
    )
    config.optim = dict(name="adamw", learning_rate=6e-4, warmup="2000 steps", weight_decay=0.1, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="5000 steps", best="test/loss", mode="min")
    config.checkpoint = dict(every="2000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "15 epochs"
    config.model = dict(name="language_model", width=128, depth=3, num_heads=4, mlp_width=512)
    config.task = dict(name="language")
    config.data = dict(name="number_lines", vocab_size=400, length=20, sentence_pairs=False, newlines=False)
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="1 epoch", weight_decay=0.1, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="5 epochs", best="test/loss", mode="min")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
