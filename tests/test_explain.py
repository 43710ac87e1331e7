"""Explanations: relevance is conserved, and maps are true on functions whose answer is known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import SMALL, variables_of
from small import run as apply

from vitax.errors import UserError
from vitax.explain import maps
from vitax.explain.gradients import gradient_x_input, integrated_gradients
from vitax.explain.methods import METHODS, applicable, attention, explainer, head_distances, head_maps, subject
from vitax.explain.perturbation import area, without
from vitax.explain.program import run, trace
from vitax.explain.relevance import relevance
from vitax.explanation.images import methods_for

pytestmark = pytest.mark.usefixtures("quick_compile")


def small_scores(name):
    """(scores of one example, the example) of a small model."""
    case = SMALL[name]
    model, example = case.model, case.inputs[0][:1]
    if name in ("swin", "nat"):  # at a size that needs no padding: what padded tokens get is lost
        side = {"swin": 16, "nat": 24}[name]
        model = case.replaced(image_size=(side, side)) if name == "swin" else model
        example = np.random.default_rng(1).normal(size=(1, side, side, 3)).astype(np.float32)
    variables = variables_of(model, case.inputs if case.family == "clip" else (example,))
    if case.family == "clip":
        text = apply(model, variables, case.inputs[1], method="encode_text")
        return lambda x: model.apply(variables, x, method="encode_image") @ text.T, example
    if name in ("bert", "fnet-hybrid"):
        return lambda x: model.apply(variables, x)["next_logits"], example
    return lambda x: model.apply(variables, x), example


@pytest.mark.parametrize(
    "name",
    [
        "vit",
        "vit-map",
        "vit-relative",
        "vit-relative-1d",
        "vit-concatenated",
        "mlp_mixer-positions",
        "swin",
        "nat",
        "dynamic_vit",
        "clip",
        "bert",
        "mlp_mixer",
    ],
)
def test_relevance_is_conserved_in_every_block(name):
    scores, example = small_scores(name)
    program = trace(scores, example)
    shape = jax.eval_shape(scores, example)
    seed = jnp.zeros(shape.shape, shape.dtype).at[0, 1].set(1)
    found = jax.jit(lambda x: relevance(program, [x], seed))(example)
    # Where the two branches of a residual come together; scores, which are square, get a part of the relevance only.
    sums = [
        float(found.slots[step.outputs[0]].sum())
        for step in program.steps
        if step.name == "add" and step.outputs[0] in found.slots and both_vary(program, step)
        if name != "vit-relative-1d" or found.slots[step.outputs[0]].ndim == 3
    ]
    assert len(sums) >= 4
    np.testing.assert_allclose(sums, 1, atol=2e-3)
    assert all(np.isfinite(x).all() for x in found.slots.values())


def both_vary(program, step):
    return not set(step.inputs) & set(program.constants)


IMAGES = ["vit", "vit-map", "swin", "nat", "dynamic_vit", "mlp_mixer", "fnet_image"]


def test_a_resnet_keeps_its_relevance_below_the_pooling_where_positions_take_their_share():
    scores, example = small_scores("clip-resnet")
    program = trace(scores, example)
    shape = jax.eval_shape(scores, example)
    seed = jnp.zeros(shape.shape, shape.dtype).at[0, 1].set(1)
    found = jax.jit(lambda x: relevance(program, [x], seed))(example)
    sums = [
        float(found.slots[step.outputs[0]].sum())
        for step in program.steps
        if step.name == "add" and step.outputs[0] in found.slots and both_vary(program, step)
    ]
    assert len(sums) == 5
    np.testing.assert_allclose(sums, sums[0], rtol=0.02)
    assert sums[0] < 0.9


@pytest.mark.parametrize("name", IMAGES)
def test_every_method_gives_a_map_or_says_why_not(name):
    case = SMALL[name]
    model, variables, image = case.model, variables_of(case.model, case.inputs), case.inputs[0][:1]
    patch = getattr(model, "patch_size", 4)
    grid = (image.shape[1] // patch, image.shape[2] // patch)

    def kept(x):
        _, state = model.apply(variables, x, mutable=["intermediates"])
        seen = state["intermediates"]
        return {layer: seen[f"kept{stage}"][0][0] for stage, layer in enumerate(model.stages)}

    pooled = "token" if name in ("vit", "dynamic_vit") else "mean"
    prunes = {"kept": kept} if name == "dynamic_vit" else {}
    it = subject(lambda x: model.apply(variables, x), image, grid, pooled=pooled, **prunes)
    possible = applicable(it)
    for method in METHODS:
        if method in possible:
            heat = explainer(method, it)(image, 1)
            assert heat.ndim == 2
            assert np.isfinite(heat).all()
            assert heat.std() > 0 or method == "gradcam"  # it may find nothing that speaks for a class
        else:
            with pytest.raises(ValueError, match=f"{method} has no meaning for this model; choose one of"):
                explainer(method, it)
    windows = name in ("swin", "nat", "dinat")
    assert ("rollout" in possible) == (not windows and name not in ("mlp_mixer", "fnet_image"))
    assert ("relevance" in possible) == (name != "fnet_image")


def test_pruned_patches_get_nothing_from_layers_that_do_not_have_them():
    layer = jnp.asarray([[0.5, 0.5], [0.2, 0.8]])
    found = maps.placed(layer, jnp.asarray([0, 2]), 3)
    chex.assert_trees_all_close(found, jnp.asarray([[0.5, 0, 0.5], [0, 0, 0], [0.2, 0, 0.8]]))
    joint = maps.rollout([found], normalise=False)
    chex.assert_trees_all_close(joint[0], jnp.asarray([1.5, 0, 0.5]))


def attended(name, pooled, kept=lambda image: {}):
    """A small model as a `Subject`, and an image."""
    case = SMALL[name]
    variables, image = variables_of(case.model, case.inputs), case.inputs[0][:1]
    scores = lambda x: case.model.apply(variables, x)
    return subject(scores, image, (4, 6), pooled=pooled, kept=kept), image


def test_every_head_of_every_layer_has_a_map():
    it, image = attended("vit", "token")
    layers, found = attention(it, image), head_maps(it, image)
    assert found.shape == (2, 2, 4, 6)
    chex.assert_trees_all_equal(found[1, 0], layers[1][0, 0, 1:].reshape(4, 6))
    distances = head_distances(it, image)
    assert distances.shape == (2, 2)
    assert 0 < distances.min() < distances.max() < np.hypot(4, 6)


def test_both_tokens_of_a_distilled_model_are_read():
    it, image = attended("vit-distilled", "tokens")
    layers, found = attention(it, image), head_maps(it, image)
    chex.assert_trees_all_close(found[0, 1], layers[0][1, :2, 2:].mean(axis=0).reshape(4, 6), atol=1e-7)
    one = it._replace(pooled="token")
    for method in ("relevance", "rollout", "gradcam"):
        both = explainer(method, it)(image, 1)
        assert both.shape == (4, 6)
        assert np.abs(both - explainer(method, one)(image, 1)).max() > 0, "the second token counts"


def test_layers_follow_the_order_of_what_is_kept_from_them_on():
    case = SMALL["dynamic_vit"]
    model = case.replaced(keep_ratios=(0.5, 0.5))  # the second stage drops nothing, and sorts anew
    variables, image = variables_of(model, case.inputs), case.inputs[0][:1]
    _, state = apply(model, variables, image, mutable="intermediates")
    kept = {1 + k: state["intermediates"][f"kept{k}"][0][0] for k in range(2)}
    assert sorted(kept[1].tolist()) == sorted(kept[2].tolist())
    it = subject(lambda x: model.apply(variables, x), image, (4, 6), kept=lambda image: kept)
    values = run(it.program, [image])
    for number, layer in enumerate(attention(it, image)):
        bare = values[it.program.attention[number]][0]
        tokens = np.r_[0, 1 + kept[number]] if number else np.arange(25)
        chex.assert_trees_all_equal(layer[:, tokens[:, None], tokens], bare)


def test_relevance_in_float32_is_close_to_float64():
    case = SMALL["vit"]
    variables, example = variables_of(case.model, case.inputs), case.inputs[0][:1]

    def found(dtype):
        model, x = case.model.clone(dtype=dtype), jnp.asarray(example, dtype)
        weights = jax.tree.map(lambda w: jnp.asarray(w, dtype), variables)
        program = trace(lambda x: model.apply(weights, x), x)
        seed = jnp.zeros((1, 3), dtype).at[0, 1].set(1)
        return np.asarray(relevance(program, [x], seed).arguments[0])

    single = found(jnp.float32)
    with jax.enable_x64(True):
        double = found(jnp.float64)
    assert double.dtype == np.float64
    assert np.abs(single - double).max() < 1e-3 * np.abs(double).max()


def test_attention_distance_of_known_attention():
    here, uniform = jnp.eye(6)[None], jnp.full((1, 6, 6), 1 / 6)
    distance = maps.attention_distance(jnp.concatenate([here, uniform]), (2, 3))
    places = np.array([(r, c) for r in range(2) for c in range(3)])
    mean = np.mean([np.hypot(*(a - b)) for a in places for b in places])
    chex.assert_trees_all_close(distance, jnp.asarray([0, mean], jnp.float32), atol=1e-6)
    with pytest.raises(ValueError, match="7 tokens are not 0"):
        maps.attention_distance(jnp.ones((1, 7, 7)), (2, 3))


def test_position_similarity_and_filters(rng):
    positions = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    found = maps.position_similarity(positions)
    chex.assert_trees_all_close(jnp.einsum("hwhw->hw", found), jnp.ones((2, 3)), atol=1e-6)
    pictures = maps.embedding_filters(jnp.asarray(rng.normal(size=(4 * 4 * 3, 20)), jnp.float32), 4, 5)
    assert pictures.shape == (5, 4, 4, 3)
    assert pictures.min() == 0
    assert pictures.max() == 1


def test_integrated_gradients_are_complete(rng):
    x = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    score = lambda x: jnp.sum(jnp.sin(x)) ** 2
    found = integrated_gradients(score, x, steps=200)
    chex.assert_trees_all_close(found.sum(), score(x) - score(jnp.zeros_like(x)), rtol=1e-3)
    linear = lambda x: 3 * x.sum()
    chex.assert_trees_all_close(gradient_x_input(linear, x), 3 * x)
    chex.assert_trees_all_close(integrated_gradients(linear, x, steps=2), 3 * x, rtol=1e-5)


def test_perturbation_takes_the_most_or_the_least_relevant():
    image, heat = np.ones((2, 2, 3), np.float32), np.array([[4, 1], [3, 2]])
    gone = lambda **options: without(image, heat, 0.5, **options)[..., 0] == 0
    np.testing.assert_array_equal(gone(most=True), [[True, False], [True, False]])
    np.testing.assert_array_equal(gone(most=False), [[False, True], [False, True]])
    np.testing.assert_array_equal(without(image, heat, 0.25, most=True, fill=7.0)[..., 0], [[7, 1], [1, 1]])
    alike = without(np.ones((40, 40, 1)), np.zeros((40, 40)), 0.5, most=True)
    assert 0.4 < alike[:20].mean() < 0.6, "of equals, not the first rows go"
    assert area([1, 1], (0.1, 0.9)) == 1
    assert area([1, 0], (0.1, 0.9)) == 0.5


def test_what_has_no_classes_is_only_looked_at():
    assert methods_for([], True) == ["relevance"]
    assert methods_for([], False) == ["rollout"]
    assert methods_for(["attention"], False) == ["attention"]
    with pytest.raises(UserError, match="lrp explains a class, and this run has none; choose rollout or"):
        methods_for(["rollout", "lrp"], False)
