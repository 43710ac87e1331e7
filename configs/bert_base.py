"""BERT-base: masked words and next sentence.

Recipe: Devlin et al. 2018, "BERT" (arXiv:1810.04805), appendix A.2 and the official code: a million steps of 256
texts; GLUE test average 79.6 (base; the average of table 1). Not run in this project. Differences from the original:
Adam corrects its bias, GELU is the exact one, no passage is made short on purpose (in the original, a tenth are),
every line begins a passage, and attention weights are not dropped (in the original, a tenth are;
``--config.model.attention_dropout=0.1``), so that fused attention can be used on GPUs, as MosaicBERT does. In the
original, the first 90 % of the steps have length 128 and the rest 512; to do the same, train with
``data.length=128``, then continue with ``--config.init_from``.
Hardware: batch 256 at length 512 in bfloat16 needs one accelerator with 80 GB (compiled for an H100: 45 GiB).

    python -m vitax.main --config=configs/bert_base.py --config.data.path=FILE.txt
    python -m vitax.main --config=configs/bert_base.py --config.data.path=DIR --config.data.tokenizer=vocab.txt
    echo "The capital of France is [MASK]." | python -m vitax.predict --workdir=RUN

Passages are cut, paired and masked while training; nothing is prepared or stored.

:demo trains a small version of the same model on English prose that comes with Python (the language reference of
``help()``), offline and on two CPU cores. It predicts 0.18 of the hidden tokens correctly (the most frequent token
alone: 0.04), and classifies 0.58 of the pairs correctly: the text is small.

    python -m vitax.main --config=configs/bert_base.py:demo

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
    config.model = dict(name="bert", size="base", heads="pretraining", attention_dropout=0.0, dtype="bfloat16")
    config.task = dict(name="masked_words", mask_rate=0.15, max_predictions=80)
    config.data = dict(
        name="text",
        path="",  # a .txt file or a folder of them: one sentence per line, an empty line between documents
        tokenizer="",  # tokenizer.json or vocab.txt; empty: a BPE is trained on the text
        vocab_size=30522,
        lowercase=True,
        length=512,
        sentence_pairs=True,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-4,
        schedule="linear",
        warmup="10000 steps",
        weight_decay=0.01,
        epsilon=1e-6,
        clip_norm=1.0,
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
    config.model = dict(name="bert", heads="pretraining", max_length=48, width=128, depth=1, num_heads=4, mlp_width=512)
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
