import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vitax import losses


def test_smoothing_keeps_the_mass_and_moves_the_stated_share():
    labels = jnp.eye(4)[:2]
    smoothed = losses.smooth_labels(labels, 0.2)
    chex.assert_trees_all_close(smoothed[0], jnp.array([0.85, 0.05, 0.05, 0.05]))
    chex.assert_trees_all_close(smoothed.sum(-1), jnp.ones(2))
    chex.assert_trees_all_equal(losses.smooth_labels(labels, 0.0), labels)


def test_cross_entropy_by_hand_and_against_optax(rng):
    # Two classes, logits 0 and log 3: probabilities 1/4 and 3/4.
    logits = jnp.log(jnp.array([[1.0, 3.0]]))
    chex.assert_trees_all_close(
        losses.softmax_cross_entropy(logits, jnp.array([[1.0, 0.0]])), jnp.log(jnp.array([4.0]))
    )
    logits = jnp.asarray(rng.normal(size=(5, 7)), jnp.float32)
    labels = jax.nn.softmax(jnp.asarray(rng.normal(size=(5, 7)), jnp.float32))
    chex.assert_trees_all_close(
        losses.softmax_cross_entropy(logits, labels),
        optax.softmax_cross_entropy(logits, labels),
        rtol=1e-6,
    )


def test_cross_entropy_survives_large_logits_and_bfloat16():
    logits = jnp.array([[1e4, -1e4]], jnp.bfloat16)
    value = losses.softmax_cross_entropy(logits, jnp.array([[1.0, 0.0]]))
    assert value.dtype == jnp.float32
    chex.assert_trees_all_close(value, jnp.zeros(1))


def test_cross_entropy_refuses_to_broadcast():
    with pytest.raises(ValueError, match="one shape"):
        losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((1, 3)))


def test_patch_mse_against_numpy(rng):
    predicted, target = rng.normal(size=(2, 2, 3, 8)).astype(np.float32)
    plain = ((predicted - target) ** 2).mean(-1)
    chex.assert_trees_all_close(losses.patch_mse(predicted, target), plain, rtol=1e-5)
    normal = (target - target.mean(-1, keepdims=True)) / np.sqrt(
        target.var(-1, keepdims=True, ddof=1) + 1e-6
    )
    chex.assert_trees_all_close(
        losses.patch_mse(predicted, target, normalize=True),
        ((predicted - normal) ** 2).mean(-1),
        rtol=1e-5,
    )
