import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vitax.errors import UserError
from vitax.models import MODELS, variable_shapes
from vitax.models.vit import ViT
from vitax.training import optim, schedule

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def params():
    model = ViT(num_classes=3, image_size=(8, 8), patch_size=4, width=16, depth=2, num_heads=2, mlp_width=32)
    return jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"]


def named(tree):
    return dict(zip(jax.tree.leaves(optim.paths(tree)), jax.tree.leaves(tree), strict=True))


def test_decay_spares_biases_norms_tokens_and_positions(params):
    decayed = {path for path, yes in named(optim.decay_mask(params)).items() if yes}
    assert decayed == {path for path in named(params) if path.endswith("kernel")}
    assert {"cls_token", "pos_embed/grid", "pos_embed/prefix", "norm/scale"} <= named(params).keys() - decayed


def test_layer_factors_number_layers_as_mae_does(params):
    factors = named(optim.layer_factors(params, 0.5))
    assert factors["patch_embed/projection/kernel"] == 0.5**3
    assert factors["cls_token"] == factors["pos_embed/grid"] == factors["pos_embed/prefix"] == 0.5**3
    assert factors["block0/mlp/dense1/kernel"] == 0.5**2
    assert factors["block1/norm1/scale"] == 0.5
    assert factors["norm/scale"] == factors["head/kernel"] == 1.0


TOWERS = {
    "clip": (
        dict(image_width=32, image_depth=3, image_heads=2, image_mlp_width=32, patch_size=8),
        {"image/patch_embed": 4, "image/norm_first": 4, "image/block0": 3, "image/block2": 1, "image/norm/": 0}
        | {"text/word_embed": 3, "text/pos_embed": 3, "text/block0": 2, "text/block1": 1, "text/projection": 0},
    ),
    "clip resnet": (
        dict(image_tower="resnet", image_width=16, image_depths=(1, 2, 1, 1), image_heads=8),
        {"image/conv1": 6, "image/norm1": 6, "image/stage0_block0": 5, "image/stage1_block0": 4}
        | {"image/stage1_block1": 3, "image/stage3_block0": 1, "image/pos_embed": 0, "image/pool": 0},
    ),
    "mae": (
        dict(patch_size=8, width=32, depth=2, num_heads=2, decoder_width=16, decoder_depth=2, decoder_num_heads=2),
        {"encoder/patch_embed": 6, "encoder/block0": 5, "encoder/block1": 4, "encoder/norm": 4}
        | {"decoder/embed": 3, "decoder/mask_token": 3, "decoder/block0": 2, "decoder/block1": 1, "decoder/pred": 0},
    ),
    "swinir": (
        dict(width=16, depths=(2, 2), num_heads=(2, 2)),
        {"conv_first": 5, "patch_norm": 5, "group0/block0": 4, "group0/block1": 3, "group0/conv": 3}
        | {"group1/block0": 2, "group1/block1": 1, "norm/": 0, "conv_last": 0},
    ),
    "transformer": (
        dict(width=16, encoder_depth=2, decoder_depth=2, num_heads=2, vocab_size=30),
        {"word_embed": 5, "encoder/block0": 4, "encoder/block1": 3, "decoder/block0": 2, "decoder/block1": 1},
    ),
    "language_model": (
        dict(width=16, depth=2, num_heads=2, vocab_size=30),
        {"word_embed": 3, "decoder/block0": 2, "decoder/block1": 1, "decoder/norm": 0},
    ),
    "bert": (
        dict(width=16, depth=2, num_heads=2, vocab_size=30),
        {"embed/word": 3, "embed/norm": 3, "block0": 2, "block1": 1, "heads/": 0},
    ),
}


@pytest.mark.parametrize("name", TOWERS)
def test_layers_of_nested_models_are_numbered_within_their_tower(name):
    """By the updates themselves: with the decay they are smaller by a power of it than without."""
    fields, layers = TOWERS[name]
    family = name.split()[0]
    sizes = dict(image_size=(32, 32)) if family in ("clip", "mae") else {}
    text = dict(text_width=32, text_depth=2, text_heads=2, vocab_size=50, context_length=8, out_width=16)
    model = MODELS[family].module(**sizes, **(text if family == "clip" else {}), **fields)
    shapes = variable_shapes(model, family, 3)["params"]
    params = jax.tree.map(lambda x: jnp.ones(x.shape), shapes)
    plain, decayed = (
        named(one_update(optim.make_optimizer(params, lambda step: 0.1, name="sgd", layer_decay=decay), params)[1])
        for decay in (1.0, 0.5)
    )
    for start, power in layers.items():
        chosen = [path for path in plain if path.startswith(start)]
        assert chosen, start
        for path in chosen:
            np.testing.assert_allclose(decayed[path], plain[path] * 0.5**power, rtol=1e-5, err_msg=path)


def test_patterns_that_match_nothing_or_are_none_are_refused(params):
    constant = lambda step: 0.1
    with pytest.raises(UserError, match=r"optim.freeze: 'blokc0' matches no parameter; paths look like"):
        optim.make_optimizer(params, constant, freeze=("blokc0",))
    with pytest.raises(UserError, match="optim.lr_factors: 'qqq' matches no"):
        optim.make_optimizer(params, constant, lr_factors={"qqq": 2.0})
    with pytest.raises(UserError, match="not a regular expression"):
        optim.make_optimizer(params, constant, freeze=("(",))
    with pytest.raises(UserError, match="'adam' is unknown; choose one of adamw"):
        optim.make_optimizer(params, constant, name="adam")


def one_update(optimizer, params, seed=1):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    grads = tree.unflatten([jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)])
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    return grads, updates


def test_adamw_equals_optax_with_the_mask(params):
    ours = optim.make_optimizer(params, lambda step: 0.1, weight_decay=0.3, b2=0.95)
    theirs = optax.adamw(0.1, b2=0.95, weight_decay=0.3, mask=optim.decay_mask(params))
    chex.assert_trees_all_close(one_update(ours, params)[1], one_update(theirs, params)[1], rtol=1e-6)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_lowers_a_loss_and_decays_only_what_it_should(name):
    params = {"kernel": jnp.full((4, 4), 2.0), "bias": jnp.full((4,), 2.0)}
    optimizer = optim.make_optimizer(params, lambda step: 1e-2, name=name, weight_decay=0.1)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert (updates["kernel"] < 0).all()
    assert (updates["bias"] == 0).all()
    loss = lambda p: sum(jnp.square(x).sum() for x in jax.tree.leaves(p))
    state, start = optimizer.init(params), loss(params)
    for _ in range(20):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < start


def test_clipping_is_by_the_global_norm(params):
    rule = optim.make_optimizer(params, lambda step: 1.0, name="sgd", momentum=0.0, clip_norm=0.5)
    _, updates = one_update(rule, params)
    chex.assert_trees_all_close(optax.tree.norm(updates), 0.5, rtol=1e-5)


def test_frozen_parameters_stay_and_do_not_count_in_the_norm(params):
    rule = optim.make_optimizer(
        params, lambda step: 1.0, name="sgd", momentum=0.0, clip_norm=0.5, freeze=("^block", "embed")
    )
    _, updates = one_update(rule, params)
    for path, update in named(updates).items():
        frozen = path.startswith("block") or "embed" in path
        assert (np.abs(update).max() == 0) == frozen, path
    chex.assert_trees_all_close(optax.tree.norm(updates), 0.5, rtol=1e-5)


def test_factors_multiply_and_survive_freezing(params):
    plain = optim.make_optimizer(params, lambda step: 0.1, name="sgd", momentum=0.0)
    rule = optim.make_optimizer(
        params,
        lambda step: 0.1,
        name="sgd",
        momentum=0.0,
        layer_decay=0.5,
        lr_factors={"mlp": 3.0, "dense1": 2.0},
        freeze=("head",),
    )
    before, after = (named(one_update(r, params)[1]) for r in (plain, rule))
    chex.assert_trees_all_close(
        after["block0/mlp/dense1/kernel"], before["block0/mlp/dense1/kernel"] * 0.25 * 6, rtol=1e-5
    )
    chex.assert_trees_all_close(after["norm/scale"], before["norm/scale"], rtol=1e-6)
    assert np.abs(after["head/kernel"]).max() == 0


def values(kind, steps, **arguments):
    curve = schedule.make_schedule(kind, **arguments)
    return [float(curve(step)) for step in steps]


def test_schedules_by_hand():
    common = dict(peak=2.0, total=110, warmup=10)
    warm = values("cosine", range(10), **common)
    np.testing.assert_allclose(warm, 0.2 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(values("cosine", [10, 35, 60, 110], **common), [2, 1 + np.sqrt(0.5), 1, 0], atol=1e-6)
    np.testing.assert_allclose(
        values("linear", [10, 60, 110, 200], final=0.5, **common), [2, 1.25, 0.5, 0.5], rtol=1e-6
    )
    np.testing.assert_allclose(values("inverse_sqrt", [10, 40], **common), [2, 1], rtol=1e-6)
    np.testing.assert_allclose(values("constant", [10, 99], **common), [2, 2], rtol=1e-6)


def test_bad_schedules_are_refused():
    with pytest.raises(UserError, match=r"takes 20 of 10 steps.*optim\.warmup"):
        schedule.make_schedule("cosine", 1.0, 10, 20)
    with pytest.raises(UserError, match="'cosin' is unknown"):
        schedule.make_schedule("cosin", 1.0, 10, 2)
    with pytest.raises(UserError, match="'square' is unknown"):
        schedule.scaled_learning_rate(1.0, "square", 512)


def test_learning_rate_scales_by_its_rule():
    assert schedule.scaled_learning_rate(1e-4, "linear", 4096) == pytest.approx(1.6e-3)
    assert schedule.scaled_learning_rate(1e-4, "sqrt", 4096) == pytest.approx(4e-4)
    assert schedule.scaled_learning_rate(1e-4, "none", 4096) == pytest.approx(1e-4)


def test_steps_halve_the_rate_at_shares_of_the_run():
    curve = schedule.make_schedule("step", 1.0, 100, 0, milestones=(0.5, 0.8))
    assert [float(curve(jnp.int32(n))) for n in (0, 49, 50, 79, 80, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    tenth = schedule.make_schedule("step", 1.0, 100, 0, milestones=(0.5, 0.8), milestone_factor=0.1)
    assert [float(tenth(jnp.int32(n))) for n in (49, 50, 80)] == pytest.approx([1, 0.1, 0.01])
    with pytest.raises(UserError, match="milestone_factor=1.0 must lie"):
        schedule.make_schedule("step", 1.0, 100, 0, milestones=(0.5,), milestone_factor=1.0)
    for bad in ((), (50.0, 80.0), (0.8, 0.5)):
        with pytest.raises(UserError, match="must be ascending shares of the run"):
            schedule.make_schedule("step", 1.0, 100, 0, milestones=bad)
    with pytest.raises(UserError, match="must be ascending shares"):
        schedule.make_schedule("cosine", 1.0, 100, 0, milestones=(0.5,))


@pytest.mark.parametrize("family", ["swin", "nat"])
def test_what_reduces_the_resolution_belongs_to_the_block_before_it(family):
    model = MODELS[family].module(num_classes=3, width=16, depths=(2, 1, 1), num_heads=(1, 1, 1))
    factors = named(optim.layer_factors(variable_shapes(model, family)["params"], 0.5))
    between = "merge{}/reduction/kernel" if family == "swin" else "downsample{}/kernel"
    for stage, block in enumerate((1, 2)):
        assert factors[between.format(stage)] == factors[f"block{block}/norm1/scale"] == 0.5 ** (4 - block)
    first = "patch_embed/projection/kernel" if family == "swin" else "tokenizer0/kernel"
    assert (factors[first], factors["head/kernel"]) == (0.5**5, 1)


def test_train_names_the_only_parameters_that_change(params):
    frozen = named(optim.frozen_mask(params, train="head"))
    assert {path for path, stays in frozen.items() if not stays} == {"head/kernel", "head/bias"}
    with pytest.raises(UserError, match="optim.train: 'tail' matches no parameter"):
        optim.frozen_mask(params, train="tail")
