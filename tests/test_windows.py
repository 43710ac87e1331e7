import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import run, variables_of

from vitax.models.swin import Swin
from vitax.models.swinir import SIZES, SwinIR, pixel_shuffle, restore_tiled
from vitax.nn import windows
from vitax.nn.dot_product import dot_product_attention
from vitax.nn.relative import RelativeBias

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.parametrize(("grid", "window"), [((8, 12), (4, 4)), ((6, 10), (3, 5))])
def test_partition_and_reverse_are_inverse(rng, grid, window):
    x = rng.normal(size=(2, *grid, 3)).astype(np.float32)
    cut = windows.window_partition(x, window)
    h, w = window
    chex.assert_trees_all_equal(cut[1, 1].reshape(h, w, 3), x[1, :h, w : 2 * w])
    chex.assert_trees_all_equal(windows.window_reverse(cut, window, grid), x)


@pytest.mark.parametrize(
    ("size", "window", "masked"), [(56, 7, 18_240), (14, 7, 4_128), (24, 12, 36_288), (64, 8, 31_744)]
)
def test_as_many_pairs_are_masked_as_in_the_official_code(size, window, masked):
    mask = windows.shift_mask((size, size), (window, window), (window // 2, window // 2))
    assert (~mask).sum() == masked
    count = size // window
    assert (~mask).any(axis=(1, 2)).sum() == 2 * count - 1


def test_a_shifted_window_sees_only_what_lay_side_by_side(rng):
    """Pairs on a rolled map are visible if and only if they are closer than a window before the roll."""
    grid, window, shift = (8, 12), (4, 4), (2, 2)
    mask = windows.shift_mask(grid, window, shift)
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1)  # [H, W, 2]
    rolled = np.roll(places, (-2, -2), (0, 1))[None]
    cut = np.asarray(windows.window_partition(rolled, window))[0]  # [windows, N, 2]
    near = (np.abs(cut[:, :, None] - cut[:, None]) < 4).all(-1)
    assert np.array_equal(mask, near)


def test_relative_bias_depends_on_the_offset_alone():
    module = RelativeBias((3, 4), 2)
    table = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    bias = run(module, {"params": {"relative_bias": table}}).reshape(2, 3, 4, 3, 4)
    for (i, j), (k, m) in (((0, 0), (2, 3)), ((1, 2), (1, 2)), ((2, 0), (0, 3))):
        chex.assert_trees_all_equal(bias[:, i, j, k, m], table[i - k + 2, j - m + 3])


def test_one_window_without_shift_is_full_attention(rng):
    block = windows.WindowBlock(num_heads=2, window=(4, 5), shift=(0, 0), mlp_width=8, relative_bias=False)
    x = rng.normal(size=(2, 4, 5, 6)).astype(np.float32)
    variables = variables_of(block, (x,))
    _, seen = run(block, variables, x, mutable="intermediates", capture_intermediates=True)
    seen = seen["intermediates"]
    qkv = np.stack(seen["attention"]["qkv"]["__call__"][0], -2).reshape(2, 20, 3, 2, 3)
    _, weights = dot_product_attention(*jnp.moveaxis(qkv, 2, 0))
    chex.assert_trees_all_close(seen["attention"]["weights"][0][:, 0], weights, rtol=1e-5)


def test_pyramid_has_the_strides_of_dense_tasks_for_any_image():
    model = Swin(
        patch_size=4, width=8, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 2), window=7, pyramid=True, shrink_window=False
    )
    images = jax.ShapeDtypeStruct((1, 100, 172, 3), jnp.float32)
    maps = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images)
    assert {stride: m.shape[1:] for stride, m in maps.items()} == {
        4: (25, 43, 8),
        8: (13, 22, 16),
        16: (7, 11, 32),
        32: (4, 6, 64),
    }


def test_pixel_shuffle_orders_channels_as_torch_does():
    x = np.arange(2 * 3 * 8).reshape(1, 2, 3, 8)
    out = pixel_shuffle(x, 2)
    for channel in (0, 1):
        for i in (0, 1):
            for j in (0, 1):
                assert np.array_equal(out[0, i::2, j::2, channel], x[0, :, :, channel * 4 + i * 2 + j])


@pytest.mark.parametrize("size", SIZES)
def test_restored_images_have_the_scale_of_the_size(size):
    model = SwinIR(**SIZES[size])
    model = model.clone(width=12, depths=(1,), num_heads=(2,), features=8)
    images = jax.ShapeDtypeStruct((1, 11, 18, model.channels), jnp.float32)
    out = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images)
    assert out.shape == (1, 11 * model.scale, 18 * model.scale, model.channels)


def test_a_denoiser_that_predicts_nothing_returns_its_input(rng):
    model = SwinIR(
        channels=3, scale=1, upsampler="none", width=8, depths=(2,), num_heads=(2,), window=4, pixel_range=255.0
    )
    images = rng.uniform(size=(1, 6, 9, 3)).astype(np.float32)
    variables = variables_of(model, (images,))
    variables["params"]["conv_last"] = jax.tree.map(np.zeros_like, variables["params"]["conv_last"])
    chex.assert_trees_all_close(run(model, variables, images), images, atol=1e-5)


def test_tiles_that_hold_the_image_give_what_the_whole_gives(rng):
    model = SwinIR(channels=1, scale=2, width=8, depths=(2,), num_heads=(2,), window=4, features=4)
    image = rng.uniform(size=(20, 28, 1)).astype(np.float32)
    variables = variables_of(model, (image[None],))
    apply = jax.jit(lambda x: model.apply(variables, x))
    whole = apply(image[None])[0]
    one = restore_tiled(apply, image, scale=2, tile=32, overlap=0, window=4)
    chex.assert_trees_all_close(one, whole, atol=1e-6)
    tiled = restore_tiled(apply, image, scale=2, tile=16, overlap=8, window=4)
    assert tiled.shape == whole.shape
    # The corner that only the first tile covers is that tile's.
    first = apply(image[None, :16, :16])[0]
    chex.assert_trees_all_close(tiled[:8, :8], first[:8, :8], atol=1e-6)
    with pytest.raises(ValueError, match="tile 18 must be a multiple of window 4"):
        restore_tiled(apply, image, scale=2, tile=18, overlap=0, window=4)


def test_wrong_images_and_fields_are_refused(key):
    def refused(message, model, *shape):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda: model.init(key, jnp.zeros(shape)))

    refused("3 channels, but the model has 1", SwinIR(channels=1), 1, 16, 16, 3)
    refused("4x16 is too small to be reflected .*window 8; enlarge it to 5", SwinIR(), 1, 4, 16, 3)
    refused("upsampler 'nearest_conv' has no scale 3", SwinIR(upsampler="nearest_conv", scale=3), 1, 16, 16, 3)
    refused("residual '2conv' is unknown", SwinIR(residual="2conv"), 1, 16, 16, 3)
    refused("depths .* and num_heads .* differ", Swin(depths=(2, 2)), 1, 32, 32, 3)


@pytest.mark.parametrize("pad_first", [True, False])
def test_a_shifted_block_does_not_look_around_the_edge(rng, pad_first):
    """After the roll, a window holds the first and the last rows of the map; without the mask they would meet."""
    block = windows.WindowBlock(num_heads=2, window=(4, 4), shift=(2, 2), mlp_width=8, pad_first=pad_first)
    x = rng.normal(size=(1, 8, 8, 6)).astype(np.float32)
    variables = variables_of(block, (x,))
    changed = x.copy()
    changed[0, :2, :2] += 1.0
    moved = np.abs(run(block, variables, changed) - run(block, variables, x)).max(-1)[0]
    assert moved[:2, :2].min() > 1e-3
    moved[:2, :2] = 0
    assert moved.max() < 1e-6


def test_timm_shifts_a_map_before_it_is_padded(rng):
    """The two orders agree where nothing is padded, and put the padding in other places elsewhere."""
    for side, equal in ((8, True), (7, False)):
        x = rng.normal(size=(1, side, side, 6)).astype(np.float32)
        blocks = [windows.WindowBlock(2, (4, 4), (2, 2), 8, pad_first=first) for first in (True, False)]
        variables = variables_of(blocks[0], (x,))
        a, b = (run(block, variables, x) for block in blocks)
        assert np.allclose(a, b, atol=1e-6) == equal
