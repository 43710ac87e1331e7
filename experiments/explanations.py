"""Do heat maps show what a model uses? Pixels are taken away by them, and the accuracy is watched.

Chefer et al. 2020 (arXiv:2012.09838), section 4: the most relevant pixels first (positive perturbation, a good map has a small
area under the curve), or the least relevant ones first (negative, a good map has a large one). Hypothesis: `relevance` is better
than attention alone and than gradients; "random" is what a map is worth that knows nothing.

    for seed in 0 1 2; do
      python -m vitax.main --config=configs/vit_b16.py:demo --config.seed=$seed --workdir=runs/token$seed \\
        --config.model.class_token=True --config.model.pooling=token
    done
    python experiments/explanations.py runs/token0 runs/token1 runs/token2

Pixels that are taken away become the mean colour, as in the paper or, in columns of their own, other pixels of the same image:
integrated gradients start at the mean colour, and would be judged by what they are made of. Maps are those of the predicted class,
which counts as the right one; with --target, of the true class.

StepMemory runs that classify images; of photographs, with results in a file of their own:

    python -m vitax.main --config=configs/vit_b16.py:small --config.data.path=DIR --workdir=runs/photos \\
      --config.model.class_token=True --config.model.pooling=token
    python experiments/explanations.py runs/photos --name=explanations_photos
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from study import RESULTS, Row, Study, markdown, read, tell, write

from vitax import augment, build
from vitax.explain.methods import Subject, applicable, explainer
from vitax.explain.perturbation import FRACTIONS, area, without
from vitax.explanation.images import classifier, describe, image_spec, view_of
from vitax.monitoring import log
from vitax.prediction import TrainedRun, load_run

RANDOM = 5  # maps that know nothing, whose areas are averaged
STUDY = Study(
    {},
    {
        "positive": "positive",
        "negative": "negative",
        "positive_shuffled": "positive, other pixels",
        "negative_shuffled": "negative, other pixels",
    },
    "",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="of one model with several seeds")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--target", action="store_true", help="maps of the true class")
    parser.add_argument("--name", default="explanations", help="of the CSV in results/")
    given = parser.parse_args()
    log.start_logging()
    rows = [row for run in given.runs for row in perturbed(run, given.images, given.target)]
    write(RESULTS / f"{given.name}.csv", rows)
    table = markdown(read(RESULTS / f"{given.name}.csv"), STUDY)
    print(table)
    tell(given.name, table)


def perturbed(folder: Path, count: int, target: bool) -> list[Row]:
    """The areas of every method that has a meaning for a run's model."""
    run = load_run(folder)
    scores, _ = classifier(run)
    examples, labels = test_images(run, count)
    predict = jax.jit(lambda batch: scores(batch).argmax(axis=-1))
    predicted = np.asarray(predict(examples))
    print(f"{folder}: accuracy {np.mean(predicted == labels):.3f} on {len(examples)} images as they are", flush=True)
    wanted = labels if target else predicted
    right = lambda batch: float(np.mean(np.asarray(predict(batch)) == wanted))
    it, rng = describe(run, view_of(run), scores, jnp.asarray(examples[:1])), np.random.default_rng(run.config["seed"])
    fills = {"": np.zeros_like(examples), "_shuffled": np.stack([shuffled(x, rng) for x in examples])}
    random = [rng.normal(size=examples.shape[:3]) for _ in range(RANDOM)]
    rows = []
    for name, several in [("random", random), *((name, [made]) for name, made in maps(it, examples, wanted))]:
        row = {"variant": name, "x": "", "seed": run.config["seed"]}
        for kind, most in (("positive", True), ("negative", False)):
            for suffix, fill in fills.items():
                areas = [accuracy_area(right, examples, heats, most, fill) for heats in several]
                row[kind + suffix] = round(float(np.mean(areas)), 4)
        print(row, flush=True)
        rows.append(row)
    return rows


def test_images(run: TrainedRun, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, H, W, C] normalised images all over the test split, and their labels."""
    source, spec = build.open_pipeline(run.config).splits.test, image_spec(run)
    rng, examples, labels = np.random.default_rng(0), [], []
    for i in rng.permutation(len(source))[:count]:
        example = run.reader.transform(source[int(i)], rng)
        examples.append(np.asarray(augment.normalize(jnp.asarray(example["image"])[None], spec.mean, spec.std)[0]))
        labels.append(int(example["label"]))
    return np.stack(examples), np.asarray(labels)


def maps(it: Subject, examples: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(method, its maps [N, H, W])."""
    for name in applicable(it):
        make = explainer(name, it)
        small = [make(x[None], int(k)) for x, k in zip(examples, wanted, strict=True)]
        yield name, np.stack([enlarged(np.asarray(heat), examples.shape[1:3]) for heat in small])


def enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w] to [H, W], by lines between the centres of patches."""
    return np.asarray(jax.image.resize(heat, size, "linear"))


def shuffled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pixels of an image [H, W, C] in another order."""
    return rng.permutation(image.reshape(-1, image.shape[-1])).reshape(image.shape)


def accuracy_area(
    right: Callable[[np.ndarray], float], examples: np.ndarray, heats: np.ndarray, most: bool, fills: np.ndarray
) -> float:
    """Area under the accuracy while more and more pixels are taken away."""

    def without_some(fraction: float) -> np.ndarray:
        three = zip(examples, heats, fills, strict=True)
        return np.stack([without(x, h, fraction, most=most, fill=f) for x, h, f in three])

    return area([right(without_some(fraction)) for fraction in FRACTIONS])


if __name__ == "__main__":
    main()
