"""Do long sentences suffer more from recurrence than from attention alone?

Vaswani et al. 2017 (arXiv:1706.03762), section 4: a path between two words has length 1 with self-attention and length
n with recurrence. Bahdanau et al. 2014 (arXiv:1409.0473), figure 2: attention keeps an RNN from failing on long
sentences. Hypothesis: BLEU of the Transformer falls less with length than BLEU of the RNN with attention.

    python experiments/translation_length.py

Names of numbers, German to English, the first 150 steps (after the demo both are perfect). For trained runs on real
text:

    python -m vitax.main --config=configs/transformer_base.py:small --config.data.path=DIR --workdir=runs/transformer
    python -m vitax.main --config=configs/rnn_attention.py:small --config.data.path=DIR --workdir=runs/rnn
    python experiments/translation_length.py runs/transformer runs/rnn [--publish]

writes the table into the folder of the first run, and with --publish into results/ and README.md.
"""

import sys
from pathlib import Path

import sacrebleu
from study import RESULTS, Row, Study, conduct, markdown, read, tell, write

from vitax import build
from vitax.monitoring import log
from vitax.prediction import load_run
from vitax.prediction.texts import translate

SENTENCES = 1000  # number of sentences of the test split, at most
NAMES = {"transformer": "Transformer", "rnn_seq2seq": "RNN with attention"}


def bleu_by_length(run: Path, which: str = "last") -> list[Row]:
    """BLEU of each quarter of the test split by length of the source.

    The x of a row is the mean number of characters of a source in its quarter. A source that is too long for the model
    counts as not translated.

    Args:
        run: folder of the run.
        which: checkpoint to load.
    """
    loaded = load_run(run, which)
    test = build.open_pipeline(loaded.config).splits.test
    pairs = [test.source[i] for i in range(min(SENTENCES, len(test)))]
    translations = [row.get("translation", "") for row in translate(loaded, [source for source, _ in pairs])]
    print(f"{run}: {translations.count('')} of {len(translations)} are not translated")
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
    quarter = len(order) // 4
    rows = []
    for k in range(4):
        indices = order[k * quarter : (k + 1) * quarter]
        score = sacrebleu.corpus_bleu([translations[i] for i in indices], [[pairs[i][1] for i in indices]])
        length = sum(len(pairs[i][0]) for i in indices) / quarter
        rows.append({"x": round(length, 1), "bleu": round(score.score, 3)})
    return rows


STUDY = Study(
    variants={
        "Transformer": {"config": "configs/transformer_base.py:demo", "duration": "150 steps"},
        "RNN with attention": {"config": "configs/rnn_attention.py:demo", "duration": "150 steps"},
    },
    metrics={"bleu": "BLEU"},
    config="",
    shared={"optim.warmup": "50 steps", "evals.every": "", "checkpoint.every": ""},
    measure=bleu_by_length,
    x="characters of the source",
)


def of_runs(runs: list[Path], publish: bool) -> None:
    """Measures the best checkpoints of trained runs, and writes translation_length_text.csv.

    Args:
        runs: folders of the runs.
        publish: write to results/ and README.md, and not to the folder of the first run.
    """
    log.start_logging()
    rows = []
    for run in runs:
        config = load_run(run).config
        for row in bleu_by_length(run, "best"):
            rows.append({"variant": NAMES[load_run(run).family], "seed": config["seed"], **row})
    path = (RESULTS if publish else runs[0]) / "translation_length_text.csv"
    write(path, rows)
    table = markdown(read(path), STUDY)
    print(f"{table}\n{path}")
    if publish:
        tell(path.stem, table)


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        of_runs([Path(name) for name in sys.argv[1:] if name != "--publish"], "--publish" in sys.argv)
    else:
        conduct(__file__, __doc__, STUDY)
