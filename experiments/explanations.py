"""Do heat maps show what a model uses? Pixels are removed in the order of a map, and the accuracy is measured.

Chefer et al. 2020 (arXiv:2012.09838), section 4: the most relevant pixels are removed first (positive perturbation, a
good map has a small area under the curve), or the least relevant ones (negative, a good map has a large area).
Hypothesis: `relevance` is better than attention alone and than gradients; "random" is the result of maps without any
information.

    for seed in 0 1 2; do
      python -m vitax.main --config=configs/vit_b16.py:demo --config.seed=$seed --workdir=runs/token$seed \\
        --config.model.class_token=True --config.model.pooling=token
    done
    python experiments/explanations.py runs/token0 runs/token1 runs/token2

Removed pixels become the mean colour, as in the paper, or, in separate columns, other pixels of the same image:
integrated gradients start at the mean colour, so that a test with this colour favours them. The maps explain the
predicted class, which counts as the right one; with --target, they explain the true class.

The runs must classify images. For photographs, with results in a separate file:

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
from study import RESULTS, Claim, Row, Study, markdown, read, tell, write

from vitax import augment, build
from vitax.explain.methods import Subject, applicable, explainer
from vitax.explain.perturbation import FRACTIONS, area, without
from vitax.explanation.scores import classifier, describe, image_spec, view_of
from vitax.monitoring import log
from vitax.prediction import TrainedRun, load_run

RANDOM = 5  # random maps of each image, whose areas are averaged
STUDY = Study(
    {},
    {
        "positive": "positive",
        "negative": "negative",
        "positive_shuffled": "positive, other pixels",
        "negative_shuffled": "negative, other pixels",
    },
    "",
    claims=tuple(
        Claim(other, "relevance", metric) if metric.startswith("positive") else Claim("relevance", other, metric)
        for other in ("attention", "gradcam", "rollout")
        for metric in ("positive", "negative", "positive_shuffled", "negative_shuffled")
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs of one model with several seeds")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--target", action="store_true", help="explain the true class, not the predicted one")
    parser.add_argument("--name", default="explanations", help="name of the CSV file in results/")
    options = parser.parse_args()
    log.start_logging()
    rows = [row for run in options.runs for row in perturbed(run, options.images, options.target)]
    write(RESULTS / f"{options.name}.csv", rows)
    table = markdown(read(RESULTS / f"{options.name}.csv"), STUDY)
    print(table)
    tell(options.name, table)


def perturbed(folder: Path, count: int, target: bool) -> list[Row]:
    """Rows of areas under the accuracy curve, one for each method that applies to the model of a run."""
    run = load_run(folder)
    scores, _ = classifier(run)
    examples, labels = test_images(run, count)
    predict = jax.jit(lambda batch: scores(batch).argmax(axis=-1))
    predicted = np.asarray(predict(examples))
    print(f"{folder}: accuracy {np.mean(predicted == labels):.3f} on {len(examples)} images as they are", flush=True)
    classes = labels if target else predicted
    accuracy = lambda batch: float(np.mean(np.asarray(predict(batch)) == classes))
    it, rng = describe(run, view_of(run), scores, jnp.asarray(examples[:1])), np.random.default_rng(run.config["seed"])
    fills = {"": np.zeros_like(examples), "_shuffled": np.stack([shuffled(x, rng) for x in examples])}
    random = [rng.normal(size=examples.shape[:3]) for _ in range(RANDOM)]
    rows = []
    for name, map_sets in [("random", random), *((name, [stack]) for name, stack in maps(it, examples, classes))]:
        row = {"variant": name, "x": "", "seed": run.config["seed"]}
        for kind, most in (("positive", True), ("negative", False)):
            for suffix, fill in fills.items():
                areas = [accuracy_area(accuracy, examples, heats, most, fill) for heats in map_sets]
                row[kind + suffix] = round(float(np.mean(areas)), 4)
        print(row, flush=True)
        rows.append(row)
    return rows


def test_images(run: TrainedRun, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images [N, H, W, C] drawn at random from the test split, and their labels."""
    source, spec = build.open_pipeline(run.config).splits.test, image_spec(run)
    rng, examples, labels = np.random.default_rng(0), [], []
    for i in rng.permutation(len(source))[:count]:
        example = run.reader.transform(source[int(i)], rng)
        examples.append(np.asarray(augment.normalize(jnp.asarray(example["image"])[None], spec.mean, spec.std)[0]))
        labels.append(int(example["label"]))
    return np.stack(examples), np.asarray(labels)


def maps(it: Subject, examples: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (method, maps [N, H, W]) for each method that applies."""
    for name in applicable(it):
        make = explainer(name, it)
        small = [make(x[None], int(k)) for x, k in zip(examples, wanted, strict=True)]
        yield name, np.stack([enlarged(np.asarray(heat), examples.shape[1:3]) for heat in small])


def enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map [h, w] enlarged to [H, W], linearly interpolated between the centres of patches."""
    return np.asarray(jax.image.resize(heat, size, "linear"))


def shuffled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pixels of an image [H, W, C] in random order."""
    return rng.permutation(image.reshape(-1, image.shape[-1])).reshape(image.shape)


def accuracy_area(
    right: Callable[[np.ndarray], float], examples: np.ndarray, heats: np.ndarray, most: bool, fills: np.ndarray
) -> float:
    """Area under the accuracy curve while more and more pixels are removed."""

    def without_some(fraction: float) -> np.ndarray:
        triples = zip(examples, heats, fills, strict=True)
        return np.stack([without(x, h, fraction, most=most, fill=f) for x, h, f in triples])

    return area([right(without_some(fraction)) for fraction in FRACTIONS])


if __name__ == "__main__":
    main()
