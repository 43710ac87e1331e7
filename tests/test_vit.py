import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax.models import MODELS
from vitax.models.vit import SIZES, ViT

# Counted from timm 1.0.31 with 1000 classes; B/16 is also the figure of the official repository.
PUBLISHED = {
    ("Ti", 16, 224): 5_717_416,
    ("S", 16, 224): 22_050_664,
    ("S", 32, 224): 22_878_952,
    ("B", 8, 224): 86_576_872,
    ("B", 16, 224): 86_567_656,
    ("B", 32, 224): 88_224_232,
    ("B", 16, 384): 86_859_496,
    ("L", 14, 224): 304_203_752,
    ("L", 16, 224): 304_326_632,
    ("L", 32, 224): 306_535_400,
    ("L", 16, 384): 304_715_752,
    ("H", 14, 224): 632_045_800,
}


def count(model, image_size):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image_size, 3)))
    return sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(("size", "patch_size", "side"), PUBLISHED)
def test_parameters_are_as_many_as_published(size, patch_size, side):
    model = ViT(patch_size=patch_size, image_size=(side, side), **SIZES[size])
    assert count(model, (side, side)) == PUBLISHED[size, patch_size, side]


def test_every_size_of_every_model_is_in_the_table():
    assert set(MODELS) == {"vit"}
    assert set(MODELS["vit"][1]) == {size for size, _, _ in PUBLISHED}


def test_the_defaults_are_vit_b16():
    assert count(ViT(), (224, 224)) == 86_567_656


def golden():
    data = np.load(Path(__file__).parent / "golden" / "vit_timm_cls.npz", allow_pickle=False)
    accuracy = json.loads(str(data["config"]))["accuracy"]
    w = {name[2:]: data[name] for name in data.files if name.startswith("w/")}

    def dense(name):
        return {"kernel": w[f"{name}.weight"].T, "bias": w[f"{name}.bias"]}

    def norm(name):
        return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}

    embed = w["patch_embed.proj.weight"].transpose(2, 3, 1, 0).reshape(-1, 48)
    params = {
        "patch_embed": {"projection": {"kernel": embed, "bias": w["patch_embed.proj.bias"]}},
        "cls_token": w["cls_token"][0, 0],
        "cls_pos_embed": w["pos_embed"][0, 0],
        "pos_embed": w["pos_embed"][0, 1:].reshape(4, 4, 48),
        "norm": norm("norm"),
        "head": dense("head"),
    }
    for i in range(3):
        params[f"block{i}"] = {
            "norm1": norm(f"blocks.{i}.norm1"),
            "attention": {
                "qkv": dense(f"blocks.{i}.attn.qkv"),
                "out": dense(f"blocks.{i}.attn.proj"),
            },
            "norm2": norm(f"blocks.{i}.norm2"),
            "mlp": {
                "dense1": dense(f"blocks.{i}.mlp.fc1"),
                "dense2": dense(f"blocks.{i}.mlp.fc2"),
            },
        }
    model = ViT(
        num_classes=10, image_size=(32, 32), patch_size=8, width=48, depth=3, num_heads=4, mlp_width=192
    )  # fmt: skip
    return model, {"params": params}, data, accuracy


def test_timms_weights_give_timms_activations():
    model, variables, data, accuracy = golden()
    image = jnp.asarray(data["in/image"].transpose(0, 2, 3, 1))
    logits, seen = model.apply(
        variables, image, mutable="intermediates", capture_intermediates=True
    )
    seen = seen["intermediates"]
    found = {
        "patch_embed": seen["patch_embed"]["__call__"][0].reshape(2, 16, 48),
        "attn0": seen["block0"]["attention"]["__call__"][0],
        "block0": seen["block0"]["__call__"][0],
        "block1": seen["block1"]["__call__"][0],
        "block2": seen["block2"]["__call__"][0],
        "features": seen["tokens"][0],
        "logits": logits,
    }
    for name, value in found.items():
        expected = data[f"out/{name}"]
        allowed = max(10 * accuracy[name]["fp32_minus_fp64_maxabs"], 1e-6 * expected.std())
        assert np.abs(np.asarray(value) - expected).max() <= allowed, name


def initial(model, key, images):
    """Variables; under jit, for eager initialisation compiles every operation by itself."""
    return jax.device_get(jax.jit(model.init)(key, images))


def small(**fields):
    fields = dict(width=32, depth=2, num_heads=2, mlp_width=64, patch_size=4) | fields
    return ViT(num_classes=3, image_size=(8, 16), **fields)


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_any_height_and_width_and_batches_are_independent(key, rng, pooling):
    model = small(pooling=pooling)
    images = jnp.asarray(rng.normal(size=(3, 8, 16, 3)), jnp.float32)
    variables = initial(model, key, images)
    # The head starts at zero: give it something to say.
    variables["params"]["head"]["kernel"] = jax.random.normal(key, (32, 3))
    apply = jax.jit(model.apply)
    logits = apply(variables, images)
    permuted = apply(variables, images[jnp.array([2, 0, 1])])
    chex.assert_trees_all_close(permuted, logits[jnp.array([2, 0, 1])], rtol=1e-5, atol=1e-5)
    for height, width in ((16, 8), (12, 20), (4, 4)):
        out = apply(variables, jnp.ones((1, height, width, 3)))
        assert np.isfinite(out).all()
        assert out.shape == (1, 3)


def test_an_untrained_head_gives_equal_chances(key):
    model = small()
    images = jnp.ones((2, 8, 16, 3))
    chex.assert_trees_all_equal(model.apply(initial(model, key, images), images), jnp.zeros((2, 3)))


def test_no_head_gives_features(key):
    model = ViT(num_classes=0, image_size=(8, 8), patch_size=4, width=32, depth=1, num_heads=2)
    assert model.apply(
        initial(model, key, jnp.ones((2, 8, 8, 3))), jnp.ones((2, 8, 8, 3))
    ).shape == (
        2,
        32,
    )


def test_randomness_only_while_training(key):
    model = small(drop_path=0.5, dropout=0.1, pooling="mean")
    images = jnp.ones((4, 8, 16, 3))
    variables = initial(model, key, images)
    variables["params"]["head"]["kernel"] = jax.random.normal(key, (32, 3))
    train = [
        model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(s)})
        for s in (0, 0, 1)
    ]
    chex.assert_trees_all_equal(train[0], train[1])
    assert not np.array_equal(train[0], train[2])
    chex.assert_trees_all_equal(model.apply(variables, images), model.apply(variables, images))


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(key):
    model = small(dtype=jnp.bfloat16)
    images = jnp.ones((2, 8, 16, 3))
    variables = initial(model, key, images)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits, seen = model.apply(variables, images, mutable="intermediates")
    assert logits.dtype == jnp.float32
    assert seen["intermediates"]["tokens"][0].dtype == jnp.bfloat16


def test_remat_changes_neither_value_nor_gradient(key, rng):
    images = jnp.asarray(rng.normal(size=(2, 8, 16, 3)), jnp.float32)
    variables = initial(small(), key, images)
    variables["params"]["head"]["kernel"] = jax.random.normal(key, (32, 3))

    def gradient(model):
        return jax.jit(jax.grad(lambda v: jnp.square(model.apply(v, images)).sum()))(variables)

    chex.assert_trees_all_close(
        gradient(small()), gradient(small(remat=True)), rtol=1e-4, atol=1e-4
    )
    text = str(jax.make_jaxpr(lambda v: small(remat=True).apply(v, images))(variables))
    assert "remat" in text or "checkpoint" in text


def test_every_parameter_learns(key, rng):
    images = jnp.asarray(rng.normal(size=(2, 8, 16, 3)), jnp.float32)
    model = small()
    variables = initial(model, key, images)
    variables["params"]["head"]["kernel"] = jax.random.normal(key, (32, 3))
    grads = jax.jit(jax.grad(lambda v: jnp.square(model.apply(v, images)).sum()))(variables)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path


def test_wrong_pooling_is_refused(key):
    with pytest.raises(ValueError, match="'max' is unknown"):
        small(pooling="max").init(key, jnp.ones((1, 8, 16, 3)))
