"""BERT-base, fine-tuned to classify texts or pairs of texts.

Recipe: Devlin et al. 2018, "BERT" (arXiv:1810.04805), section 4.1 and appendix A.3: 2 to 4 epochs, batch 16 or 32,
learning rate 2e-5 to 5e-5; SST-2 93.5 %, MNLI-m 84.6 %, MRPC F1 88.9 (test, table 1). Not run in this project.
Hardware: one accelerator with 16 GB.

    python -m vitax.main --config=configs/bert_finetune.py --config.data.path=DIR --config.init_from=bert-base-uncased/model.safetensors --config.data.tokenizer=bert-base-uncased/vocab.txt
    python -m vitax.main --config=configs/bert_finetune.py --config.data.path=DIR --config.init_from=runs/bert

DIR holds train.csv and test.csv (or .tsv, .jsonl) with the columns text, label and, for pairs, text_pair.

:demo predicts which of ten chapters of Python's language reference a sentence comes from, offline and on two CPU
cores. It is right about 0.60 of the sentences from scratch, and about 0.58 from ``bert_base.py:demo``: such a small
pre-training does not help.

    python -m vitax.main --config=configs/bert_finetune.py:demo
    python -m vitax.main --config=configs/bert_finetune.py:demo --config.init_from=runs/bert   # from bert_base.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": table, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def table() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "3 epochs"
    config.init_from = ""  # the folder of a pre-training run, or a file of weights; "" = from scratch
    config.model = dict(name="bert", size="base", heads="classes", dtype="bfloat16")
    config.task = dict(name="text_classification")
    config.data = dict(
        name="table",
        path="",
        tokenizer="",  # tokenizer of the weights: tokenizer.json or vocab.txt; empty: that of the run in init_from
        lowercase=True,
        length=128,
        truncate=True,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=2e-5,
        schedule="linear",
        warmup="0.3 epochs",
        weight_decay=0.01,
        epsilon=1e-6,
        clip_norm=1.0,
    )
    config.evals = dict(every="1 epoch", best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "20 epochs"
    config.init_from = ""  # the folder of a pre-training run, or a file of weights; "" = from scratch
    config.model = dict(name="bert", heads="classes", max_length=48, width=128, depth=1, num_heads=4, mlp_width=512)
    config.task = dict(name="text_classification")
    config.data = dict(name="topics", vocab_size=1000, lowercase=True, length=48)
    config.optim = dict(
        name="adamw", learning_rate=5e-4, schedule="linear", warmup="2 epochs", weight_decay=0.01, clip_norm=1.0
    )
    config.evals = dict(every="5 epochs", best="test/accuracy")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
