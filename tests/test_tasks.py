"""Objectives beyond classification: what their losses are made of, by an independent route."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import SMALL, run, variables_of

from vitax import losses, masking
from vitax.models.transformer import LanguageModel
from vitax.nn.patches import patchify
from vitax.specs import ImageSpec, MaskSpec, PairSpec, RestorationSpec, TextSpec
from vitax.tasks import TASKS
from vitax.training.step import make_init, make_step

pytestmark = pytest.mark.usefixtures("quick_compile")

RGB = ImageSpec((16, 24), 3, (0.5,) * 3, (0.25,) * 3)
TEXT = TextSpec(length=12, vocab_size=30, pad=0, begin=2, end=3, mask=4, pairs=True)


def images(rng, b=4, height=16, width=24, channels=3):
    return rng.integers(0, 256, (b, height, width, channels), dtype=np.uint8)


def make(name, small, spec, **settings):
    model = SMALL[small].model
    return model, TASKS[name].factory(model, spec, **settings)


def draw(task, batch, seed=0):
    """Variables of a task, drawn by NumPy."""
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: (rng.normal(size=x.shape) * 0.1).astype(np.float32), shapes)


@pytest.mark.parametrize("normalize", [True, False])
def test_masked_images_cost_what_is_hidden_and_nothing_else(rng, normalize):
    model, task = make("masked_image", "mae", RGB, mask_ratio=0.75, normalize_targets=normalize)
    batch = {"image": images(rng), "valid": np.array([True, True, False, True])}
    variables, key = draw(task, batch), jax.random.key(3)
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, key, True)
    mask_key, _ = jax.random.split(key)
    keep, visible = masking.random_masking(mask_key, 4, 24, 0.75)
    image = batch["image"].astype(np.float32) / 255 * 4 - 2
    pixels = model.apply(variables, image, keep, train=True, rngs={"dropout": key})
    target = np.asarray(patchify(jnp.asarray(image), 4)).reshape(pixels.shape)
    if normalize:
        spread = np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
        target = (target - target.mean(-1, keepdims=True)) / spread
    errors = np.square(np.asarray(pixels) - target).mean(-1)
    counted = ~np.asarray(visible) & batch["valid"][:, None]
    assert counted.sum() == 3 * 18
    assert float(aux.metrics["loss"][1]) == 3 * 18
    assert float(value) == pytest.approx(errors[counted].mean(), rel=1e-5)


def test_a_reconstruction_keeps_what_was_visible(rng):
    _, task = make("masked_image", "mae", RGB, mask_ratio=0.5)
    batch = {"image": images(rng), "valid": np.ones(4, bool)}
    out = jax.jit(task.predict)(draw(task, batch), batch)
    assert out["visible"].sum(1).tolist() == [12] * 4
    seen = np.asarray(out["visible"]).reshape(4, 4, 6).repeat(4, 1).repeat(4, 2)
    assert np.array_equal(np.asarray(out["reconstruction"])[seen], batch["image"][seen])
    assert out["features"].shape == (4, 32)


def test_token_pruning_adds_its_four_losses(rng):
    model, task = make("token_pruning", "dynamic_vit", RGB, ratio_weight=3.0, logit_weight=0.25, token_weight=0.75)
    batch = {"image": images(rng), "label": np.array([0, 1, 2, 1], np.int32), "valid": np.ones(4, bool)}
    variables, key = draw(task, batch), jax.random.key(5)
    assert set(variables) == {"params", "teacher"}
    assert not any(name.startswith("predictor") for name in variables["teacher"])
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, key, True)
    parts = {name: float(total / count) for name, (total, count) in aux.metrics.items()}
    expected = parts["cross_entropy"] + 3 * parts["keep_ratio"]
    expected += 0.25 * parts["logit_distillation"] + 0.75 * parts["token_distillation"]
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(value) == pytest.approx(parts["loss"], rel=1e-5)

    def teacher_only(teacher):
        return task.loss({**variables, "teacher": teacher}, batch, key, True)[0]

    gradient = jax.jit(jax.grad(teacher_only))(variables["teacher"])
    assert not any(np.abs(x).max() for x in jax.tree.leaves(gradient))
    # A student that is its teacher, and drops nothing that matters, differs from it in nothing but what is dropped.
    dense = model.clone(stages=(), keep_ratios=())
    image = batch["image"].astype(np.float32) / 255 * 4 - 2
    logits = run(dense, {"params": variables["params"]}, image)
    _, tested = jax.jit(task.loss, static_argnums=3)(variables, batch, key, False)
    right = float((np.asarray(logits).argmax(-1) == batch["label"]).sum())
    assert float(tested.metrics["accuracy_dense"][0]) == right


def test_contrastive_leaves_invalid_pairs_out_and_clips_its_scale(rng):
    spec = PairSpec(RGB, TextSpec(9, 30, 0, 2, 3, 4))
    _, task = make("contrastive", "clip", spec, max_scale=20.0)
    tokens = rng.integers(5, 30, (4, 9)).astype(np.int32)
    batch = {"image": images(rng), "tokens": tokens, "valid": np.array([True, True, True, False])}
    variables = draw(task, batch)
    variables["params"]["logit_scale"] = np.float32(10.0)
    run = jax.jit(task.loss, static_argnums=3)
    value, aux = run(variables, batch, jax.random.key(0), True)
    assert float(aux.metrics["scale"][0]) == 20.0
    three = {name: x[:3] for name, x in batch.items()}
    alone, _ = jax.jit(task.loss, static_argnums=3)(variables, three, jax.random.key(0), True)
    assert float(value) == pytest.approx(float(alone), rel=1e-5)
    out = jax.jit(task.predict)(variables, three)
    expected = losses.contrastive(out["image"], out["text"], jnp.float32(20.0)).mean()
    assert float(alone) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match="does not suit model.logit_bias=False"):
        make("contrastive", "clip", spec, loss="sigmoid")


def test_masked_words_count_words_and_the_next_passage(rng):
    _, task = make("masked_words", "bert", TEXT, max_predictions=3)
    tokens = rng.integers(5, 30, (4, 12)).astype(np.int32)
    tokens[:, 0], tokens[:, 6], tokens[:, 9:] = 2, 3, 0
    batch = {
        "tokens": tokens,
        "segments": np.zeros_like(tokens),
        "next": np.array([0, 1, 1, 0], np.int32),
        "valid": np.array([True, True, True, False]),
    }
    variables = draw(task, batch)
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(1), False)
    assert float(aux.metrics["perplexity"][1]) == 3  # 7 words a text, 15 % of them is one
    assert float(aux.metrics["next_accuracy"][1]) == 3
    words = float(aux.metrics["perplexity"][0]) / 3
    assert float(value) > words
    with pytest.raises(ValueError, match="predicts no words; choose 'pretraining'"):
        make("masked_words", "fnet-hybrid", TEXT)
    with pytest.raises(ValueError, match="has no mask token"):
        make("masked_words", "bert", TEXT._replace(mask=-1))


@pytest.mark.parametrize("small", ["transformer", "rnn_seq2seq"])
def test_translation_ignores_padding_and_decodes_what_its_own_scores_say(rng, small):
    _, task = make("translation", small, TEXT, beam=1)
    source = rng.integers(5, 30, (3, 12)).astype(np.int32)
    target = rng.integers(5, 30, (3, 12)).astype(np.int32)
    target[:, 0], target[:, 7], target[:, 8:] = 2, 3, 0
    source[:, 9:] = 0
    batch = {"source": source, "target": target, "valid": np.ones(3, bool)}
    variables = draw(task, batch, seed=1)
    variables = jax.tree.map(lambda x: x * 4, variables)
    loss = jax.jit(task.loss, static_argnums=3)
    value, aux = loss(variables, batch, jax.random.key(0), False)
    assert float(aux.metrics["loss"][1]) == 21
    shorter = {"source": source[:, :9], "target": target[:, :8], "valid": batch["valid"]}
    same, _ = jax.jit(task.loss, static_argnums=3)(variables, shorter, jax.random.key(0), False)
    assert float(value) == pytest.approx(float(same), rel=1e-4)
    found = np.asarray(jax.jit(task.predict)(variables, batch)["tokens"])
    # Forced along its own greedy output, the model finds each of these tokens the most probable.
    model = SMALL[small].model
    begun = np.concatenate([np.full((3, 1), 2), found], axis=1)[:, :-1].astype(np.int32)
    logits = run(model, variables, source, begun, source_mask=source != 0)
    for row, scores in zip(found, np.asarray(logits), strict=True):
        size = int((row == 3).argmax()) + 1 if (row == 3).any() else len(row)
        assert np.array_equal(scores.argmax(-1)[:size], row[:size])


def test_a_language_model_goes_on_from_what_is_there(rng):
    _, task = make("language", "language_model", TEXT)
    tokens = rng.integers(5, 30, (3, 12)).astype(np.int32)
    tokens[:, 0], tokens[:, 6:] = 2, 0
    batch = {"tokens": tokens, "valid": np.ones(3, bool)}
    variables = draw(task, batch)
    found = np.asarray(jax.jit(task.predict)(variables, batch)["tokens"])
    assert np.array_equal(found[:, :5], tokens[:, 1:6])
    _, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(0), False)
    assert float(aux.metrics["loss"][1]) == 15


@pytest.mark.parametrize("small", ["language_model", "transformer", "rnn_seq2seq"])
def test_logits_in_chunks_change_neither_the_loss_nor_its_gradient(rng, small):
    """11 places in 3 chunks of 4, the last of which is filled up."""
    objective = "language" if small == "language_model" else "translation"
    tokens = rng.integers(5, 30, (3, 12)).astype(np.int32)
    tokens[1, 8:] = 0
    keys = ("tokens",) if objective == "language" else ("source", "target")
    batch = {**dict.fromkeys(keys, tokens), "valid": np.array([True, True, False])}
    found = {}
    for chunks in (1, 3):
        _, task = make(objective, small, TEXT, label_smoothing=0.1, logits_chunks=chunks)
        loss = lambda variables, task=task: task.loss(variables, batch, jax.random.key(0), True)
        # The gradient flows through the same function in all three.
        whole = jax.value_and_grad(loss, has_aux=True) if small == "language_model" else loss
        found[chunks] = jax.jit(whole)(draw(task, batch))
    chex.assert_trees_all_close(found[1], found[3], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="logits_chunks=0 must be at least 1"):
        make(objective, small, TEXT, logits_chunks=0)


def test_logits_in_chunks_need_less_memory():
    """512 places with 4,096 logits each are 8 MiB; in 8 chunks, 1 MiB."""
    batch = {"tokens": np.ones((4, 129), np.int32), "valid": np.ones(4, bool)}
    spec = TEXT._replace(length=129, vocab_size=4096)
    model = LanguageModel(vocab_size=4096, width=16, depth=1, num_heads=2, mlp_width=16)
    needed = {}
    for chunks in (1, 8):
        task = TASKS["language"].factory(model, spec, logits_chunks=chunks)
        step = jax.jit(jax.grad(lambda variables, task=task: task.loss(variables, batch, jax.random.key(0), True)[0]))
        program = step.lower(draw(task, batch)).compile()
        needed[chunks] = program.memory_analysis().temp_size_in_bytes / 2**20
    assert needed[1] > 8
    assert needed[8] < 5


def test_restoration_measures_on_the_scale_of_the_picture(rng):
    _, task = make("restoration", "swinir", RestorationSpec(9, 2, 3), loss="l1")
    image = images(rng, 2, 18, 28)
    batch = {"damaged": images(rng, 2, 9, 14).astype(np.float32), "image": image, "valid": np.ones(2, bool)}
    variables = draw(task, batch)
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(0), False)
    restored = run(SMALL["swinir"].model, variables, batch["damaged"] / 255)
    expected = np.abs(np.asarray(restored) - image / 255).mean()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    out = jax.jit(task.predict)(variables, batch)["restored"]
    error = np.square(np.clip(restored, 0, 1) - image / 255).mean((1, 2, 3))
    assert float(aux.metrics["patch_psnr"][0]) / 2 == pytest.approx((-10 * np.log10(error)).mean(), rel=1e-4)
    assert out.dtype == jnp.uint8
    with pytest.raises(ValueError, match="model.scale=2 and model.channels=3 must be data.scale=4"):
        make("restoration", "swinir", RestorationSpec(9, 4, 3))


def test_no_gradient_flows_through_what_is_frozen(rng):
    """The head of a linear probe learns, the encoder does not, and its backward pass is not even computed."""
    _, task = make("classification", "vit", RGB)
    batch = {"image": images(rng), "label": np.array([0, 1, 2, 0], np.int32), "valid": np.ones(4, bool)}
    optimizer = optax.sgd(0.1)
    state = jax.jit(make_init(task, optimizer, 0, ema=False))(batch)
    frozen = jax.tree_util.tree_map_with_path(lambda path, _: path[0].key != "head", state.params)
    costs = {}
    for name, mask in (("all", None), ("head", frozen)):
        step = jax.jit(make_step(task, optimizer, 0, frozen=mask)).lower(state, batch).compile()
        costs[name] = step.cost_analysis()["flops"]
        moved, reported = step(state, batch)
        assert np.isfinite(float(reported.health.loss))
    assert costs["head"] < 0.55 * costs["all"]
    chex.assert_trees_all_equal(moved.params["block0"], state.params["block0"])
    assert np.abs(moved.params["head"]["bias"]).max() > 0


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)])
def test_segmentation_counts_pixels_and_its_auxiliary_head(rng, weights):
    model, task = make("segmentation", "swin_segmenter", MaskSpec(RGB, ("a", "b", "c")), class_weights=weights)
    batch = {"image": images(rng), "mask": rng.integers(-1, 3, (4, 16, 24)).astype(np.int16)}
    batch["valid"] = np.array([True, True, False, True])
    variables, key = draw(task, batch), jax.random.key(7)
    variables["batch_stats"] = jax.tree.map(lambda x: np.abs(x) + 0.5, variables["batch_stats"])
    value, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, key, True)
    image = batch["image"].astype(np.float32) / 255 * 4 - 2
    rngs, changed = {"dropout": key}, ["batch_stats"]
    out, updates = model.apply(variables, image, train=True, rngs=rngs, mutable=changed)
    counts = (batch["mask"] >= 0) & batch["valid"][:, None, None]

    def cross_entropy(logits, weights):
        log_p = np.asarray(jax.nn.log_softmax(logits))[counts]
        true = batch["mask"][counts].astype(int)
        return -(log_p[np.arange(len(true)), true] * np.array(weights or (1.0, 1.0, 1.0))[true]).mean()

    expected = cross_entropy(out.logits, weights) + 0.4 * cross_entropy(out.auxiliary, weights)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert float(aux.metrics["loss"][1]) == counts.sum()
    chex.assert_trees_all_close(aux.updates["batch_stats"], updates["batch_stats"], rtol=1e-4)
    tested, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, key, False)
    logits = model.apply(variables, image)
    assert float(tested) == pytest.approx(cross_entropy(logits, ()), rel=1e-4)
    right = (np.asarray(logits).argmax(-1) == batch["mask"])[counts]
    assert float(aux.metrics["pixel_accuracy"][0]) == right.sum()
    for wrong in (dict(class_weights=(1.0,)), dict(auxiliary_weight=-1.0)):
        with pytest.raises(ValueError, match="must"):
            make("segmentation", "swin_segmenter", MaskSpec(RGB, ("a", "b", "c")), **wrong)


def test_every_task_is_tried():
    tried = (
        "segmentation classification masked_image token_pruning contrastive masked_words text_classification multilabel regression "
        "text_multilabel text_regression detection"  # detection: tests/test_detection.py
    )
    assert set(TASKS) == {*tried.split(), "translation", "language", "restoration"}


def test_classes_of_texts(rng):
    _, task = make("text_classification", "fnet-hybrid", TEXT)
    tokens = rng.integers(5, 30, (4, 12)).astype(np.int32)
    batch = {
        "tokens": tokens,
        "segments": np.zeros_like(tokens),
        "label": np.array([0, 1, 1, 0], np.int32),
        "valid": np.array([True, True, True, False]),
    }
    variables = draw(task, batch)
    value, _ = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(0), False)
    logits = jax.jit(task.predict)(variables, batch)["logits"][:3]
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"][:3]).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match="has no classes"):
        make("text_classification", "bert", TEXT)


def test_a_batch_norm_before_the_head_learns_its_statistics(rng):
    model = SMALL["vit"].replaced(head_norm=True)
    task = TASKS["classification"].factory(model, RGB)
    batch = {"image": images(rng), "label": np.array([0, 1, 2, 0], np.int32), "valid": np.ones(4, bool)}
    variables = {**variables_of(model, (np.zeros((4, 16, 24, 3), np.float32),))}
    _, aux = jax.jit(task.loss, static_argnums=3)(variables, batch, jax.random.key(0), True)
    features = run(
        model.clone(num_classes=0, head_norm=False),
        {"params": variables["params"]},
        batch["image"].astype(np.float32) / 255 * 4 - 2,
    )
    before = variables["batch_stats"]["head_norm"]["mean"]
    expected = 0.9 * before + 0.1 * np.asarray(features).mean(0)
    chex.assert_trees_all_close(aux.updates["batch_stats"]["head_norm"]["mean"], expected, rtol=1e-4, atol=1e-5)
    assert isinstance(model, nn.Module)


def test_hidden_patches_cost_the_encoder_neither_memory_nor_work():
    """At 75 % at most half the temporary memory and 0.45 of the work of the same step on nearly all patches."""
    model = SMALL["mae"].replaced(image_size=(32, 32), width=128, depth=2, num_heads=4, mlp_width=512)
    batch = {"image": np.zeros((8, 32, 32, 3), np.uint8), "valid": np.ones(8, bool)}
    memory, flops = [], []
    for ratio in (0.75, 0.02):
        task = TASKS["masked_image"].factory(model, RGB._replace(image_size=(32, 32)), mask_ratio=ratio)
        variables = jax.eval_shape(task.init, jax.random.key(0), batch)
        gradient = jax.grad(lambda v, b, k, task=task: task.loss(v, b, k, True)[0])
        step = jax.jit(gradient).lower(variables, batch, jax.random.key(0)).compile()
        memory.append(step.memory_analysis().temp_size_in_bytes)
        flops.append(step.cost_analysis()["flops"])
    assert memory[0] < 0.5 * memory[1]
    assert flops[0] < 0.45 * flops[1]
