import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.training import optim

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
    schedule = optim.make_schedule(kind, **arguments)
    return [float(schedule(step)) for step in steps]


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
        optim.make_schedule("cosine", 1.0, 10, 20)
    with pytest.raises(UserError, match="'cosin' is unknown"):
        optim.make_schedule("cosin", 1.0, 10, 2)
    with pytest.raises(UserError, match="'square' is unknown"):
        optim.scaled_learning_rate(1.0, "square", 512)


def test_learning_rate_scales_by_its_rule():
    assert optim.scaled_learning_rate(1e-4, "linear", 4096) == pytest.approx(1.6e-3)
    assert optim.scaled_learning_rate(1e-4, "sqrt", 4096) == pytest.approx(4e-4)
    assert optim.scaled_learning_rate(1e-4, "none", 4096) == pytest.approx(1e-4)


def test_steps_halve_the_rate_at_shares_of_the_run():
    curve = optim.make_schedule("step", 1.0, 100, 0, milestones=(0.5, 0.8))
    assert [float(curve(jnp.int32(n))) for n in (0, 49, 50, 79, 80, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    for bad in ((), (50.0, 80.0), (0.8, 0.5)):
        with pytest.raises(UserError, match="needs ascending shares of the run"):
            optim.make_schedule("step", 1.0, 100, 0, milestones=bad)
    with pytest.raises(UserError, match="needs ascending shares"):
        optim.make_schedule("cosine", 1.0, 100, 0, milestones=(0.5,))
