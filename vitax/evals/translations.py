"""BLEU of a model's translations, and the share of exactly correct ones."""

from typing import Any

import sacrebleu

from vitax.data.tokens import from_json
from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables


def bleu(given: Given, *, bleu: bool = True) -> Evaluation | None:
    """Translates the test split with the task's beam.

    Measures "bleu", computed by sacreBLEU with its defaults (13a, mixed case) on text as it was written, 0..100, and
    "exact", the share of translations that equal the reference.

    Args:
        bleu: False = off.
    """
    if not bleu:
        return None
    vocab = from_json(given.reader.record["tokenizer"])
    predict = choose(given.task, "tokens")
    source: Any = given.splits.test  # `vitax.pipelines.bitext.Encoded`

    def run(variables: Variables) -> dict[str, float]:
        translations, references = [], []
        for batch, out in predicted(predict, variables, given.test, given.mesh):
            translations += [vocab.decode(row) for row in out["tokens"]]
            references += [source.reference(int(i)) for i in batch["position"]]
        exact = sum(a == b for a, b in zip(translations, references, strict=True)) / max(1, len(translations))
        return {"bleu": sacrebleu.corpus_bleu(translations, [references]).score, "exact": exact}

    return Evaluation(("bleu", "exact"), run)
