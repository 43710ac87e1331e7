import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import run, variables_of

from vitax.models.vit import POSITIONS, POSITIONS_AT, ViT
from vitax.nn.dropout import Dropout
from vitax.nn.positions import FIXED, LEARNED, RELATIVE

pytestmark = pytest.mark.usefixtures("quick_compile")

IMAGES = np.random.default_rng(0).normal(size=(3, 8, 16, 3)).astype(np.float32)
ABLATION = [
    (positions, at)
    for positions in POSITIONS
    for at in POSITIONS_AT
    if (at == "input" and positions not in RELATIVE)
    or positions in LEARNED + FIXED
    or (at.startswith("blocks") and positions in RELATIVE)
]


def small(**fields):
    fields = dict(width=32, depth=2, num_heads=2, mlp_width=48, patch_size=4) | fields
    return ViT(num_classes=3, image_size=(8, 16), **fields)


@pytest.mark.parametrize(("positions", "at"), ABLATION)
def test_every_position_encoding_tells_places_apart_on_any_grid(positions, at):
    model = small(positions=positions, positions_at=at, class_token=False, pooling="mean")
    variables = variables_of(model, (IMAGES,))
    apply = jax.jit(model.apply)
    out = apply(variables, IMAGES)
    # Two patches change places: only a model that knows places notices.
    swapped = IMAGES.copy()
    swapped[:, :4, :4], swapped[:, 4:, 8:12] = IMAGES[:, 4:, 8:12], IMAGES[:, :4, :4]
    difference = np.abs(apply(variables, swapped) - out).max()
    assert difference < 1e-5 if positions == "none" else difference > 1e-4
    if positions == "relative_1d":
        with pytest.raises(ValueError, match="made for 2x4 patches, not 4x2; 'relative' can be interpolated"):
            model.apply(variables, jnp.ones((1, 16, 8, 3)))
        return
    for height, width in ((16, 8), (12, 20), (4, 4)):
        out = run(model, variables, jnp.ones((1, height, width, 3)))
        assert np.isfinite(out).all()
        assert out.shape == (1, 3)


def test_the_query_is_multiplied_by_a_key_of_each_offset_in_raster_order():
    model = small(positions="relative_1d", positions_at="blocks", depth=1)
    variables = variables_of(model, (IMAGES,))
    bias, kernel = jax.tree.leaves(variables["params"]["block0"]["attention"]["qkv"])
    keys = np.asarray(variables["params"]["pos_embed0"]["keys"])  # [2N-1, E]
    assert keys.shape == (15, 16)
    shown = dict(mutable="intermediates", capture_intermediates=lambda module, _: module.name == "norm1")
    _, seen = jax.jit(lambda v: model.apply(v, IMAGES, **shown))(variables)
    (normed,) = seen["intermediates"]["block0"]["norm1"]["__call__"]
    (weights,) = seen["intermediates"]["block0"]["attention"]["weights"]
    q, k, _ = np.split(np.asarray(normed) @ np.asarray(kernel) + np.asarray(bias), 3, axis=-1)
    q, k = (part.reshape(3, 9, 2, 16) for part in (q, k))
    scores = np.einsum("bnae,bmae->banm", q, k)
    for i in range(8):
        for j in range(8):
            scores[:, :, i + 1, j + 1] += q[:, i + 1] @ keys[i - j + 7]
    np.testing.assert_allclose(weights, jax.nn.softmax(scores / 4, axis=-1), atol=1e-6)


@pytest.mark.parametrize("positions", ["learned_1d", "sincos_2d"])
def test_concatenated_positions_are_the_last_quarter_of_the_channels(positions):
    model = small(positions=positions, positions_at="concatenated", depth=1)
    variables = variables_of(model, (IMAGES,))
    shown = lambda m, _: m.name in ("patch_embed", "pos_embed") or isinstance(m, Dropout)
    shown = dict(mutable="intermediates", capture_intermediates=shown)
    _, seen = jax.jit(lambda v: model.apply(v, IMAGES, **shown))(variables)
    (entered,), (patches,), (vectors,) = (
        seen["intermediates"][name]["__call__"] for name in ("Dropout_0", "patch_embed", "pos_embed")
    )
    assert patches.shape == (3, 2, 4, 24)
    np.testing.assert_array_equal(entered[:, 1:, :24], patches.reshape(3, 8, 24))
    np.testing.assert_array_equal(entered[:, :, 24:], np.broadcast_to(vectors, (3, 9, 8)))


@pytest.mark.parametrize("positions", ["learned_1d", "relative", "relative_1d"])
def test_positions_in_blocks_are_own_or_shared(positions):
    def tables(at):
        params = variables_of(small(positions=positions, positions_at=at), (IMAGES,))["params"]
        return sorted(name for name in params if name.startswith("pos_embed"))

    assert tables("blocks") == ["pos_embed0", "pos_embed1"]
    assert tables("blocks_shared") == ["pos_embed"]


@pytest.mark.parametrize(
    ("positions", "at"), [("sincos_2d", "input"), ("learned_2d", "blocks"), ("relative", "blocks")]
)
def test_patches_that_stay_away_are_as_if_they_had_been_masked(positions, at):
    """All patches, in another order, give the same; positions and biases travel with their patch."""
    model = small(positions=positions, positions_at=at, pooling="token")
    variables = variables_of(model, (IMAGES,))
    order = np.stack([np.random.default_rng(i).permutation(8) for i in range(3)])
    chex.assert_trees_all_close(
        run(model, variables, IMAGES, keep=order), run(model, variables, IMAGES), rtol=1e-4, atol=1e-5
    )
    # What is not kept has no influence.
    other = IMAGES.copy()
    other[:, 4:, 12:] = 7.0  # patch 7
    keep = np.tile(np.arange(7), (3, 1))
    chex.assert_trees_all_equal(run(model, variables, IMAGES, keep=keep), run(model, variables, other, keep=keep))


def test_learned_halves_tell_column_and_row():
    model = small(positions="learned_2d", depth=1)
    params = variables_of(model, (IMAGES,))["params"]["pos_embed"]
    assert params["columns"].shape == (1, 4, 16)
    assert params["rows"].shape == (2, 1, 16)
    assert params["prefix"].shape == (1, 32)


def test_an_untrained_head_gives_equal_chances(key):
    model = small()
    variables = jax.jit(model.init)(key, IMAGES)
    chex.assert_trees_all_equal(run(model, variables, IMAGES), jnp.zeros((3, 3)))


def test_no_head_gives_features_and_no_pooling_tokens():
    for pooling, shape in (("token", (3, 32)), ("mean", (3, 32)), ("map", (3, 32)), ("none", (3, 9, 32))):
        model = small(pooling=pooling).clone(num_classes=0)
        assert jax.eval_shape(lambda m=model: m.init_with_output(jax.random.key(0), IMAGES)[0]).shape == shape


def test_tokens_and_attention_are_shown_on_request():
    model = small()
    variables = variables_of(model, (IMAGES,))
    _, seen = run(model, variables, IMAGES, mutable="intermediates")
    seen = seen["intermediates"]
    assert seen["tokens"][0].shape == (3, 9, 32)
    weights = seen["block1"]["attention"]["weights"][0]
    assert weights.shape == (3, 2, 9, 9)
    chex.assert_trees_all_close(weights.sum(-1), jnp.ones((3, 2, 9)), rtol=1e-5)
    _, seen = run(model, variables, IMAGES, capture_intermediates=True, mutable="intermediates")
    assert seen["intermediates"]["block0"]["__call__"][0].shape == (3, 9, 32)


def test_bfloat16_computes_in_bfloat16_and_ends_in_float32():
    model = small(dtype=jnp.bfloat16)
    variables = variables_of(model, (IMAGES,))
    logits, seen = run(model, variables, IMAGES, mutable="intermediates")
    assert logits.dtype == jnp.float32
    assert seen["intermediates"]["tokens"][0].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(pooling="max"), "pooling 'max' is unknown; choose one of token, mean, map, none"),
        (dict(positions="turned"), "positions 'turned' is unknown; choose one of learned_1d"),
        (dict(positions="relative"), "relative positions act on scores"),
        (dict(positions="relative_1d", positions_at="concatenated"), "relative positions act on scores"),
        (
            dict(positions="rotary", positions_at="concatenated"),
            "positions_at='concatenated' has no meaning for positions='rotary'",
        ),
        (dict(class_token=False), "pooling 'token' needs class_token"),
        (dict(patch_size=3), "image 8x16 is not divisible by patch_size 3"),
        (dict(width=33), "width 33 is not divisible by num_heads 2"),
    ],
)
def test_wrong_fields_are_refused_with_the_remedy(key, fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: small(**fields).init(key, IMAGES))
