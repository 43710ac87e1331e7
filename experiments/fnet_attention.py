"""Does a text encoder need attention if Fourier transforms mix the words, in how many layers, and what else mixes them?

Lee-Thorp et al. 2021 (arXiv:2105.03824), sections 4.1 and 4.4, tables 1, 3 and 5: FNet reaches 92 to 97 % of BERT's
accuracy, predicts hidden words clearly worse (0.58 against 0.69), and trains 80 % faster on GPUs; with attention in its
last two layers it is nearly as good as BERT. Learned matrices (Linear) mix as well as Fourier transforms, fixed random ones
(Random) worse, and without mixing (feed-forward only) nothing is learned from other words. Hypothesis: accuracy grows with the
number of attention layers; and an odd number of Fourier layers before them costs accuracy, because one Fourier layer mirrors the
tokens, and two of them undo it (`vitax/models/fnet.py`).

    python experiments/fnet_attention.py

Hidden words of sentences that say a number in German and in English ("einundzwanzig is twenty-one"): a word that is
hidden in one language appears in the other, at another place. One to four layers, 1,500 steps. On running text (needs a GPU):

    python experiments/fnet_attention.py --config.data.path=FILE.txt --config.data.vocab_size=8000 --config.data.length=128 \\
      --config.model.max_length=128 --config.duration="100000 steps"

Speed at the paper's sizes: speed/README.md.
"""

from pathlib import Path

import numpy as np
from num2words import num2words
from study import Claim, Study, conduct

TEXT = Path(__file__).parent.parent / "runs" / "number_names.txt"
NUMBERS = 12_000  # numbers below a million; a tenth of them is the test split
DEEPEST = 4  # layers
FNET = "configs/fnet_hybrid.py:demo"
TOP = ("no attention", "1 layer of attention", "2 layers of attention")


def mixed(fourier: int, attention: int) -> dict[str, object]:
    """FNet with Fourier layers, and attention in the layers after them."""
    return {"config": FNET, "model.depth": fourier + attention, "model.attention_depth": attention}


STUDY = Study(
    variants={
        **{
            (name, fourier): mixed(fourier, attention)
            for attention, name in enumerate(TOP)
            for fourier in range(not attention, DEEPEST + 1 - attention)
        },
        **{name: {**mixed(2, 0), "model.mixing": name} for name in ("linear", "random", "none")},
        "BERT": {"config": "configs/bert_base.py:demo", "model.depth": 2},
    },
    metrics={"test/accuracy": "accuracy of hidden words", "test/loss": "loss"},
    config="",
    shared={
        "model.heads": "masked_words",
        "model.max_length": 48,
        "data.name": "text",
        "data.path": TEXT,
        "data.vocab_size": 400,
        "data.length": 48,
        "data.sentence_pairs": False,
        "batch_size": 64,
        "duration": "1500 steps",
        "optim.learning_rate": 1e-3,
        "optim.warmup": "150 steps",
        "evals.every": "",
        "checkpoint.every": "",
    },
    x="Fourier layers (before it)",
    claims=(
        Claim((TOP[1], 2), (TOP[0], 2)),
        Claim((TOP[2], 2), (TOP[1], 2)),
        Claim((TOP[1], 2), (TOP[1], 1)),
        Claim((TOP[1], 2), (TOP[1], 3)),
        Claim((TOP[2], 2), (TOP[2], 1)),
        Claim("BERT", (TOP[0], 2)),
        Claim((TOP[0], 2), "random"),
        Claim((TOP[0], 2), "none"),
        Claim("linear", "random"),
    ),
)


def write_text(path: Path) -> None:
    """Writes one number a line in two languages, each a document of its own; an existing file is kept."""
    if path.is_file():
        return
    numbers = np.random.default_rng(0).permutation(1_000_000)[:NUMBERS]
    lines = [f"{num2words(int(n), lang='de')} is {num2words(int(n), lang='en')}." for n in numbers]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_text(TEXT)
    conduct(__file__, __doc__, STUDY)
