"""Do heat maps show what a model uses? Pixels are taken away by them, and the accuracy is watched.

Chefer et al. 2020 (arXiv:2012.09838), section 4 and table 2: the most relevant pixels first (positive perturbation, a good
map has a small area under the curve), or the least relevant ones first (negative, a good map has a large one). Hypothesis:
`relevance` is better than attention alone and than gradients; "random" is what a map is worth that knows nothing.

    for seed in 0 1 2; do
      python -m vitax.main --config=configs/vit_b16.py:demo --config.seed=$seed --workdir=runs/token$seed \\
        --config.model.class_token=True --config.model.pooling=token
    done
    python experiments/explanations.py runs/token0 runs/token1 runs/token2

Maps of the class that is predicted, which counts as the right one: "predicted". With --target: of the true class. Prints a
table and writes results/explanations.csv. Needs runs that classify images.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import RESULTS, Row, Study, markdown, read, tell, write

from vitax import build, images
from vitax.explain.images import classifier, describe
from vitax.explain.methods import applicable, explainer
from vitax.explain.perturbation import FRACTIONS, area, without
from vitax.prediction import load_run
from vitax.training import log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("runs", type=Path, nargs="+", help="of one model with several seeds")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--target", action="store_true", help="maps of the true class")
    given = parser.parse_args()
    log.start_logging(None)
    study = Study({}, {"positive": "positive", "negative": "negative"}, "")
    rows = [row for run in given.runs for row in perturbed(run, given.images, given.target)]
    write(RESULTS / "explanations.csv", rows)
    table = markdown(read(RESULTS / "explanations.csv"), study)
    print(table)
    tell("explanations", table)


def perturbed(folder: Path, count: int, target: bool) -> list[Row]:
    """Both areas of every method that has a meaning for a run's model."""
    run = load_run(folder)
    scores, _, format = classifier(run, None)
    source = build.open_pipeline(run.config).splits.test
    rng, examples, labels = np.random.default_rng(0), [], []
    for i in range(min(count, len(source))):
        example = run.reader.transform(source[i], rng)
        examples.append(np.asarray(images.normalize(jnp.asarray(example["image"])[None], format.mean, format.std)[0]))  # fmt: skip
        labels.append(int(example["label"]))
    examples = np.stack(examples)
    predict = jax.jit(lambda batch: scores(batch).argmax(axis=-1))
    predicted = np.asarray(predict(examples))
    print(f"{folder}: accuracy {np.mean(predicted == labels):.3f} on {len(examples)} images as they are", flush=True)  # fmt: skip
    wanted = np.asarray(labels) if target else predicted
    it = describe(run, scores, jnp.asarray(examples[:1]))
    size, rows = examples.shape[1:3], []
    for name in ("random", *applicable(it)):
        if name == "random":
            heats = rng.normal(size=(len(examples), *size))
        else:
            make = explainer(name, it)
            heats = np.stack([spread(np.asarray(make(x[None], int(k))), size) for x, k in zip(examples, wanted, strict=True)])  # fmt: skip
        row = {"variant": name, "x": "", "seed": run.config["seed"]}
        for kind, most in (("positive", True), ("negative", False)):
            curve = [
                float(np.mean(np.asarray(predict(np.stack([without(x, h, f, most=most) for x, h in zip(examples, heats, strict=True)]))) == wanted))
                for f in FRACTIONS
            ]  # fmt: skip
            row[kind] = round(area(curve), 4)
        rows.append(row)
    return rows


def spread(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w] to [H, W], by lines between the centres of patches."""
    return np.asarray(jax.image.resize(heat, size, "linear"))


if __name__ == "__main__":
    main()
