"""Evaluations that are not a mean, against what can be worked out by hand."""

import numpy as np
import pytest

from vitax.data.degrade import degrade, enlarge
from vitax.evals.pairs import class_weights
from vitax.evals.probes import few_shot_accuracy, knn_accuracy
from vitax.evals.restoration import luma, measure, modulo_crop, psnr, ssim

pytestmark = pytest.mark.usefixtures("quick_compile")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_neighbours_vote_with_weights():
    train = unit(np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6], [0.0, 1.0]]))
    labels = np.array([0, 1, 1, 1])
    test = unit(np.array([[1.0, 0.05]]))
    # The nearest one outvotes two that are farther; without weights it would not.
    assert knn_accuracy(train, labels, test, np.array([0]), 3, 2) == 1.0
    assert knn_accuracy(train, labels, test, np.array([0]), 3, 2, temperature=100.0) == 0.0
    assert knn_accuracy(train, labels, test, np.array([0]), 1, 2) == 1.0
    assert knn_accuracy(train, labels, test, np.array([1]), 4, 2) == 0.0


def test_few_shots_learn_what_is_separable_and_nothing_from_noise(rng):
    centres = np.eye(5)[:, :, None].repeat(40, 2).transpose(0, 2, 1).reshape(-1, 5)
    labels = np.arange(5).repeat(40)
    features = unit(centres + 0.05 * rng.normal(size=centres.shape))
    assert few_shot_accuracy(features, labels, features, labels, 1, 2, 0) > 0.99
    noise = unit(rng.normal(size=features.shape))
    assert few_shot_accuracy(noise, labels, noise[::-1], labels, 1, 2, 0) < 0.45


def test_class_weights_are_the_direction_of_the_mean():
    texts = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert np.allclose(class_weights(texts), [[0.5**0.5, 0.5**0.5], [0.0, 1.0]])


def test_psnr_and_luma_by_hand():
    a = np.full((12, 12), 100.0)
    assert psnr(a, a) == float("inf")
    assert psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)  # 20 log10 255
    white, black = np.full((1, 1, 3), 255.0), np.zeros((1, 1, 3))
    assert luma(white)[0, 0] == pytest.approx(235.0)
    assert luma(black)[0, 0] == pytest.approx(16.0)


def test_ssim_against_a_plain_loop(rng):
    a = rng.uniform(0, 255, (14, 13))
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255)
    at = np.arange(11) - 5.0
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(4):
        for j in range(3):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
            vxy = (window * x * y).sum() - mx * my
            c1, c2 = 6.5025, 58.5225
            values.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-10)
    assert ssim(a, a) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="too small"):
        ssim(a[:10], b[:10])


def test_a_border_does_not_count():
    truth = np.full((20, 20, 3), 90.0)
    wrong = truth.copy()
    wrong[:2] = 0
    assert measure(wrong, truth, 0)["psnr"] < 20
    assert measure(wrong, truth, 2)["psnr"] == float("inf")
    assert modulo_crop(np.zeros((7, 9, 3)), 4).shape == (4, 8, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_damage_is_of_the_stated_kind_and_strength(rng, channels):
    image = rng.integers(0, 256, (64, 48, channels), dtype=np.uint8)
    small = degrade(image, rng, kind="bicubic", scale=4, strength=0)
    assert small.shape == (16, 12, channels)
    assert abs(small.mean() - image.mean()) < 3
    assert enlarge(small, 4).shape == image.shape
    flat = np.full((64, 64, channels), 128, np.uint8)
    noisy = degrade(flat, rng, kind="noise", scale=1, strength=25.0)
    assert noisy.std() == pytest.approx(25, rel=0.05)
    assert not np.array_equal(noisy, noisy.round())  # neither rounded ...
    assert degrade(flat + 110, rng, kind="noise", scale=1, strength=25.0).max() > 255  # nor clipped
    better, worse = (np.abs(degrade(image, rng, kind="jpeg", scale=1, strength=q) - image).mean() for q in (90, 10))
    assert 0 < better < worse
