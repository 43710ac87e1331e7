import chex
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import metrics


def test_what_is_invalid_does_not_count_even_if_it_is_nan():
    total, count = metrics.masked(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    assert (float(total), float(count)) == (4.0, 2.0)
    assert float(metrics.mean((total, count))) == 2.0


def test_nothing_valid_gives_zero_not_nan():
    assert float(metrics.mean(metrics.masked(jnp.ones(3), jnp.zeros(3, bool)))) == 0.0


def test_top_k_by_hand():
    logits = jnp.array([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
    labels = jnp.array([2, 2])
    chex.assert_trees_all_equal(metrics.top_k(logits, labels, 1), jnp.array([False, False]))
    chex.assert_trees_all_equal(metrics.top_k(logits, labels, 2), jnp.array([True, False]))
    chex.assert_trees_all_equal(metrics.top_k(logits, labels, 3), jnp.array([True, True]))


def test_a_model_that_says_nothing_scores_chance_not_certainty():
    labels = jnp.arange(10)
    assert int(metrics.top_k(jnp.zeros((10, 10)), labels).sum()) == 1
    assert int(metrics.top_k(jnp.zeros((10, 10)), labels, 5).sum()) == 5
    assert int(metrics.top_k(jnp.full((10, 10), jnp.nan), labels).sum()) == 0


def test_k_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match="k=4"):
        metrics.top_k(jnp.zeros((1, 3)), jnp.zeros(1, int), 4)


def test_psnr_and_perplexity_by_hand():
    chex.assert_trees_all_close(metrics.psnr(jnp.array([1.0, 0.01, 1e-4, 0.0])), jnp.array([0.0, 20.0, 40.0, 120.0]))
    assert metrics.reported("test/perplexity", 6.0, 3.0) == pytest.approx(np.exp(2.0))
    assert metrics.reported("test/loss", 6.0, 3.0) == 2.0
    assert np.isnan(metrics.reported("test/loss", 0.0, 0.0))
    assert metrics.reported("test/perplexity", 1e9, 1.0) == pytest.approx(np.exp(700.0))
