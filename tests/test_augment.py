import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import augment


@pytest.fixture
def batch(rng):
    images = jnp.asarray(rng.uniform(size=(6, 8, 12, 3)), jnp.float32)
    return images, jnp.eye(6)


def test_mixup_blends_image_and_label_with_one_weight(key, batch):
    images, labels = batch
    mixed, targets = augment.mixup(key, images, labels, 0.8)
    weight = targets[0, 0]
    assert 0 < float(weight) < 1
    neighbour = jnp.roll(images, 1, axis=0)
    chex.assert_trees_all_close(mixed, weight * images + (1 - weight) * neighbour, rtol=1e-6)
    chex.assert_trees_all_close(targets.sum(-1), jnp.ones(6))


def test_cutmix_label_is_the_share_of_pixels_that_stayed(batch):
    images, labels = batch
    for seed in range(20):
        mixed, targets = augment.cutmix(jax.random.key(seed), images, labels, 1.0)
        stayed = np.asarray((mixed == images).all(-1))
        assert ((mixed == images) | (mixed == jnp.roll(images, 1, axis=0))).all()
        chex.assert_trees_all_close(float(targets[0, 0]), stayed[0].mean(), atol=1e-6)
        rows, columns = np.nonzero(~stayed[0])  # what was pasted is one full rectangle
        if rows.size:
            assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_cutmix_area_has_the_mean_of_its_distribution(batch):
    # Unclipped boxes would stay with weight E[Beta(1, 1)] = 1/2; clipping at the border lets more stay.
    images, labels = batch
    keys = jax.random.split(jax.random.key(0), 2000)
    weights = jax.vmap(lambda k: augment.cutmix(k, images, labels, 1.0)[1][0, 0])(keys)
    assert 0.5 < float(weights.mean()) < 0.75


def test_both_occur_and_none_means_none(batch):
    images, labels = batch
    valid = jnp.arange(len(images)) != 2
    given = (images, labels, valid)
    chex.assert_trees_all_equal(augment.mixup_or_cutmix(jax.random.key(0), *given, 0.0, 0.0), given)
    kinds = set()
    mix = jax.jit(lambda k: augment.mixup_or_cutmix(k, *given, 1.0, 1.0))
    for seed in range(20):
        mixed, _, usable = mix(jax.random.key(seed))
        chex.assert_trees_all_equal(usable, valid & jnp.roll(valid, 1))
        copied = (mixed == images) | (mixed == jnp.roll(images, 1, axis=0))
        kinds.add(bool(copied.all()))
    assert kinds == {True, False}
