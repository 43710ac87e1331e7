"""Does a pre-trained encoder of texts need fewer labels?

Devlin et al. 2018 (arXiv:1810.04805), section 4: BERT, fine-tuned, is ahead of all that is trained for one task alone.
Hypothesis: a small pre-trained encoder is ahead of the same one from scratch, with 100 labels and with 1,000.

    python experiments/pretraining.py --data=DIR

DIR holds train_100.csv, train_1000.csv and test.csv with the columns text and label (negative, positive), and in DIR/weights
the folder of all-MiniLM-L6-v2 (6 layers of width 384: sentence-transformers/all-MiniLM-L6-v2 on the hub). The table was made
with sentences of film reviews: "movieReviewSnippets" of Hutto & Gilbert 2014, those with a rating of at least 1 or at most
-1, in random order; 1,000 others are the test. 100 labels have 80 steps of 32 sentences (26 epochs), and
1,000 have 100 (3).

These weights are not BERT's: they were distilled, and then trained to tell which sentences belong together. The rates differ:
1e-4 from them, and 5e-4 from scratch.
"""

from study import Claim, Study, conduct

LABELS = {100: "80 steps", 1000: "100 steps"}
RATES = {"pre-trained": 1e-4, "from scratch": 5e-4}


STUDY = Study(
    variants={
        (name, count): {
            "data.train": f"train_{count}",
            "optim.learning_rate": rate,
            "duration": steps,
            **({"init_from": "{data}/weights"} if name == "pre-trained" else {}),
        }
        for count, steps in LABELS.items()
        for name, rate in RATES.items()
    },
    metrics={"test/accuracy": "test accuracy"},
    config="configs/bert_finetune.py",
    shared={
        "model.size": "",
        "model.width": 384,
        "model.depth": 6,
        "model.num_heads": 12,
        "model.mlp_width": 1536,
        "model.dtype": "float32",
        "data.tokenizer": "{data}/weights/tokenizer.json",
        "data.length": 48,
        "data.buckets": (16, 24, 32),
        "optim.warmup": "10 steps",
        "evals.every": "",
        "checkpoint.every": "",
    },
    seeds=5,
    x="labels",
    claims=(
        *(Claim(("pre-trained", count), ("from scratch", count)) for count in LABELS),
        Claim(("pre-trained", 100), ("from scratch", 1000)),
    ),
    needs_data=True,
)


if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
