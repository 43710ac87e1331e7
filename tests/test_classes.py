"""Classes of unequal size: weights, focus and sampling; and what the accuracy does not tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import SMALL, variables_of

from vitax import losses
from vitax.config import _typed
from vitax.data.loader import Loader
from vitax.data.source import Arrays, class_counts
from vitax.errors import UserError
from vitax.evals.classes import bootstrap_interval, calibration_error, reliability, scores
from vitax.specs import ImageSpec
from vitax.tasks import TASKS
from vitax.tasks.classes import weights_of

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_weighted_and_focal_cross_entropy_by_hand(rng):
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (p * labels).sum(1)
    weights = np.array([1.0, 2.0, 0.5], np.float32)
    each = labels @ weights
    assert np.allclose(losses.class_cross_entropy(logits, labels), -np.log(true), atol=1e-6)
    assert np.allclose(losses.class_cross_entropy(logits, labels, weights), -each * np.log(true), atol=1e-6)
    focal = losses.class_cross_entropy(logits, labels, weights, 2.0)
    assert np.allclose(focal, -each * (1 - true) ** 2 * np.log(true), atol=1e-6)
    sure = jnp.array([[100.0, 0, 0]])
    gradient = jax.grad(lambda x: losses.class_cross_entropy(x, jnp.eye(3)[:1], None, 1.0).sum())(sure)
    assert np.isfinite(gradient).all(), "where the probability is 1"
    with pytest.raises(ValueError, match="must be 0 or at least 1"):
        losses.class_cross_entropy(logits, labels, None, 0.5)


def test_weights_of_classes():
    assert weights_of(3, (), "") is None
    assert np.allclose(weights_of(3, (6, 2, 4), "auto"), [12 / 18, 2, 1])
    assert weights_of(2, (), "(1, 2.5)").tolist() == weights_of(2, (), (1.0, 2.5)).tolist() == [1, 2.5]
    for given, message in (
        ("auto", "list the classes"),
        ("1,2", "3 positive"),
        ("a", "neither"),
        ((1.0, 2.0, 0.0), "3 positive"),
    ):
        with pytest.raises(ValueError, match=message):
            weights_of(3, (), given)
    hint = str | tuple[float, ...]
    assert _typed("x", "auto", hint) == "auto"
    assert _typed("x", [1, 2], hint) == (1.0, 2.0)
    with pytest.raises(UserError, match="is not a tuple"):
        _typed("x", 3, hint)


def test_a_class_without_examples_has_no_automatic_weight():
    with pytest.raises(ValueError, match="a training example of every class; class 1 has none"):
        weights_of(3, (4, 0, 2), "auto")
    with pytest.raises(ValueError, match="needs data that list the classes"):
        weights_of(3, (), "auto")


def test_training_is_weighted_and_tests_are_not(rng):
    spec = ImageSpec((16, 24), 3, (0.5,) * 3, (0.25,) * 3, class_counts=(8, 1, 1))
    model = SMALL["vit"].model
    batch = {
        "image": np.zeros((3, 16, 24, 3), np.uint8),
        "label": np.array([0, 1, 2], np.int32),
        "valid": np.ones(3, bool),
    }
    variables = variables_of(model, (np.zeros((1, 16, 24, 3), np.float32),))
    values = {}
    for weights in ("", "auto"):
        task = TASKS["classification"].factory(model, spec, class_weights=weights)
        logits = task.predict(variables, batch)["logits"]
        each = losses.softmax_cross_entropy(logits, np.eye(3))
        for train in (True, False):
            values[weights, train] = float(task.loss(variables, batch, jax.random.key(0), train)[0])
    assert values["", True] == pytest.approx(float(each.mean()), rel=1e-5)
    assert values["auto", True] == pytest.approx(float((each * np.array([10 / 24, 10 / 3, 10 / 3])).mean()), rel=1e-5)
    assert values["auto", False] == values["", False]


def source(counts=(90, 8, 2)):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return Arrays({"number": np.arange(len(labels)), "label": labels}, [f"c{k}" for k in range(len(counts))], "s")


def taken(loader, count, start=0):
    batches = loader.train(start)
    return [next(batches)["number"].tolist() for _ in range(count)]


def test_balanced_sampling_is_balanced_and_a_function_of_the_position():
    make = lambda seed=0, **options: Loader(source(), lambda x, rng: x, 20, seed, balanced=True, **options)
    assert class_counts(source()) == [90, 8, 2]
    drawn = np.concatenate(taken(make(), 100))
    labels = source().labels[drawn]
    assert np.abs(np.bincount(labels) / len(labels) - 1 / 3).max() < 0.04
    assert len(np.unique(drawn)) == 100, "every example is drawn some time"
    assert taken(make(threads=3), 10) == taken(make(), 10)
    assert taken(make(), 6, start=4) == taken(make(), 10)[4:], "resumed"
    assert taken(make(seed=1), 3) != taken(make(), 3)
    assert taken(make(), 5) != taken(make(), 10)[5:], "another epoch is drawn anew"
    parts = [taken(make(host=host, hosts=2), 4) for host in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == taken(make(), 4), "the same global batch"
    with pytest.raises(UserError, match="reads them in order"):
        make(shuffle_window=10)
    with pytest.raises(UserError, match="list the classes"):
        Loader(Arrays({"number": np.arange(3)}, (), "s"), lambda x, rng: x, 1, balanced=True)


def test_scores_by_hand():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.3, 0.3, 0.4]])
    labels = np.array([0, 0, 1, 1, 2])
    found = scores(probabilities, labels)
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 1) / 3)
    areas = [
        np.mean([[(a > b) + (a == b) / 2 for b in p[labels != k]] for a in p[labels == k]])
        for k, p in enumerate(probabilities.T)
    ]
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    error = np.mean([abs(c - r) for c, r in zip([0.8, 0.6, 0.7, 0.5, 0.4], [1, 1, 1, 0, 1], strict=True)])
    assert found["calibration_error"] == pytest.approx(error)
    assert 0 <= found["accuracy_low"] < 0.8 < found["accuracy_high"] <= 1


def test_calibrated_probabilities_have_no_error(rng):
    p = rng.uniform(size=200_000)
    labels = (rng.uniform(size=p.size) < p).astype(int)
    pair = np.stack([1 - p, p], axis=1)
    assert calibration_error(pair, labels) < 0.01
    assert calibration_error(np.clip(pair * 1.3, 0, 1), labels) > 0.1
    bins = reliability(pair, labels)
    assert bins[:, 0].sum() == p.size
    assert not bins[:7, 0].any(), "the larger of two probabilities is at least a half"


def test_the_interval_has_its_level(rng):
    inside = 0
    for k in range(300):
        low, high = bootstrap_interval(rng.uniform(size=200) < 0.8, k)
        inside += low <= 0.8 <= high
    assert 0.9 < inside / 300 < 0.98
