import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax.mesh import platform
from vitax.nn import attention, blocks, dense, patches, positions

pytestmark = pytest.mark.usefixtures("quick_compile")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_attention_against_numpy(rng):
    q, k, v = (rng.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (5, 7, 7))
    bias = rng.normal(size=(1, 3, 5, 7)).astype(np.float32)
    out, weights = attention.dot_product_attention(q, k, v, bias=bias)
    scores = np.einsum("bnae,bmae->banm", q, k) / 2 + bias
    chex.assert_trees_all_close(weights, softmax(scores), rtol=1e-5)
    chex.assert_trees_all_close(out, np.einsum("banm,bmae->bnae", softmax(scores), v), rtol=1e-4, atol=1e-6)


def test_what_is_masked_has_no_influence(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(1, 4, 2, 3)), jnp.float32) for _ in range(3))
    causal = jnp.tril(jnp.ones((4, 4), bool))[None, None]
    gradient = jax.jacobian(lambda v: attention.dot_product_attention(q, k, v, mask=causal)[0].sum((0, 2, 3)))(v).sum(
        (1, 3, 4)
    )  # [query, key]
    chex.assert_trees_all_equal(np.abs(gradient) > 0, np.asarray(causal[0, 0]))


def test_bfloat16_attention_keeps_its_softmax_in_float32(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(1, 64, 1, 8)), jnp.bfloat16) for _ in range(3))
    out, weights = attention.dot_product_attention(q, k, v)
    assert (out.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    chex.assert_trees_all_close(weights.sum(-1), jnp.ones((1, 1, 64)), atol=1e-6)


def test_width_that_heads_do_not_divide_is_refused(key):
    with pytest.raises(ValueError, match="width 10 is not divisible by num_heads 3"):
        attention.SelfAttention(3).init(key, jnp.zeros((1, 2, 10)))


def test_qkv_is_initialised_like_three_kernels_of_its_own(key):
    init = attention.stacked(jax.nn.initializers.xavier_uniform(), 3)
    kernel = init(key, (64, 192))
    limit = np.sqrt(6 / (64 + 64))
    for part in np.split(np.asarray(kernel), 3, axis=-1):
        assert 0.95 * limit < np.abs(part).max() <= limit
    assert not np.array_equal(kernel[:, :64], kernel[:, 64:128])


def test_patchify_order_and_inverse(rng):
    images = rng.normal(size=(2, 6, 9, 2)).astype(np.float32)
    cut = patches.patchify(images, 3)
    chex.assert_shape(cut, (2, 2, 3, 18))
    chex.assert_trees_all_equal(cut[1, 0, 2], images[1, 0:3, 6:9].reshape(-1))
    chex.assert_trees_all_equal(patches.unpatchify(cut, 3), images)


def test_patch_error_names_the_size_that_would_do():
    with pytest.raises(ValueError, match="30x32 is not divisible by patch_size 8.*32x32"):
        patches.patchify(jnp.zeros((1, 30, 32, 3)), 8)


def test_patch_embed_equals_the_strided_convolution(key, rng):
    images = jnp.asarray(rng.normal(size=(2, 8, 12, 3)), jnp.float32)
    embed = patches.PatchEmbed(4, 5)
    variables = embed.init(key, images)
    kernel = variables["params"]["projection"]["kernel"].reshape(4, 4, 3, 5)
    expected = jax.lax.conv_general_dilated(images, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    chex.assert_trees_all_close(embed.apply(variables, images), expected, rtol=1e-4, atol=1e-5)


def test_positions_are_resized_along_the_right_axes():
    rows, columns = jnp.meshgrid(jnp.arange(4.0), jnp.arange(6.0), indexing="ij")
    table = jnp.stack([rows, columns], -1)  # [4, 6, 2]
    assert positions.resize_positions(table, (4, 6)) is table
    larger = positions.resize_positions(table, (8, 6))
    chex.assert_trees_all_close(larger[..., 1], jnp.broadcast_to(columns[:1], (8, 6)), atol=1e-5)
    assert (np.diff(np.asarray(larger[..., 0]), axis=0) > 0).all()


def test_drop_path_drops_whole_examples_and_keeps_the_mean(key):
    x = jnp.ones((4000, 3))
    out = np.asarray(blocks.drop_path(x, 0.25, key))
    assert set(np.unique(out).round(4)) == {0.0, np.float32(4 / 3).round(4)}
    assert (out.std(-1) == 0).all()
    assert abs(out.mean() - 1) < 0.05


def test_gelu_is_the_exact_one_by_default():
    # Values of the three forms at x = 1: erf 0.84134475, tanh 0.84119199.
    chex.assert_trees_all_close(blocks.ACTIVATIONS["gelu"](jnp.float32(1.0)), 0.84134475, atol=1e-7)
    chex.assert_trees_all_close(blocks.ACTIVATIONS["gelu_tanh"](1.0), 0.84119199, atol=1e-7)


def test_the_late_division_is_the_softmax_in_value_and_gradient(rng):
    scores = jnp.asarray(3 * rng.normal(size=(2, 4, 5, 7)), jnp.float32)
    scores = scores.at[0, 0, 0].set(jnp.finfo(jnp.float32).min)  # a query that may see nothing
    v = jnp.asarray(rng.normal(size=(2, 7, 4, 3)), jnp.float32)

    def both(function):
        total = lambda s, v: sum(jnp.sum(jnp.sin(3 * x)) for x in function(s, v))
        return function(scores, v), jax.grad(total, (0, 1))(scores, v)

    chex.assert_trees_all_close(both(attention.attend_late), both(attention.attend), atol=1e-5)


def test_a_flat_product_is_the_product_in_value_and_gradient(rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 8)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(8, 5)), jnp.float32)
    dimensions = (((3,), (0,)), ((), ()))

    def both(function):
        apply = lambda x, k: function(x, k, dimensions)
        return apply(x, kernel), jax.grad(lambda x, k: jnp.sin(apply(x, k)).sum(), (0, 1))(x, kernel)

    chex.assert_trees_all_close(both(dense.product), both(jax.lax.dot_general), atol=1e-5)
    flat = jax.make_jaxpr(lambda x, k: dense.product(x, k, dimensions))(x, kernel)
    assert "reshape" in str(flat)


def test_gelu_is_the_one_of_jax_in_value_and_gradient():
    x = jnp.linspace(-9, 9, 1001)
    ours, theirs = blocks.gelu, lambda x: jax.nn.gelu(x, approximate=False)
    chex.assert_trees_all_close(ours(x), theirs(x), atol=1e-6)
    chex.assert_trees_all_close(jax.vmap(jax.grad(ours))(x), jax.vmap(jax.grad(theirs))(x), atol=1e-6)
    # In bfloat16 it is computed in float32: where it is small, 1 + erf would have no digits left.
    low = jnp.asarray([-3.0], jnp.bfloat16)
    chex.assert_trees_all_close(ours(low), theirs(jnp.float32(low)).astype(jnp.bfloat16))


@pytest.mark.parametrize(("kind", "late"), [("cpu", True), ("gpu", False), ("tpu", False)])
def test_the_form_for_cpus_is_chosen_by_the_devices_compiled_for(kind, late):
    """Not by those of this machine: a mesh may describe others."""
    device = jax.sharding.AbstractDevice(kind, None, kind)
    q = jnp.ones((1, 4, 2, 8))
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)):
        assert platform() == kind
        traced = str(jax.make_jaxpr(lambda q: attention.dot_product_attention(q, q, q))(q))
    assert ("attend_late" in traced) == late
