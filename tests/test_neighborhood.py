"""Neighborhood attention against its definition, written as loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax.models.nat import NAT
from vitax.nn.dot_product import dot_product_attention
from vitax.nn.neighborhood import neighborhood, neighborhood_attention

pytestmark = pytest.mark.usefixtures("quick_compile")


def neighbors(i, n, kernel, dilation):
    """Keys of query i: the kernel nearest of its own residue, all inside the map."""
    lattice = list(range(i % dilation, n, dilation))
    place = lattice.index(i)
    start = min(max(place - kernel // 2, 0), len(lattice) - kernel)
    return lattice[start : start + kernel]


def by_loops(q, k, v, table, kernel, dilation):
    _, height, width, _, e = q.shape
    out = np.zeros_like(q)
    for i in range(height):
        for j in range(width):
            rows, columns = (neighbors(i, height, kernel, dilation), neighbors(j, width, kernel, dilation))
            pairs = [(r, c) for r in rows for c in columns]
            keys = np.stack([k[:, r, c] for r, c in pairs], 1)  # [B, K*K, A, E]
            values = np.stack([v[:, r, c] for r, c in pairs], 1)
            scores = np.einsum("bae,bkae->bak", q[:, i, j], keys) / np.sqrt(e)
            middle = kernel - 1
            scores = scores + np.stack(
                [table[:, (r - i) // dilation + middle, (c - j) // dilation + middle] for r, c in pairs], -1
            )
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights = weights / weights.sum(-1, keepdims=True)
            out[:, i, j] = np.einsum("bak,bkae->bae", weights, values)
    return out


@pytest.mark.parametrize(
    ("height", "width", "kernel", "dilation"),
    [
        (7, 9, 3, 1),
        (5, 5, 5, 1),
        (11, 8, 5, 1),
        (14, 14, 7, 1),
        (6, 13, 3, 2),
        (9, 7, 3, 2),
        (15, 13, 3, 4),
        (8, 17, 1, 3),
        (21, 15, 7, 2),
        (23, 10, 5, 2),
        (3, 3, 3, 1),
        (12, 12, 3, 4),
        (13, 14, 3, 3),
    ],
)
def test_equals_the_definition(rng, height, width, kernel, dilation):
    q, k, v = (rng.normal(size=(2, height, width, 2, 3)).astype(np.float32) for _ in range(3))
    table = rng.normal(size=(2, 2 * kernel - 1, 2 * kernel - 1)).astype(np.float32)
    apply = jax.jit(lambda *x: neighborhood_attention(*x, kernel=kernel, dilation=dilation))
    expected = by_loops(q, k, v, table, kernel, dilation)
    chex.assert_trees_all_close(apply(q, k, v, table), expected, rtol=1e-4, atol=1e-5)


def test_a_window_that_covers_the_map_is_full_attention(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(2, 5, 5, 2, 4)), jnp.float32) for _ in range(3))
    flat = [x.reshape(2, 25, 2, 4) for x in (q, k, v)]
    expected, _ = dot_product_attention(*flat)
    out = neighborhood_attention(q, k, v, kernel=5)
    chex.assert_trees_all_close(out.reshape(2, 25, 2, 4), expected, rtol=1e-5, atol=1e-6)


def test_starts_are_those_of_the_paper():
    assert list(neighborhood(np.arange(14), 14, 7)) == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7]


def test_a_query_sees_its_neighborhood_and_nothing_else(rng):
    height, width, kernel, dilation = 9, 11, 3, 2
    q, k, v = (jnp.asarray(rng.normal(size=(1, height, width, 1, 2)), jnp.float32) for _ in range(3))
    i, j = 0, 7
    gradient = jax.grad(lambda v: neighborhood_attention(q, k, v, kernel=kernel, dilation=dilation)[0, i, j].sum())(v)
    seen = {tuple(x) for x in np.argwhere(np.abs(gradient[0, ..., 0, 0]) > 0)}
    rows, columns = neighbors(i, height, kernel, dilation), neighbors(j, width, kernel, dilation)
    assert seen == {(r, c) for r in rows for c in columns}


def test_maps_that_are_too_small_are_refused_or_padded(key):
    x = jnp.zeros((1, 5, 9, 1, 2))
    with pytest.raises(ValueError, match="map of 5x9 has no neighborhoods .*at least 6 a side"):
        neighborhood_attention(x, x, x, kernel=3, dilation=2)
    model = NAT(num_classes=2, width=8, depths=(1,), num_heads=(2,), kernel=7)
    assert jax.eval_shape(lambda: model.init_with_output(key, jnp.zeros((1, 12, 16, 3)))[0]).shape == (1, 2)


@pytest.mark.parametrize(
    ("size", "kernel", "dilation"), [((9, 7), 3, 1), ((10, 13), 5, 1), ((7, 7), 7, 1), ((9, 8), 3, 2)]
)
def test_tiles_become_heads_of_the_fused_kernel(monkeypatch, rng, size, kernel, dilation):
    """The same attention in value and gradient; here the kernel is JAX's plain form of it."""
    plain, calls = jax.nn.dot_product_attention, []

    def without_cudnn(q, k, v, implementation, **options):
        calls.append(q.shape)
        return plain(q, k, v, **options)

    q, k, v = (jnp.asarray(rng.normal(size=(2, *size, 2, 8)), jnp.float32) for _ in range(3))
    table = jnp.asarray(rng.normal(size=(2, 2 * kernel - 1, 2 * kernel - 1)), jnp.float32)

    def both():
        attend = lambda *arrays: neighborhood_attention(*arrays, kernel=kernel, dilation=dilation)
        loss = lambda *arrays: jnp.sin(attend(*arrays)).sum()
        together = lambda *arrays: (attend(*arrays), jax.grad(loss, (0, 1, 2, 3))(*arrays))
        return jax.jit(together)(q, k, v, table)  # compiled once, not operation by operation

    expected = both()
    monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
    monkeypatch.setattr("vitax.nn.neighborhood.cudnn_fits", lambda *_: True)
    chex.assert_trees_all_close(both(), expected, atol=3e-5)
    assert calls
