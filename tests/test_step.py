"""The step under two different objectives: classification, and masked images with a running statistic."""

import functools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vitax import losses, masking, metrics
from vitax.mesh import AXES, BATCH
from vitax.models.vit import ViT
from vitax.nn.blocks import Block
from vitax.nn.patches import patchify
from vitax.specs import ImageSpec
from vitax.tasks import Aux, Task, classification
from vitax.training import step as stepping
from vitax.training.sharding import fsdp_spec, state_shardings


def mesh(data, fsdp):
    devices = np.array(jax.devices()[: data * fsdp]).reshape(data, fsdp)
    return jax.sharding.Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 2)


FORMAT = ImageSpec((8, 8), 1, (0.5,), (0.25,))


def classify(**settings):
    model = ViT(
        num_classes=3,
        image_size=(8, 8),
        patch_size=4,
        width=128,
        depth=2,
        num_heads=2,
        mlp_width=256,
        pooling="mean",
        drop_path=0.1,
    )
    return classification(model, FORMAT, **settings)


class MaskedModel(nn.Module):
    """Encodes the visible patches, predicts all; keeps a running mean of the pixels, as BatchNorm would."""

    @nn.compact
    def __call__(self, patches, keep, train):
        seen = self.variable("statistics", "mean", jnp.zeros, ())
        if train and not self.is_initializing():
            seen.value = 0.9 * seen.value + 0.1 * patches.mean()
        self.variable("frozen", "offset", jnp.ones, ())
        x = nn.Dense(32, name="embed")(patches)
        x = x + self.param("pos_embed", nn.initializers.normal(), x.shape[1:])[None]
        x = Block(2, 64, name="block0")(jnp.take_along_axis(x, keep[..., None], 1), train)
        mask = self.param("mask_token", nn.initializers.normal(), (32,))
        full = jnp.broadcast_to(mask, (*patches.shape[:2], 32))
        full = full.at[jnp.arange(len(keep))[:, None], keep].set(x)
        return nn.Dense(patches.shape[-1], name="head")(Block(2, 64, name="block1")(full, train))


def masked_images(ratio=0.5):
    model = MaskedModel()

    def parts(batch, key):
        patches = patchify(batch["image"].astype(jnp.float32) / 255, 2)
        patches = patches.reshape(len(patches), -1, patches.shape[-1])
        return patches, *masking.random_masking(key, *patches.shape[:2], ratio)

    def init(key, batch):
        patches, keep, _ = parts(batch, key)
        return dict(model.init(key, patches, keep, False))

    def loss(variables, batch, key, train):
        patches, keep, visible = parts(batch, key)
        predicted, updates = model.apply(variables, patches, keep, train, mutable=["statistics"] if train else [])
        hidden = ~visible & batch["valid"][:, None]
        found = {"loss": metrics.masked(losses.patch_mse(predicted, patches), hidden)}
        return metrics.mean(found["loss"]), Aux(found, dict(updates))

    def predict(variables, batch):
        patches, keep, _ = parts(batch, jax.random.key(0))
        return {"reconstruction": model.apply(variables, patches, keep, False)}

    return Task(init, loss, predict)


TASKS = {"classification": classify, "masked_images": masked_images}


@pytest.fixture
def batch():
    return one_batch()


def one_batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (16, 8, 8, 1), dtype=np.uint8),
        "label": rng.integers(0, 3, 16).astype(np.int32),
        "valid": np.arange(16) != 5,
    }


def compiled(task, optimizer, batch, on, seed=0, ema=0.0, accumulate=1):
    sharding = NamedSharding(on, BATCH)
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=sharding) for k, v in batch.items()}
    init = stepping.make_init(task, optimizer, seed, ema=bool(ema))
    step = stepping.make_step(task, optimizer, seed, accumulate, ema)
    return stepping.compile_step(init, step, [shapes], on), jax.device_put(batch, sharding)


def trained(task, batch, on, steps=3, optimizer=None, **options):
    program, placed = compiled(task, optimizer or optax.adamw(1e-3), batch, on, **options)
    with jax.set_mesh(on):
        state, reported = program.init(), []
        for _ in range(steps):
            state, found = program.step(state, placed)
            reported.append(jax.device_get(found))
    return jax.device_get(state), reported


@pytest.mark.parametrize("name", TASKS)
def test_any_objective_trains_on_its_batch(name, batch):
    state, reported = trained(TASKS[name](), batch, mesh(1, 1), steps=30)
    means = [float(metrics.mean(r.metrics["loss"])) for r in reported]
    assert means[-1] < 0.7 * means[0]
    assert int(state.step) == 30


def test_updated_collections_move_and_frozen_ones_stay(batch):
    state, _ = trained(masked_images(), batch, mesh(1, 1), steps=2)
    mean = batch["image"].mean() / 255
    np.testing.assert_allclose(state.collections["statistics"]["mean"], mean * (1 - 0.9**2), rtol=1e-4)
    assert state.collections["frozen"]["offset"] == 1.0


@functools.cache
def run(name, layout, seed=0):
    """Five steps. SGD: Adam would blow up rounding where a gradient is zero in theory, as of the key's bias."""
    task = TASKS[name](mixup=0.8) if name == "classification" else TASKS[name]()
    return trained(task, one_batch(), mesh(*layout), 5, optax.sgd(0.01), seed=seed)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("layout", [(8, 1), (2, 4)])
def test_devices_and_their_layout_do_not_change_the_numbers(name, layout):
    # Mixup, drop path and random masking are on: their randomness must be the same too.
    (one_state, one), (many_state, many) = run(name, (1, 1)), run(name, layout)
    for a, b in zip(one, many, strict=True):
        chex.assert_trees_all_close(a.metrics["loss"], b.metrics["loss"], rtol=1e-5)
    chex.assert_trees_all_close(one_state.params, many_state.params, atol=1e-5)


def test_fsdp_splits_parameters_and_moments():
    init = stepping.make_init(classify(), optax.adamw(1e-3), 0, ema=True)
    state = stepping.abstract(jax.eval_shape(init, one_batch()), mesh(2, 4))
    kernel = state.params["block0"]["mlp"]["dense1"]["kernel"]
    assert kernel.sharding.spec == P(None, "fsdp")
    assert kernel.sharding.shard_shape(kernel.shape) == (128, 64)
    alike = [x for x in jax.tree.leaves((state.opt_state, state.ema)) if x.shape == kernel.shape]
    assert len(alike) == 2 * 3  # two layers, two moments and the average
    assert all(x.sharding.spec == P(None, "fsdp") for x in alike)


def test_fsdp_gathers_parameters_and_not_activations():
    # The same program as in `run`. Forward and backward gather each split parameter once, and nothing else.
    task, optimizer = classify(mixup=0.8), optax.sgd(0.01)
    program, _ = compiled(task, optimizer, one_batch(), mesh(2, 4))
    split = [x for x in jax.tree.leaves(program.abstract_state.params) if x.sharding.spec != P()]
    gathers = re.findall(r"= \S+ all-gather(?:-start)?\(", program.step.as_text())
    assert len(split) == 8
    assert 0 < len(gathers) <= 2 * len(split)


def test_fsdp_rule():
    assert fsdp_spec((512, 1536), 8) == P(None, "fsdp")
    assert fsdp_spec((1536, 511), 8) == P("fsdp")
    assert fsdp_spec((511, 511), 8) == P()
    assert fsdp_spec((512,), 8) == P()
    assert fsdp_spec((512, 1536), 1) == P()
    whole = state_shardings({"x": jnp.zeros(())}, mesh(1, 8))["x"]
    assert whole.spec == P()


@pytest.mark.parametrize("accumulate", [2, 8])
def test_accumulation_equals_the_large_batch(accumulate, batch):
    # Without randomness; one invalid example makes the micro-batches unequal.
    model = ViT(num_classes=3, image_size=(8, 8), patch_size=4, width=32, depth=1, num_heads=2, mlp_width=64)
    task = classification(model, FORMAT, label_smoothing=0.1)
    sgd = optax.sgd(0.1)
    states, losses_ = [], []
    for n in (1, accumulate):
        program, placed = compiled(task, sgd, batch, mesh(1, 1), accumulate=n)
        with jax.set_mesh(mesh(1, 1)):
            state = program.init()
            for _ in range(3):
                state, found = program.step(state, placed)
        states.append(jax.device_get(state.params))
        losses_.append(jax.device_get(found.metrics))
    chex.assert_trees_all_close(*states, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(*losses_, rtol=1e-5)
    assert losses_[0]["loss"][1] == 15


def test_accumulation_updates_collections_in_turn(batch):
    state, _ = trained(masked_images(), batch, mesh(1, 1), steps=1, accumulate=4)
    means = [batch["image"][i::4].mean() / 255 for i in range(4)]
    expected = 0.0
    for mean in means:
        expected = 0.9 * expected + 0.1 * mean
    np.testing.assert_allclose(state.collections["statistics"]["mean"], expected, rtol=1e-4)


def test_invalid_examples_leave_no_trace(batch):
    task = classify()
    changed = {**batch, "image": batch["image"].copy(), "label": batch["label"].copy()}
    changed["image"][5] = 77
    changed["label"][5] = (batch["label"][5] + 1) % 3
    chex.assert_trees_all_equal(
        trained(task, batch, mesh(1, 1))[0].params, trained(task, changed, mesh(1, 1))[0].params
    )


def test_moving_average_follows_its_rule(batch):
    task = classify()
    program, placed = compiled(task, optax.sgd(0.1), batch, mesh(1, 1), ema=0.3)
    with jax.set_mesh(mesh(1, 1)):
        state = program.init()
        chex.assert_trees_all_equal(state.ema, state.params)
        expected = jax.device_get(state.ema)
        for n in range(6):
            state, _ = program.step(state, placed)
            decay = min(0.3, (1 + n) / (10 + n))
            params = jax.device_get(state.params)
            expected = jax.tree.map(lambda e, p, d=decay: e * d + p * (1 - d), expected, params)
    chex.assert_trees_all_close(jax.device_get(state.ema), expected, rtol=1e-4, atol=1e-6)


def test_a_second_compilation_cannot_happen(batch):
    program, placed = compiled(classify(), optax.sgd(0.1), batch, mesh(1, 1))
    found = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: found.append(name))
    with jax.set_mesh(mesh(1, 1)):
        state = program.init()
        for _ in range(5):
            state, _ = program.step(state, placed)
    jax.monitoring.clear_event_listeners()
    assert not [name for name in found if "backend_compile" in name]
    with pytest.raises(TypeError):
        program.step(state, {k: v[:8] for k, v in placed.items()})


def test_randomness_is_a_function_of_seed_and_step():
    losses_ = [[float(r.health.loss) for r in run("classification", (1, 1), s)[1]] for s in (0, 1)]
    run.cache_clear()
    again = [float(r.health.loss) for r in run("classification", (1, 1), 0)[1]]
    assert again == losses_[0]
    assert again[1:] != losses_[1][1:]
