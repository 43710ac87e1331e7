"""Generation of texts with a model that predicts the next token: greedy and beam search, as pure functions under jit.

``step`` is ``(tokens [R], position [], cache) -> (logits [R, V], cache)``: it takes the tokens at ``position`` and
predicts the tokens after them. At position 0 the cache is {}, and ``step`` creates it. In a beam search, R is the number
of examples times the number of beams, and ``step`` gets a fourth argument, a `vitax.masking.Lineage`, which tells it
which entries of the cache belong to each row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitax.masking import Lineage

Cache = Any
Step = Callable[..., tuple[jax.Array, Cache]]

NEVER = -1e9  # log-probability of the impossible; finite, so that differences are numbers


def length_penalty(length: jax.Array | int, alpha: float) -> jax.Array:
    """((5 + length) / 6) ** alpha (Wu et al. 2016, arXiv:1609.08144, equation 14); alpha 0 = no penalty."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


def greedy(
    step: Step, batch: int, *, begin: int, end: int, pad: int, length: int, limits: jax.Array | None = None
) -> jax.Array:
    """Greedy search: the most probable token at every position.

    Args:
        step: the model, see above.
        batch: number of rows B.
        begin: id of the token before the first one.
        end: id of the token that ends a row.
        pad: id of the token that fills up a row that has ended.
        length: maximum number of tokens, ``end`` included.
        limits: [B] int, maximum number of tokens of each row, from 1 on; None = ``length``.

    Returns:
        [B, length] int32, without ``begin``.
    """
    tokens = jnp.full((batch, length), pad, jnp.int32)
    limits = jnp.full(batch, length) if limits is None else limits

    def advance(state):
        position, last, done, tokens, cache = state
        logits, cache = step(last, position, cache)
        best = jnp.where(done, pad, jnp.argmax(logits, axis=-1).astype(jnp.int32))
        tokens = tokens.at[:, position].set(best)
        return position + 1, best, done | (best == end) | (position + 1 >= limits), tokens, cache

    first = (jnp.int32(0), jnp.full(batch, begin, jnp.int32), jnp.zeros(batch, bool), tokens, {})
    state = advance(first)  # creates the cache; its shapes do not change after this
    going = lambda state: (state[0] < length) & ~state[2].all()
    return jax.lax.while_loop(going, advance, state)[3]


class _Beams(NamedTuple):
    """State of a beam search.

    Attributes:
        position: [] number of tokens so far.
        last: [B, K] last token of each alive text.
        alive: [B, K, length] tokens of the texts that go on.
        alive_scores: [B, K] log-probabilities of the alive texts.
        ended: [B, K, length] tokens of the best texts that have ended.
        ended_scores: [B, K] log-probabilities of the ended texts, divided by the length penalty.
        lineage: [B, K, length] the beam that read each token of the alive texts.
        cache: what the model keeps of the tokens that it has read.
    """

    position: jax.Array
    last: jax.Array
    alive: jax.Array
    alive_scores: jax.Array
    ended: jax.Array
    ended_scores: jax.Array
    lineage: jax.Array
    cache: Cache

    def where(self, goes_on: jax.Array, before: "_Beams") -> "_Beams":
        """This state, with the texts as they were ``before`` in the rows that do not go on, [B] bool."""
        fields = ("alive", "alive_scores", "ended", "ended_scores")
        rows = lambda name: goes_on.reshape(-1, *[1] * (getattr(self, name).ndim - 1))
        kept = {name: jnp.where(rows(name), getattr(self, name), getattr(before, name)) for name in fields}
        return self._replace(**kept)


def beam_search(
    step: Step,
    batch: int,
    *,
    beam: int,
    begin: int,
    end: int,
    pad: int,
    length: int,
    limits: jax.Array | None = None,
    alpha: float = 0.6,
) -> tuple[jax.Array, jax.Array]:
    """Beam search: the best texts that it finds (Sutskever et al. 2014, arXiv:1409.3215, section 3.2).

    Texts that have ended are ranked by log-probability divided by `length_penalty`. The search ends when no unfinished
    text can become better than the worst of the ``beam`` texts that have ended.

    Args:
        step: the model, see above.
        batch: number of texts B; ``step`` gets B * beam rows, the rows of one text next to each other.
        beam: number K of candidates that are followed for each text.
        begin, end, pad, length, limits: as in `greedy`.
        alpha: exponent of the length penalty.

    Returns:
        Tokens [B, K, length] int32, without ``begin``, and scores [B, K], the best first: log-probability / penalty,
        plus ``NEVER / 2`` for texts that have not ended.
    """
    k = beam
    limits = jnp.full(batch, length) if limits is None else limits
    largest_penalty = length_penalty(limits, alpha)[:, None]

    def advance(s: _Beams) -> _Beams:
        logits, cache = step(s.last.reshape(-1), s.position, s.cache, Lineage(s.lineage))
        # Twice as many as needed: even if K of them end, K others go on.
        scores, parent, token = _best_words(logits.reshape(batch, k, -1), s.alive_scores, 2 * k)
        texts = _rows(s.alive, parent).at[:, :, s.position].set(token)  # [B, 2K, length]
        ends = token == end

        candidates = jnp.where(ends, scores / length_penalty(s.position + 1, alpha), NEVER)
        ended_scores, chosen = jax.lax.top_k(jnp.concatenate([s.ended_scores, candidates], axis=1), k)
        ended = _rows(jnp.concatenate([s.ended, texts], axis=1), chosen)

        alive_scores, chosen = jax.lax.top_k(jnp.where(ends, NEVER, scores), k)
        origin = _rows(parent, chosen)  # [B, K] index of the beam that each one continues
        lineage = _rows(s.lineage, origin).at[:, :, s.position + 1].set(jnp.arange(k))  # beam k reads its next token
        last, alive = _rows(token, chosen), _rows(texts, chosen)
        found = _Beams(s.position + 1, last, alive, alive_scores, ended, ended_scores, lineage, cache)
        return found.where(s.position < limits, s)

    def going(s: _Beams) -> jax.Array:
        # Log-probabilities only fall, and the penalty is largest at the full length.
        can_improve = (s.alive_scores / largest_penalty)[:, 0] > s.ended_scores[:, -1]
        return (can_improve & (s.position < limits)).any()

    last = jax.lax.while_loop(going, advance, advance(_first_beams(batch, k, begin, pad, length)))
    # An unfinished text is better than none.
    pool = jnp.concatenate([last.ended_scores, last.alive_scores / largest_penalty + NEVER / 2], axis=1)
    scores, chosen = jax.lax.top_k(pool, k)
    return _rows(jnp.concatenate([last.ended, last.alive], axis=1), chosen), scores


def _best_words(logits: jax.Array, before: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best continuations of the beams of each text.

    Args:
        logits: [B, K, V] of the next words.
        before: [B, K] log-probabilities of the beams.
        count: number C of continuations.

    Returns:
        Log-probabilities [B, C], numbers of the beams [B, C] and words [B, C] int32, the best first.
    """
    logits = logits.astype(jnp.float32)
    # The best words of each beam come first: what is large, all words of all beams, is then read only twice.
    best, words = jax.lax.top_k(logits, min(count, logits.shape[-1]))  # [B, K, C]
    totals = before[:, :, None] + best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    scores, flat = jax.lax.top_k(totals.reshape(len(logits), -1), count)
    return scores, flat // words.shape[-1], jnp.take_along_axis(words.reshape(len(logits), -1), flat, axis=1)


def _rows(x: jax.Array, index: jax.Array) -> jax.Array:
    """Some of the entries of each row: x [B, J, ...], index [B, K] int, to [B, K, ...]."""
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


def _first_beams(batch: int, beam: int, begin: int, pad: int, length: int) -> _Beams:
    """The state of a search before its first token."""
    empty = jnp.full((batch, beam, length), pad, jnp.int32)
    only_first = jnp.where(jnp.arange(beam) == 0, 0.0, NEVER)  # all beams begin equal: only one counts
    return _Beams(
        position=jnp.int32(0),
        last=jnp.full((batch, beam), begin, jnp.int32),
        alive=empty,
        alive_scores=jnp.broadcast_to(only_first, (batch, beam)),
        ended=empty,
        ended_scores=jnp.full((batch, beam), NEVER),
        lineage=jnp.broadcast_to(jnp.arange(beam)[None, :, None], empty.shape),
        cache={},
    )
