import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import masking, mesh
from vitax.mesh import platform
from vitax.nn import attention, blocks, dense, dot_product, dropout, fused, interpolation, mlp, patches, relative
from vitax.nn.convolution import Conv
from vitax.nn.mixing import fourier

pytestmark = pytest.mark.usefixtures("quick_compile")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_attention_against_numpy(rng):
    q, k, v = (rng.normal(size=(2, n, 3, 4)).astype(np.float32) for n in (5, 7, 7))
    bias = rng.normal(size=(1, 3, 5, 7)).astype(np.float32)
    out, weights = dot_product.dot_product_attention(q, k, v, bias=bias)
    scores = np.einsum("bnae,bmae->banm", q, k) / 2 + bias
    chex.assert_trees_all_close(weights, softmax(scores), rtol=1e-5)
    chex.assert_trees_all_close(out, np.einsum("banm,bmae->bnae", softmax(scores), v), rtol=1e-4, atol=1e-6)


def test_what_is_masked_has_no_influence(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(1, 4, 2, 3)), jnp.float32) for _ in range(3))
    causal = jnp.tril(jnp.ones((4, 4), bool))[None, None]
    gradient = jax.jacobian(lambda v: dot_product.dot_product_attention(q, k, v, mask=causal)[0].sum((0, 2, 3)))(v).sum(
        (1, 3, 4)
    )  # [query, key]
    chex.assert_trees_all_equal(np.abs(gradient) > 0, np.asarray(causal[0, 0]))


def test_bfloat16_attention_keeps_its_softmax_in_float32(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(1, 64, 1, 8)), jnp.bfloat16) for _ in range(3))
    out, weights = dot_product.dot_product_attention(q, k, v)
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
    assert interpolation.resize_positions(table, (4, 6)) is table
    larger = interpolation.resize_positions(table, (8, 6))
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
    chex.assert_trees_all_close(mlp.ACTIVATIONS["gelu"](jnp.float32(1.0)), 0.84134475, atol=1e-7)
    chex.assert_trees_all_close(mlp.ACTIVATIONS["gelu_tanh"](1.0), 0.84119199, atol=1e-7)


def test_the_late_division_is_the_softmax_in_value_and_gradient(rng):
    scores = jnp.asarray(3 * rng.normal(size=(2, 4, 5, 7)), jnp.float32)
    scores = scores.at[0, 0, 0].set(jnp.finfo(jnp.float32).min)  # a query that may see nothing
    v = jnp.asarray(rng.normal(size=(2, 7, 4, 3)), jnp.float32)

    def both(function):
        total = lambda s, v: sum(jnp.sum(jnp.sin(3 * x)) for x in function(s, v))
        return function(scores, v), jax.grad(total, (0, 1))(scores, v)

    chex.assert_trees_all_close(both(dot_product.attend_late), both(dot_product.attend), atol=1e-5)


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
    ours, theirs = mlp.gelu, lambda x: jax.nn.gelu(x, approximate=False)
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
        traced = str(jax.make_jaxpr(lambda q: dot_product.dot_product_attention(q, q, q))(q))
    assert ("attend_late" in traced) == late


def attention_inputs(rng, shape, keys=None, dtype=jnp.float32):
    *batch, n, heads, width = shape
    sizes = (n, keys or n, keys or n)
    return [jnp.asarray(rng.normal(size=(*batch, size, heads, width)), dtype) for size in sizes]


MASKS = {
    "nothing": lambda rng, b, n, m: {},
    "causal": lambda rng, b, n, m: {"causal": True},
    "lengths": lambda rng, b, n, m: {"mask": masking.Lengths(jnp.asarray(rng.integers(1, m + 1, b)))},
    "causal_lengths": lambda rng, b, n, m: {
        "causal": True,
        "mask": masking.Lengths(jnp.asarray(rng.integers(1, m + 1, b))),
    },
    "mask": lambda rng, b, n, m: {"mask": jnp.asarray(rng.random((b, 1, n, m)) < 0.7).at[..., 0].set(True)},
    "bias": lambda rng, b, n, m: {"bias": jnp.asarray(rng.normal(size=(1, 2, n, m)), jnp.float32)},
}


def value_and_gradients(function, arrays, options):
    total = lambda *arrays: jnp.sin(3 * function(*arrays, **options)).sum()
    together = lambda *arrays: (function(*arrays, **options), jax.grad(total, (0, 1, 2))(*arrays))
    return jax.jit(together)(*arrays)  # compiled once, not operation by operation


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("n", "m", "e"), [(6, 6, 8), (7, 7, 10), (5, 8, 8)])
def test_what_is_handed_to_the_fused_kernel_is_the_same_attention(monkeypatch, rng, kind, n, m, e):
    """Padded to even, with lengths, causal, or a bias; here the kernel is JAX's plain form of it."""
    if "causal" in kind and n != m:
        return
    plain = jax.nn.dot_product_attention
    calls = []

    def without_cudnn(q, k, v, **options):
        assert options.pop("implementation") == "cudnn"
        assert q.shape[1] % 2 == k.shape[1] % 2 == q.shape[3] % 8 == 0
        calls.append(options)
        return plain(q, k, v, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
    arrays = attention_inputs(rng, (3, n, 2, e), m)
    options = MASKS[kind](rng, 3, n, m)
    whole = {"bias": None, "mask": None, "causal": False} | options
    fused_form = value_and_gradients(fused.cudnn_attention, arrays, whole)
    expected = lambda *arrays, **options: dot_product.dot_product_attention(*arrays, **options)[0]
    chex.assert_trees_all_close(fused_form, value_and_gradients(expected, arrays, options), atol=2e-5)
    assert calls


@pytest.mark.parametrize("kind", ["bias", "mask", "both", "nothing"])
@pytest.mark.parametrize("n", [4, 9])
def test_windows_become_heads_of_the_fused_kernel(monkeypatch, rng, key, n, kind):
    plain, shapes = jax.nn.dot_product_attention, []

    def without_cudnn(q, k, v, implementation, **options):
        shapes.append(q.shape)
        return plain(q, k, v, **options)

    layer = attention.SelfAttention(2, dtype=jnp.bfloat16)
    x = jnp.asarray(rng.normal(size=(2, 3, n, 16)), jnp.bfloat16)
    bias = jnp.asarray(rng.normal(size=(1, 1, 2, n, n)), jnp.float32) if kind in ("bias", "both") else None
    mask = (rng.random((1, 3, 1, n, n)) < 0.7) | np.eye(n, dtype=bool) if kind in ("mask", "both") else None
    variables = layer.init(key, x)

    def both():
        loss = lambda v, x, bias: jnp.sin(layer.apply(v, x, bias=bias, mask=mask).astype(jnp.float32)).sum()
        arguments = (0, 1, 2) if bias is not None else (0, 1)
        together = lambda *a: (layer.apply(a[0], a[1], bias=a[2], mask=mask), jax.grad(loss, arguments)(*a))
        return jax.jit(together)(variables, x, bias)

    expected = both()
    monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
    monkeypatch.setattr(fused, "platform", lambda: "gpu")
    low, wide = (jax.tree.map(jnp.float32, values) for values in (both(), expected))
    assert shapes[0] == (2, n + n % 2, 3 * 2, 8)
    chex.assert_trees_all_close(low, wide, rtol=0.1, atol=0.15)


@pytest.mark.parametrize("kind", MASKS)
def test_chunks_of_queries_give_the_same_attention(monkeypatch, rng, kind):
    monkeypatch.setattr(fused, "CHUNK", 4)
    monkeypatch.setattr(dot_product, "LONG", 9)
    arrays = attention_inputs(rng, (3, 10, 2, 8))
    options = MASKS[kind](rng, 3, 10, 10)
    expected = lambda *arrays, **options: dot_product.dot_product_attention(*arrays, **options)[0]
    chunked = value_and_gradients(dot_product.attention_output, arrays, options)
    chex.assert_trees_all_close(chunked, value_and_gradients(expected, arrays, options), atol=2e-5)


def test_the_plain_form_is_asked_for_where_a_program_is_traced_for_others(monkeypatch):
    monkeypatch.setattr(dot_product, "LONG", 9)
    traced = lambda: str(jax.make_jaxpr(lambda q: dot_product.attention_output(q, q, q))(jnp.ones((2, 10, 4, 8))))
    assert "scan" in traced()
    assert "attend_late" in traced()
    with fused.plain_forms():
        assert "scan" not in traced()
        assert "attend_late" not in traced()


def test_long_sequences_need_memory_linear_in_their_length():
    def temporary(n):
        q = jax.ShapeDtypeStruct((1, n, 4, 16), jnp.float32)
        loss = lambda q: jnp.square(dot_product.attention_output(q, q, q)).sum()
        return jax.jit(jax.grad(loss)).lower(q).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(2048), temporary(4096)
    assert large < 2.5 * small
    assert large < 4096 * 4096 * 4 * 4 / 3


def test_scores_of_16_bits_have_16_bit_products_in_the_backward_pass(rng):
    q, k, v = attention_inputs(rng, (2, 6, 2, 8), dtype=jnp.bfloat16)
    loss = lambda q, k, v: dot_product.dot_product_attention(q, k, v)[0].astype(jnp.float32).sum()
    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 5
    inputs = [line.split(":")[-1].split("->")[0] for line in products]
    assert not any("f32" in one.replace("bf16", "") for one in inputs), products
    wide = value_and_gradients(
        lambda *arrays: dot_product.dot_product_attention(*arrays)[0], [x.astype(jnp.float32) for x in (q, k, v)], {}
    )
    low = value_and_gradients(lambda *arrays: dot_product.dot_product_attention(*arrays)[0], (q, k, v), {})
    chex.assert_trees_all_close(jax.tree.map(jnp.float32, low), wide, atol=0.1)


def test_the_norm_of_16_bits_has_the_gradients_of_the_plain_one(rng):
    x, gradient = (jnp.asarray(rng.normal(2, 1, (3, 5, 16)), jnp.bfloat16) for _ in range(2))
    scale, bias = (jnp.asarray(rng.normal(size=16), jnp.float32) for _ in range(2))

    def both(x):
        norm = lambda x, scale, bias: blocks.layer_norm(x, scale, bias, epsilon=1e-6, dtype=x.dtype)
        out, pull = jax.vjp(norm, x, scale, bias)
        return out, pull(gradient.astype(x.dtype))

    low, wide = both(x), both(x.astype(jnp.float32))
    assert low[1][0].dtype == jnp.bfloat16
    chex.assert_trees_all_close(jax.tree.map(jnp.float32, low), wide, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("use_bias", [True, False])
def test_projections_are_one_product_or_several_with_the_same_parameters(monkeypatch, rng, key, use_bias):
    layer = dense.Projections(3, 8, use_bias, jax.nn.initializers.lecun_normal())
    x = jnp.asarray(rng.normal(size=(2, 5, 6)), jnp.float32)
    variables = layer.init(key, x)
    assert variables["params"]["kernel"].shape == (6, 24)
    together = layer.apply(variables, x)
    monkeypatch.setattr(dense, "platform", lambda: "gpu")
    chex.assert_trees_all_close(layer.apply(variables, x), together, atol=1e-6)
    assert str(jax.make_jaxpr(layer.apply)(variables, x)).count("dot_general") == 3


def test_an_odd_number_of_tokens_is_padded_once_before_the_projections(monkeypatch, rng, key):
    """On a GPU, in 16 bits; the output is that of the plain form."""
    plain = jax.nn.dot_product_attention
    lengths = []

    def without_cudnn(q, k, v, implementation, **options):
        lengths.append(q.shape[1])
        return plain(q, k, v, **options)

    layer = attention.SelfAttention(2, dtype=jnp.bfloat16)
    x = jnp.asarray(rng.normal(size=(2, 7, 16)), jnp.bfloat16)
    variables = layer.init(key, x)
    expected = layer.apply(variables, x)
    monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
    monkeypatch.setattr(fused, "platform", lambda: "gpu")
    out = layer.apply(variables, x)
    assert lengths == [8]
    chex.assert_trees_all_close(jnp.float32(out), jnp.float32(expected), atol=0.03)
    _, state = layer.apply(variables, x, mutable="intermediates")  # who asks for the weights gets them
    assert state["intermediates"]["weights"][0].shape == (2, 2, 7, 7)
    assert lengths == [8]


@pytest.mark.parametrize("axes", [{"data": 8}, {"data": 2, "fsdp": 4}, {"data": 1, "fsdp": 1}])
def test_the_order_for_gpus_changes_no_value_and_gathers_nothing(monkeypatch, rng, axes):
    devices = math.prod(axes.values())
    grid = mesh.make_mesh(jax.devices()[:devices], **axes)
    monkeypatch.setattr(mesh, "platform", lambda: "gpu")
    x = jnp.asarray(rng.normal(size=(8, 3, 4)), jnp.bfloat16)

    def loss(x):
        return jnp.sin(mesh.constrain_batch(jnp.cos(x))).astype(jnp.float32).sum()

    with jax.set_mesh(grid):
        x = jax.device_put(x, mesh.batch_sharding(grid))
        compiled = jax.jit(jax.value_and_grad(loss)).lower(x).compile()
        value, gradient = compiled(x)
    assert "all-gather" not in compiled.as_text()
    expected = jax.value_and_grad(lambda x: jnp.sin(jnp.cos(x)).astype(jnp.float32).sum())(x)
    chex.assert_trees_all_close(
        jax.tree.map(jnp.float32, (value, gradient)), jax.tree.map(jnp.float32, expected), atol=0.02
    )


def test_each_device_transforms_its_own_rows(rng):
    grid = mesh.make_mesh(jax.devices()[:4], data=2, fsdp=2)
    x = jnp.asarray(rng.normal(size=(8, 4, 4)), jnp.float32)
    with jax.set_mesh(grid):
        x = jax.device_put(x, mesh.batch_sharding(grid))
        compiled = jax.jit(lambda x: fourier(mesh.constrain_batch(x))).lower(x).compile()
        out = compiled(x)
    assert "all-gather" not in compiled.as_text()
    chex.assert_trees_all_close(np.asarray(out), np.fft.fft2(np.asarray(x), axes=(1, 2)).real, atol=1e-4)


def test_word_logits_of_16_bits_have_the_gradients_of_float32(rng):
    x, table = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((2, 3, 8), (11, 8)))
    loss = lambda x, table: jnp.sin(dense.word_logits(x, table)).sum()
    assert dense.word_logits(x, table).dtype == jnp.float32
    low = jax.value_and_grad(loss, (0, 1))(x, table)
    wide = jax.value_and_grad(loss, (0, 1))(x.astype(jnp.float32), table.astype(jnp.float32))
    chex.assert_trees_all_close(jax.tree.map(jnp.float32, low), wide, rtol=0.05, atol=0.1)


def test_a_mask_of_each_example_is_left_to_the_plain_form(monkeypatch, rng, key):
    """The kernel takes a mask as a bias, and computes the gradient of a bias for one example only."""
    monkeypatch.setattr(fused, "platform", lambda: "gpu")
    layer = attention.SelfAttention(2, dtype=jnp.bfloat16)
    x = jnp.asarray(rng.normal(size=(3, 6, 16)), jnp.bfloat16)
    own = jnp.asarray(rng.random((3, 1, 1, 6)) < 0.7).at[..., 0].set(True)
    variables = layer.init(key, x, mask=own)  # would fail, because there is no cuDNN here
    layer.apply(variables, x, mask=own)
    layer.apply(variables, x, bias=jnp.asarray(rng.normal(size=(3, 2, 6, 6)), jnp.bfloat16))
    keys = relative.OffsetKeys(jnp.ones((11, 8)), jnp.asarray(np.arange(6)[:, None] - np.arange(6)[None] + 5))
    layer.apply(variables, x, bias=keys)
    assert fused.cudnn_fits((3, 6, 2, 8), jnp.bfloat16, own[:1])
    assert fused.cudnn_fits((3, 6, 2, 8), jnp.bfloat16, masking.Lengths(jnp.ones(3)))
    assert not fused.cudnn_fits((3, 6, 2, 8), jnp.bfloat16, own)
    assert not fused.cudnn_fits((3, 6, 2, 8), jnp.float32)
    assert not fused.cudnn_fits((3, 1, 2, 8), jnp.bfloat16)
    monkeypatch.setenv("VITAX_ATTENTION", "plain")
    assert not fused.cudnn_fits((3, 6, 2, 8), jnp.bfloat16)


@pytest.mark.parametrize(("rate", "bits"), [(0.1, 8), (0.2, 8), (0.5, 8), (0.04, 16), (0.001, 16)])
def test_dropout_of_few_random_bits(monkeypatch, key, rate, bits):
    """On GPUs: the rate within a fiftieth, the mean kept, the same numbers dropped in the backward pass."""
    assert dropout.bits_for(rate) == bits
    x = jnp.ones((64, 33, 129))
    layer = dropout.Dropout(rate)
    apply = lambda x, key: layer.apply({}, x, rngs={"dropout": key})
    on_cpu = apply(x, key)
    chex.assert_trees_all_close(on_cpu, nn.Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": key}))
    monkeypatch.setattr(dropout, "platform", lambda: "gpu")
    out = apply(x, key)
    dropped = float((out == 0).mean())
    spread = 5 * (rate * (1 - rate) / x.size) ** 0.5
    assert abs(dropped - rate) < rate / 50 + spread
    assert abs(float(out.mean()) - 1) < 5 * (rate / (1 - rate) / x.size) ** 0.5
    gradient = jax.grad(lambda x: apply(x, key).sum())(x)
    chex.assert_trees_all_close(gradient, out)
    chex.assert_trees_all_equal(apply(x, key), out)
    assert (apply(x, jax.random.key(9)) != out).any()
    neighbours = np.asarray(out == 0, np.float64)  # numbers of one word are independent
    for shift in (1, 2, 3):
        together = (neighbours[..., shift:] * neighbours[..., :-shift]).mean()
        assert abs(together - dropped**2) < 5 * dropped / x.size**0.5


def test_dropout_without_a_rate_or_training_changes_nothing(key):
    x = jnp.ones((3, 4))
    assert dropout.Dropout(0.0).apply({}, x) is x
    assert dropout.Dropout(0.5, deterministic=True).apply({}, x) is x
    assert dropout.Dropout(0.5).apply({}, x, deterministic=True) is x


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (1, 1, 0, 1),
        (1, 2, 0, 1),
        (7, 2, 3, 1),
        (3, 1, 2, 2),
        (3, 2, "SAME", 1),
        (2, 2, "VALID", 1),
    ],
)
def test_the_convolution_equals_that_of_flax_in_value_and_gradient(rng, key, size, stride, padding, dilation):
    options = dict(features=4, kernel_size=(size, size), strides=stride, padding=padding, kernel_dilation=dilation)
    x = jnp.asarray(rng.normal(size=(2, 9, 12, 3)), jnp.float32)
    variables = nn.Conv(**options).init(key, x)
    weights = jnp.asarray(rng.normal(size=nn.Conv(**options).apply(variables, x).shape), jnp.float32)

    def both(layer):
        return jax.value_and_grad(lambda v, x: (layer(**options).apply(v, x) * weights).sum(), (0, 1))(variables, x)

    chex.assert_trees_all_close(both(Conv), both(nn.Conv), rtol=2e-5, atol=2e-5)
    steps = str(jax.make_jaxpr(jax.grad(lambda v: Conv(**options).apply(v, x).sum()))(variables))
    assert steps.count("dot_general") == size, "a product for each place in a row of the kernel"
    with fused.plain_forms():
        assert "custom_vjp" not in str(jax.make_jaxpr(lambda v: Conv(**options).apply(v, x))(variables))
