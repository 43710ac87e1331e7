import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vitax import losses
from vitax.tasks.contrastive import clipped


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
        losses.softmax_cross_entropy(logits, labels), optax.softmax_cross_entropy(logits, labels), rtol=1e-6
    )


def test_cross_entropy_survives_large_logits_and_bfloat16():
    logits = jnp.array([[1e4, -1e4]], jnp.bfloat16)
    value = losses.softmax_cross_entropy(logits, jnp.array([[1.0, 0.0]]))
    assert value.dtype == jnp.float32
    chex.assert_trees_all_close(value, jnp.zeros(1))


def test_cross_entropy_refuses_to_broadcast():
    with pytest.raises(ValueError, match="same shape"):
        losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((1, 3)))


def test_patch_mse_against_numpy(rng):
    predicted, target = rng.normal(size=(2, 2, 3, 8)).astype(np.float32)
    plain = ((predicted - target) ** 2).mean(-1)
    chex.assert_trees_all_close(losses.patch_mse(predicted, target), plain, rtol=1e-5)
    normal = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, keepdims=True, ddof=1) + 1e-6)
    chex.assert_trees_all_close(
        losses.patch_mse(predicted, target, normalize=True), ((predicted - normal) ** 2).mean(-1), rtol=1e-5
    )


def unit(rng, *shape):
    x = rng.normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_contrastive_by_hand_symmetric_and_blind_to_invalid_pairs(rng):
    image, text = unit(rng, 6, 8), unit(rng, 6, 8)
    found = losses.contrastive(image, text, jnp.float32(7.0))
    logits = 7 * image @ text.T
    log = lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))
    by_hand = -(np.diag(log(logits)) + np.diag(log(logits.T))) / 2
    chex.assert_trees_all_close(found, by_hand, rtol=1e-5)
    swapped = losses.contrastive(text, image, jnp.float32(7.0))
    chex.assert_trees_all_close(found, swapped, rtol=1e-6)
    valid = jnp.array([True, True, False, True, True, False])
    some = losses.contrastive(image, text, jnp.float32(7.0), valid)
    kept = np.asarray(valid)
    alone = losses.contrastive(image[kept], text[kept], jnp.float32(7.0))
    chex.assert_trees_all_close(some[kept], alone, rtol=1e-5)
    assert np.isfinite(some).all()


def test_sigmoid_contrastive_by_hand(rng):
    image, text = unit(rng, 5, 8), unit(rng, 5, 8)
    found = losses.sigmoid_contrastive(image, text, jnp.float32(10.0), jnp.float32(-3.0))
    logits = 10 * image @ text.T - 3
    signs = 2 * np.eye(5) - 1
    by_hand = np.log1p(np.exp(-signs * logits)).sum(1)
    chex.assert_trees_all_close(found, by_hand, rtol=1e-5)
    valid = jnp.array([True, False, True, True, True])
    some = losses.sigmoid_contrastive(image, text, jnp.float32(10.0), jnp.float32(-3.0), valid)
    kept = np.asarray(valid)
    fewer = np.log1p(np.exp(-signs * logits))[:, kept].sum(1)
    chex.assert_trees_all_close(some, fewer, rtol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_contrastive_is_the_same_on_one_device_and_on_eight(rng, loss):
    image, text = unit(rng, 16, 8), unit(rng, 16, 8)
    valid = jnp.arange(16) != 3

    def value(image, text, scale):
        if loss == "softmax":
            values = losses.contrastive(image, text, scale, valid)
        else:
            values = losses.sigmoid_contrastive(image, text, scale, -scale / 2, valid)
        return jnp.where(valid, values, 0).mean()

    run = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
    one = run(image, text, jnp.float32(9.0))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    eight = run(jax.device_put(image, split), jax.device_put(text, split), jnp.float32(9.0))
    assert len(eight[1][0].sharding.device_set) == 8
    chex.assert_trees_all_close(jax.device_get(one), jax.device_get(eight), rtol=1e-5, atol=1e-7)


def test_words_cost_what_one_hot_labels_would(rng):
    logits = jnp.asarray(rng.normal(size=(2, 3, 9)), jnp.float32)
    words = jnp.asarray(rng.integers(0, 9, (2, 3)))
    labels = jax.nn.one_hot(words, 9)
    weights = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    both = lambda loss: jax.value_and_grad(lambda logits: (weights * loss(logits)).sum())(logits)
    chex.assert_trees_all_close(
        both(lambda x: losses.masked_words(x, words)),
        both(lambda x: losses.softmax_cross_entropy(x, labels)),
        rtol=1e-5,
        atol=1e-6,
    )
    for smoothing in (0.0, 0.1, 0.7):
        chex.assert_trees_all_close(
            both(lambda x, share=smoothing: losses.smoothed_words(x, words, share)),
            both(lambda x, share=smoothing: losses.softmax_cross_entropy(x, losses.smooth_labels(labels, share))),
            rtol=1e-5,
            atol=1e-6,
        )


def test_charbonnier_is_smooth_and_close_to_l1(rng):
    a, b = (jnp.asarray(rng.normal(size=(4, 5)), jnp.float32) for _ in range(2))
    chex.assert_trees_all_close(losses.charbonnier(a, b), np.sqrt((a - b) ** 2 + 1e-9), rtol=1e-6)
    chex.assert_trees_all_close(losses.charbonnier(a, b), losses.absolute_error(a, b), atol=1e-4)
    gradient = jax.grad(lambda x: losses.charbonnier(x, a).sum())(a)
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(a))  # L1 has no gradient there
    with pytest.raises(ValueError, match="same shape"):
        losses.absolute_error(a, b[:1])


def test_a_clipped_scale_comes_back():
    """Beyond its bounds, only a gradient that leads back is let through."""
    for x, gradient, passes in (
        (5.0, 1.0, True),
        (5.0, -1.0, False),
        (0.5, -1.0, True),
        (0.5, 1.0, False),
        (2.0, 1.0, True),
    ):
        value, pull = jax.vjp(lambda x: clipped(x, 1.0, 3.0), jnp.float32(x))
        assert float(value) == min(max(x, 1.0), 3.0)
        assert float(pull(jnp.float32(gradient))[0]) == (gradient if passes else 0.0)


def test_the_keep_ratio_and_the_divergence_by_hand():
    keep = jnp.array(
        [[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]
    )  # [2, 2, 4]
    each = losses.keep_ratio(keep, (0.5, 0.75), per_batch=False)
    np.testing.assert_allclose(each, [(0.0 + 0.25**2) / 2, (0.25**2 + 0.75**2) / 2], rtol=1e-6)
    batch = losses.keep_ratio(keep, (0.5, 0.75), per_batch=True)
    np.testing.assert_allclose(batch, [(0.125**2 + 0.25**2) / 2] * 2, rtol=1e-6)
    p, q = np.array([[0.2, 0.3, 0.5]]), np.array([[0.4, 0.4, 0.2]])
    expected = (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(losses.kl_divergence(jnp.log(q), jnp.log(p)), expected, rtol=1e-5)
