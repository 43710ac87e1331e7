"""Loads weights of other projects in many combinations, and compares the outputs with those of the peers.

    pip install torch timm transformers open_clip_torch      (not part of vitax's requirements)
    python experiments/conformance/measure.py                about 30 minutes on two CPU cores
    python experiments/conformance/measure.py clip options   some groups: files, images, texts, clip, options, names

Counts: equal (largest difference up to 2e-5 of the largest value); refused, with the sentence; wrong; traceback.
Writes experiments/conformance/results.csv, or the file of ``--out``.
"""

import argparse
import csv
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from combinations import GROUPS, Combination

from vitax import pretrained
from vitax.errors import UserError

RESULTS = Path(__file__).parent / "results.csv"
ALLOWED = 2e-5


def outputs(model: Any, variables: Any, inputs: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """The outputs of a model of vitax, under the names that the peers use."""
    name = type(model).__name__
    first = inputs[0]
    if first.ndim == 4:
        first = first.transpose(0, 2, 3, 1)
    if name == "CLIP":
        embeddings = model.apply(variables, first, inputs[1])
        return {"image": embeddings.image, "text": embeddings.text}
    if name in ("BERT", "FNet"):
        out = model.apply(variables, first)
        return {
            "last_hidden_state": out["tokens"],
            "pooler_output": out.get("pooled"),
            "prediction_logits": out.get("word_logits"),
            "seq_relationship_logits": out.get("next_logits"),
            "logits": out.get("logits", out.get("word_logits")),
        }
    if name == "Transformer":
        return {"logits": model.apply(variables, first, inputs[1])}
    out, state = model.apply(variables, first, mutable="intermediates")
    tokens = state["intermediates"].get("tokens", (None,))[0]
    return {"out": out, "logits": out, "pooler_output": out, "last_hidden_state": tokens}


def judged(combination: Combination) -> dict[str, object]:
    """One row of the table."""
    row: dict[str, object] = dict(name=combination.name, outcome="", error="", message="")
    with tempfile.TemporaryDirectory() as folder:
        path = combination.write(Path(folder))
        try:
            model, variables, report = pretrained.load(path, **combination.fields)
            ours = outputs(model, variables, combination.inputs)
        except UserError as error:
            return row | dict(outcome="refused", message=str(error).replace(folder, "DIR"))
        except Exception:
            return row | dict(outcome="traceback", message=traceback.format_exc()[-300:])
        errors = []
        for name, expected in combination.expected.items():
            got = np.asarray(ours.get(name)) if ours.get(name) is not None else np.zeros(0)
            if got.shape != expected.shape:
                return row | dict(outcome="wrong", message=f"{name}: shape {got.shape}, expected {expected.shape}")
            errors.append(float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max())))
        if not errors:
            return row | dict(outcome="wrong", message="loaded, but its output has no counterpart")
        outcome = "equal" if max(errors) <= ALLOWED else "wrong"
        return row | dict(outcome=outcome, error=f"{max(errors):.1e}", message=report.format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"some of {', '.join(GROUPS)}; none = all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    jax.config.update("jax_disable_most_optimizations", True)
    rows, began = [], time.monotonic()
    for group in options.groups or GROUPS:
        for combination in GROUPS[group]():
            row = judged(combination)
            rows.append(row)
            if row["outcome"] != "equal":
                print(f"{row['outcome']:<9} {row['name']}: {row['error']} {row['message']}", flush=True)
            jax.clear_caches()
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", "outcome", "error", "message"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    counts = Counter(str(row["outcome"]) for row in rows)
    print(f"{len(rows)} combinations: {dict(counts)}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
