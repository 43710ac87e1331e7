import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import masking


@pytest.mark.parametrize(("tokens", "ratio", "kept"), [(196, 0.75, 49), (256, 0.75, 64), (10, 0, 10)])
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


def binomial_interval(n, p, deviations=4.5):
    spread = deviations * np.sqrt(n * p * (1 - p))
    return n * p - spread, n * p + spread


def test_words_are_corrupted_in_the_stated_shares(key):
    b, length, count, vocab, mask = 400, 64, 20, 1000, 4
    tokens = jnp.broadcast_to(jnp.arange(100, 100 + length), (b, length))
    lengths = 8 + jnp.arange(b) % (length - 8)
    there = jnp.arange(length)[None, :] < lengths[:, None]
    maskable = there & (jnp.arange(length) > 0)[None, :]
    corrupt = jax.jit(
        lambda key: masking.corrupt_words(
            key, tokens, maskable, rate=0.15, count=count, mask_token=mask, vocab_size=vocab
        )
    )
    new, places, chosen = corrupt(key)
    new, places, chosen = np.asarray(new), np.asarray(places), np.asarray(chosen)
    wanted = np.clip(np.round((np.asarray(lengths) - 1) * 0.15), 1, count)
    assert np.array_equal(chosen.sum(1), wanted)
    rows = np.arange(b)[:, None]
    assert np.asarray(maskable)[rows, places][chosen].all()
    untouched = np.ones((b, length), bool)
    untouched[np.broadcast_to(rows, places.shape)[chosen], places[chosen]] = False
    assert np.array_equal(new[untouched], np.asarray(tokens)[untouched])
    for row, picks in zip(places, chosen, strict=True):
        assert len(set(row[picks])) == picks.sum()  # no place twice

    old, now = np.asarray(tokens)[rows, places][chosen], new[rows, places][chosen]
    n = len(old)
    masked, kept = (now == mask).sum(), (now == old).sum()
    for found, share in ((masked, 0.8), (kept, 0.1), (n - masked - kept, 0.1)):
        low, high = binomial_interval(n, share)
        assert low <= found <= high
    other, _, _ = corrupt(jax.random.key(1))
    assert not np.array_equal(other, new)


def test_a_text_without_words_is_left_alone(key):
    tokens = jnp.zeros((2, 8), jnp.int32)
    maskable = jnp.zeros((2, 8), bool)
    new, _, chosen = masking.corrupt_words(key, tokens, maskable, rate=0.15, count=3, mask_token=4, vocab_size=9)
    chex.assert_trees_all_equal(new, tokens)
    assert not chosen.any()
    with pytest.raises(ValueError, match="count 9 exceeds the 8 tokens"):
        masking.corrupt_words(key, tokens, maskable, rate=0.1, count=9, mask_token=4, vocab_size=9)


def test_masks_of_texts_by_hand():
    assert masking.causal(3).tolist() == [[True, False, False], [True, True, False], [True] * 3]
    assert masking.not_padding(jnp.array([[5, 6, 0]]), 0).tolist() == [[True, True, False]]
    packed = masking.same_segment(jnp.array([[1, 1, 2, 0]]))[0].tolist()
    assert packed == [[True, True, False, False], [True, True, False, False], [False, False, True, False], [False] * 4]
