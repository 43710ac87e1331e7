"""Vectors of classes are computed once for each list of classes and for each state of the weights."""

import jax
import numpy as np
import pytest
from demo_runs import DEMOS, opened
from PIL import Image

from vitax.explanation.images import explain_images
from vitax.prediction import pairs

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_label_features_are_kept_and_told_apart(tmp_path, monkeypatch):
    run, _ = opened(*DEMOS["contrastive"])
    run = run._replace(path=tmp_path)
    names, first = pairs.label_weights(run, "a dog, a cat")
    assert not (tmp_path / "label_features").exists(), "a folder that is no run is left alone"
    (tmp_path / "checkpoints").mkdir()
    names, first = pairs.label_weights(run, "a dog, a cat")
    assert len(list((tmp_path / "label_features").iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr(pairs, "encode_texts", lambda *_: pytest.fail("computed again"))
        again, second = pairs.label_weights(run, "a dog, a cat")
    assert again == names == ["a dog", "a cat"]
    assert np.array_equal(first, second)
    other = run._replace(variables=jax.tree.map(lambda x: x * 1.01, run.variables))
    _, third = pairs.label_weights(other, "a dog, a cat")
    pairs.label_weights(run, "a dog, a bird")
    assert len(list((tmp_path / "label_features").iterdir())) == 3
    assert not np.array_equal(first, third)


def test_an_explanation_has_the_scale_of_the_task(tmp_path, rng):
    run, _ = opened(*DEMOS["contrastive"])
    beyond = run.variables["params"] | {"logit_scale": np.float32(np.log(1000.0))}  # a task keeps it below 100
    run = run._replace(path=tmp_path, variables=run.variables | {"params": beyond})
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (told,) = pairs.zero_shot(run, [tmp_path / "a.png"], labels="a cat, a dog")
    (row,) = explain_images(run, [str(tmp_path / "a.png")], labels="a cat, a dog", out=str(tmp_path / "out"))
    assert row["class"] == told["label"]
    assert row["probability"] == pytest.approx(told["probability"], abs=1e-5)
