"""Explanations equal the official code's, compiled as a user's are."""

import chex
import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import pretrained
from vitax.explain import maps
from vitax.explain.program import gradients, run, trace
from vitax.explain.relevance import relevance
from vitax.nn.blocks import layer_norm


def final_epsilon(next_function, arguments, options, context):
    """The official ViT with relevance has 1e-5 in its last norm, and 1e-6 in all others."""
    module = context.module
    if module.name != "norm" or context.method_name != "__call__":
        return next_function(*arguments, **options)
    scale, bias = (module.get_variable("params", name) for name in ("scale", "bias"))
    return layer_norm(*arguments, scale, bias, epsilon=1e-5, dtype=module.dtype)


@pytest.fixture(scope="module")
def official():
    """The golden ViT in float64: (its program, image, its outputs)."""
    case = golden.case("explain_lrp_vit")
    data = np.load(golden.FOLDER / "explain_lrp_vit.npz")
    expected = {name.removeprefix("out64/"): data[name] for name in data.files if name.startswith("out64/")}
    with jax.enable_x64(True):
        model, variables, _ = pretrained.load(case.weights, num_heads=4, image_size=(32, 32))
        model = model.clone(dtype=jnp.float64)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        image = jnp.asarray(golden.nhwc(case.inputs["image"]), jnp.float64)

        def scores(x):
            with nn.intercept_methods(final_epsilon):
                return model.apply(variables, x)

        yield trace(scores, image), image, expected


@pytest.mark.parametrize("which", ["argmax", "class2"])
def test_relevance_is_that_of_the_official_code(official, which):
    program, image, expected = official
    with jax.enable_x64(True):
        logits = run(program, [image])[program.outputs[0]]
        chex.assert_trees_all_close(logits, expected["logits"], atol=1e-12)
        label = int(np.argmax(logits)) if which == "argmax" else 2
        seed = jnp.zeros_like(logits).at[0, label].set(1)
        found = relevance(program, [image], seed)
        shares = [found.slots[slot] for slot in program.attention]
        slopes = gradients(program, [image], seed, program.attention)
        for i, (share, slope) in enumerate(zip(shares, slopes, strict=True)):
            close(share, expected[f"attn_cam{i}_{which}"])
            close(slope, expected[f"attn_grad{i}_{which}"])
        for start in (0, 1):
            layers = [maps.attributed(g, r)[0] for g, r in zip(slopes, shares, strict=True)]
            row = maps.rollout(layers, start=start, normalise=False)[:1, 1:]
            close(row, expected[f"transformer_attribution_start{start}_{which}"])
            layers = [jax.nn.relu(r).mean(axis=1)[0] for r in shares]
            row = maps.rollout(layers, start=start, normalise=False)[:1, 1:]
            close(row, expected[f"rollout_start{start}_{which}"])
        close(found.arguments[0].sum(axis=-1), expected[f"full_{which}"])


def close(found, expected):
    """Within 1e-7 of the largest value: the code divides by sums near 0, which makes 1e-16 grow."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-7 * np.abs(expected).max()


def test_rollout_is_that_of_the_official_code():
    case = golden.case("explain_rollout_vit")
    model, variables, _ = pretrained.load(case.weights, num_heads=4, image_size=(32, 32))
    image = jnp.asarray(golden.nhwc(case.inputs["image"]))
    program = trace(lambda x: model.apply(variables, x), image)
    values = run(program, [image])
    for i, slot in enumerate(program.attention):
        case.check(f"attn{i}", values[slot])
    layers = [values[slot].mean(axis=1) for slot in program.attention]
    case.check("rollout", maps.rollout(layers)[:, 0, 1:])
    case.check("rollout_start1", maps.rollout(layers, start=1)[:, 0, 1:])
