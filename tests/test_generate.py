"""Greedy and beam search against exhaustive search over all texts of a small language."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax.generate import beam_search, greedy, length_penalty

BEGIN, END, PAD, V, LENGTH = 1, 2, 0, 5, 4


def language(seed, batch):
    """A model whose next token depends on the row, the position and all tokens so far; the cache remembers those."""
    tables = jax.random.normal(jax.random.key(seed), (batch, LENGTH, V, V)) * 2
    tables = tables.at[..., PAD].set(-20.0).at[..., BEGIN].set(-20.0)

    def step_for(beam):
        rows = jnp.repeat(tables, beam, axis=0)

        def step(tokens, position, cache, lineage=None):
            before = cache.get("sum", jnp.zeros(len(tokens), jnp.int32))
            if cache and lineage is not None:
                before = before[lineage.parents(position)]
            total = before * 3 + tokens  # order matters
            logits = rows[jnp.arange(len(tokens)), position, total % V]
            return logits, {"sum": total}

        return step

    def log_prob(row, text):
        total, last, value = 0, BEGIN, 0.0
        for position, token in enumerate(text):
            total = total * 3 + last
            value += float(jax.nn.log_softmax(tables[row, position, total % V])[token])
            last = token
        return value

    return step_for, log_prob


def every_text():
    """All that end with END, within LENGTH tokens."""
    for n in range(LENGTH):
        for words in itertools.product((3, 4), repeat=n):
            yield (*words, END)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_text_there_is(alpha):
    step_for, log_prob = language(0, batch=3)
    beam = 16  # as wide as the language
    search = lambda: beam_search(
        step_for(beam), 3, beam=beam, begin=BEGIN, end=END, pad=PAD, length=LENGTH, alpha=alpha
    )
    tokens, scores = jax.jit(search)()
    for row in range(3):
        ranked = sorted(
            ((log_prob(row, text) / float(length_penalty(len(text), alpha)), text) for text in every_text()),
            reverse=True,
        )
        for k in range(4):
            expected = np.full(LENGTH, PAD)
            expected[: len(ranked[k][1])] = ranked[k][1]
            assert np.array_equal(tokens[row, k], expected)
            assert float(scores[row, k]) == pytest.approx(ranked[k][0], abs=1e-4)


def test_greedy_takes_the_most_probable_token_and_pads_after_the_end():
    step_for, _ = language(1, batch=8)
    step = step_for(1)
    found = np.asarray(jax.jit(lambda: greedy(step, 8, begin=BEGIN, end=END, pad=PAD, length=LENGTH))())
    last, cache, done = jnp.full(8, BEGIN), {}, np.zeros(8, bool)
    for position in range(LENGTH):
        logits, cache = step(last, jnp.int32(position), cache)
        best = np.where(done, PAD, logits.argmax(-1))
        assert np.array_equal(found[:, position], best)
        done |= best == END
        last = jnp.asarray(best)
    assert done.any()
    assert not done.all()  # both kinds were there


def test_every_row_has_a_limit_of_its_own():
    limits = jnp.array([1, 2, 3, 4])
    step_for, log_prob = language(2, batch=4)
    options = dict(begin=BEGIN, end=END, pad=PAD, length=LENGTH)
    search = jax.jit(lambda limits: greedy(step_for(1), 4, **options, limits=limits))
    free, found = np.asarray(search(jnp.full(4, LENGTH))), np.asarray(search(limits))
    assert np.array_equal(found, np.where(np.arange(LENGTH) < np.array(limits)[:, None], free, PAD)), (
        "greedy search is cut"
    )
    search = jax.jit(lambda limits: beam_search(step_for(16), 4, beam=16, **options, limits=limits, alpha=0.6))
    tokens, scores = search(limits)
    for row in range(4):
        within = [text for text in every_text() if len(text) <= row + 1]
        score = lambda text, row=row: log_prob(row, text) / float(length_penalty(len(text), 0.6))
        best = max(within, key=score)
        assert tokens[row, 0].tolist() == [*best, *[PAD] * (LENGTH - len(best))], "the best of those that end in time"
        assert float(scores[row, 0]) == pytest.approx(score(best), abs=1e-4)
        others = search(jnp.full(4, row + 1))[0]
        assert np.array_equal(tokens[row], others[row]), "the limits of other rows do not matter"
    assert (np.asarray(free)[0, 1:] != PAD).any()


def test_length_penalty():
    assert float(length_penalty(1, 0.6)) == 1.0
    assert float(length_penalty(7, 1.0)) == 2.0
    assert float(length_penalty(7, 0.0)) == 1.0
