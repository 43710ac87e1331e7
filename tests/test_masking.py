import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import masking


@pytest.mark.parametrize(
    ("tokens", "ratio", "kept"), [(196, 0.75, 49), (256, 0.75, 64), (10, 0, 10)]
)
def test_every_example_keeps_the_published_number(key, tokens, ratio, kept):
    keep, visible = masking.random_masking(key, 3, tokens, ratio)
    chex.assert_shape(keep, (3, kept))
    chex.assert_trees_all_equal(visible.sum(-1), jnp.full(3, kept))
    for row, seen in zip(np.asarray(keep), np.asarray(visible), strict=True):
        assert sorted(row) == np.flatnonzero(seen).tolist()


def test_each_token_is_hidden_equally_often(key):
    _, visible = masking.random_masking(key, 4000, 16, 0.75)
    share = np.asarray(visible).mean(0)
    assert abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_examples_and_keys_differ(key):
    keep, _ = masking.random_masking(key, 2, 64, 0.5)
    other, _ = masking.random_masking(jax.random.key(1), 2, 64, 0.5)
    assert not np.array_equal(keep[0], keep[1])
    assert not np.array_equal(keep, other)


def test_hiding_everything_is_refused(key):
    with pytest.raises(ValueError, match="leaves 0 of 4"):
        masking.random_masking(key, 1, 4, 0.99)
