"""Transformer, language model, recurrence, BERT, FNet, CLIP's texts: causality, padding, caches, transforms."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import SMALL, run, variables_of

from vitax.generate import beam_search
from vitax.models.clip import end_position
from vitax.models.dynamic_vit import gumbel_keep, policy_softmax
from vitax.nn.mixing import fourier
from vitax.nn.positions import sincos

pytestmark = pytest.mark.usefixtures("quick_compile")

SEQ2SEQ = ["transformer", "transformer-prenorm", "rnn_seq2seq", "rnn-lstm"]


@pytest.mark.parametrize("name", [*SEQ2SEQ, "language_model"])
def test_no_token_depends_on_those_after_it(name):
    small = SMALL[name]
    model, inputs = small.model, small.inputs
    variables = variables_of(model, inputs)
    apply = jax.jit(model.apply)
    out = apply(variables, *inputs)
    for place in range(inputs[-1].shape[1]):
        changed = inputs[-1].copy()
        changed[:, place] = (changed[:, place] + 1) % 30
        other = apply(variables, *inputs[:-1], changed)
        moved = np.abs(other - out).max(axis=(0, 2)) > 1e-6
        assert not moved[:place].any()
        assert moved[place]


def test_causality_by_gradient():
    """Of the logits at n with respect to the input of every block, nothing after n."""
    from vitax.nn.stacks import Decoder

    decoder = Decoder(depth=2, num_heads=2, mlp_width=12)
    x = np.random.default_rng(0).normal(size=(1, 6, 8)).astype(np.float32)
    variables = variables_of(decoder, (x,))
    jacobian = jax.jit(jax.jacobian(lambda x: decoder.apply(variables, x)[0].sum(-1)))(x)
    seen = np.abs(jacobian[:, 0]).max(-1) > 0  # [query, key]
    chex.assert_trees_all_equal(seen, np.tril(np.ones((6, 6), bool)))


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_what_is_padded_changes_nothing(name):
    small = SMALL[name]
    model, (source, target) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    apply = jax.jit(model.apply)
    lengths = np.array([[7], [4]])
    mask = np.arange(7)[None] < lengths
    out = apply(variables, source, target, source_mask=mask)
    other = np.where(mask, source, 29)
    chex.assert_trees_all_close(apply(variables, other, target, source_mask=mask), out, atol=1e-6)
    # As if the shorter one had stood alone.
    alone = apply(variables, source[1:, :4], target[1:])
    chex.assert_trees_all_close(alone[0], out[1], rtol=1e-4, atol=1e-5)
    # Longer padding changes nothing either.
    longer = np.pad(source, ((0, 0), (0, 5)))
    wider = np.pad(mask, ((0, 0), (0, 5)))
    chex.assert_trees_all_close(apply(variables, longer, target, source_mask=wider), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_one_token_at_a_time_gives_the_same_logits(name):
    small = SMALL[name]
    model, (source, target) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    mask = np.arange(7)[None] < np.array([[7], [4]])
    expected = run(model, variables, source, target, source_mask=mask)
    memory = run(model, variables, source, mask, method="encode")
    cache = {}

    def step(cache, token, position):
        return run(
            model,
            {**variables, **cache},
            token,
            memory,
            mask,
            position=position,
            cache_length=9,
            method="decode",
            mutable=["cache"],
        )

    step = jax.jit(step)
    for i in range(target.shape[1]):
        logits, cache = step(cache, target[:, i : i + 1], jnp.int32(i))
        chex.assert_trees_all_close(logits[:, 0], expected[:, i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_beams_are_those_of_a_search_without_a_cache(name):
    small, beam, length = SMALL[name], 3, 9
    model, (source, _) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    variables = jax.tree.map(lambda x: x * 3, variables)  # decided, so that beams change places
    memory = run(model, variables, source, method="encode")
    decode = partial(run, model, method="decode")
    crossings = []

    def with_cache(token, position, cache, lineage):
        options = dict(target_mask=lineage, position=position, cache_length=length, mutable=["cache"])
        logits, cache = decode({**variables, **cache}, token[:, None], memory, **options)
        return logits[:, 0], cache

    def without(token, position, cache, lineage):
        texts = cache.get("texts", jnp.zeros((len(token), length), jnp.int32))
        if cache:
            parents = lineage.parents(position)
            jax.debug.callback(crossings.append, (parents != jnp.arange(len(token))).sum())
            texts = texts[parents]
        texts = texts.at[:, position].set(token)
        logits = decode(variables, texts, memory)
        return jax.lax.dynamic_index_in_dim(logits, position, axis=1, keepdims=False), {"texts": texts}

    search = partial(beam_search, batch=len(source), beam=beam, begin=1, end=2, pad=0, length=length)
    found, expected = jax.jit(lambda: search(with_cache))(), jax.jit(lambda: search(without))()
    assert np.array_equal(found[0], expected[0])
    chex.assert_trees_all_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    assert sum(map(int, crossings)) > 3, "beams changed places"


def test_a_language_model_decodes_from_its_cache():
    small = SMALL["language_model"]
    model, (tokens,) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    expected, cache = run(model, variables, tokens), {}
    for i in range(tokens.shape[1]):
        logits, cache = run(
            model,
            {**variables, **cache},
            tokens[:, i : i + 1],
            position=jnp.int32(i),
            cache_length=7,
            mutable=["cache"],
        )
        chex.assert_trees_all_close(logits[:, 0], expected[:, i], rtol=1e-4, atol=1e-5)


def test_sinusoids_of_the_paper_and_of_marian():
    waves = sincos(np.arange(50), 512, interleaved=True)
    for place, i in ((0, 0), (3, 0), (7, 5), (49, 255)):
        angle = place / 10000 ** (2 * i / 512)
        assert abs(waves[place, 2 * i] - np.sin(angle)) < 1e-6
        assert abs(waves[place, 2 * i + 1] - np.cos(angle)) < 1e-6
    halves = sincos(np.arange(50), 512)
    chex.assert_trees_all_equal(halves[:, :256], waves[:, ::2])
    chex.assert_trees_all_equal(halves[:, 256:], waves[:, 1::2])


@pytest.mark.parametrize("name", ["bert", "fnet-hybrid"])
def test_padding_of_texts(name):
    small = SMALL[name]
    model, (tokens,) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    mask = np.arange(12)[None] < np.array([[12], [5]])
    other = np.where(mask, tokens, 3)
    out, changed = (run(model, variables, x, mask=mask)["tokens"] * mask[:, :, None] for x in (tokens, other))
    same = np.abs(out - changed).max() < 1e-6
    # Fourier mixing sees padding, as the paper has it.
    assert same == (name == "bert")
    if name == "bert":
        alone = run(model, variables, tokens[1:, :5])["tokens"]
        chex.assert_trees_all_close(out[1, :5], alone[0], rtol=1e-4, atol=1e-5)


def test_words_are_predicted_only_where_asked():
    small = SMALL["bert"]
    model, (tokens,) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    places = np.array([[3, 0, 11], [5, 5, 1]])
    everywhere = run(model, variables, tokens)["word_logits"]
    some = run(model, variables, tokens, places=places)["word_logits"]
    expected = np.take_along_axis(everywhere, places[:, :, None], axis=1)
    chex.assert_trees_all_close(some, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 16, 12), (1, 7, 10), (1, 1, 5), (3, 128, 64)])
def test_the_fourier_transform_by_matrices_equals_the_fft(rng, shape):
    x = rng.normal(size=shape).astype(np.float32)
    expected = np.fft.fft2(x.astype(np.float64), axes=(1, 2)).real
    allowed = 3e-6 * np.abs(expected).max()
    for method in ("fft", "matmul"):
        assert np.abs(fourier(x, method) - expected).max() < allowed, method


def test_mixing_twice_mirrors(rng):
    x = rng.normal(size=(1, 6, 8)).astype(np.float32)
    mirrored = np.roll(x[:, ::-1, ::-1], (1, 1), (1, 2))
    chex.assert_trees_all_close(fourier(fourier(x)), 6 * 8 * (x + mirrored) / 2, atol=1e-4)


def test_dropped_tokens_are_as_if_they_were_not_there(rng):
    scores = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    ones = policy_softmax(jnp.ones((1, 5)), scores)
    chex.assert_trees_all_close(ones, jax.nn.softmax(scores), atol=1e-6)
    policy = jnp.array([[1.0, 0.0, 1.0, 1.0, 0.0]])
    weights = policy_softmax(policy, scores)
    kept = np.array([0, 2, 3])
    without = jax.nn.softmax(scores[:, :, kept][..., kept])
    chex.assert_trees_all_close(weights[:, :, kept][..., kept], without, atol=2e-6)
    # A dropped token still sees itself.
    chex.assert_trees_all_close(weights[0, :, 1, 1] > 0.05, jnp.array([True, True]))


def test_gumbel_decisions_are_hard_and_have_a_soft_gradient(key):
    log_probs = jax.nn.log_softmax(jax.random.normal(key, (2, 50, 2)))
    noise = jax.random.gumbel(jax.random.key(1), (2, 50, 2))
    keep = gumbel_keep(log_probs, noise)
    assert set(np.unique(np.round(keep, 6))) == {0.0, 1.0}
    hard, soft = (
        jax.grad(lambda p, f=f: f(p).sum())(log_probs)
        for f in (lambda p: gumbel_keep(p, noise), lambda p: jax.nn.softmax(p + noise)[..., 0])
    )
    chex.assert_trees_all_close(hard, soft, atol=1e-6)


def test_inference_keeps_the_stated_number_of_the_best(rng):
    small = SMALL["dynamic_vit"]
    model, (images,) = small.model, small.inputs
    variables = variables_of(model, small.inputs)
    _, seen = run(model, variables, images, mutable="intermediates", capture_intermediates=True)
    seen = seen["intermediates"]
    assert seen["kept0"][0].shape == (2, int(24 * 0.7))
    assert seen["kept1"][0].shape == (2, int(24 * 0.49))
    assert seen["block2"]["__call__"][0].shape == (2, 1 + int(24 * 0.49), 32)
    scores = seen["predictor0"]["__call__"][0][:, :, 0]
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :16]
    assert np.array_equal(seen["kept0"][0], expected)
    for row in np.asarray(seen["kept1"][0]):
        assert len(set(row)) == len(row)
    with pytest.raises(ValueError, match=r"leave \[12, 16\] of 24 patches; they must not grow"):
        small.replaced(keep_ratios=(0.5, 0.7)).apply(variables, images)


def test_clip_reads_a_text_at_its_end_and_nothing_after_it():
    small = SMALL["clip"]
    tokens = np.array([[28, 3, 4, 29, 0, 0, 0, 0, 0], [28, 5, 6, 7, 8, 29, 0, 0, 0]])
    assert list(end_position(tokens, -1)) == [3, 5]
    assert list(end_position(tokens, 4)) == [2, 0]
    model = small.model
    variables = variables_of(model, small.inputs)
    after = tokens.copy()
    after[0, 4:] = [1, 2, 3, 4, 5]
    out, other = (run(model, variables, x, method="encode_text") for x in (tokens, after))
    chex.assert_trees_all_close(out, other, atol=1e-6)
    with pytest.raises(ValueError, match="texts of 12 tokens exceed context_length 9"):
        run(model, variables, np.ones((1, 12), int), method="encode_text")


def test_clip_features_have_length_one_and_the_temperature_of_the_paper(key):
    small = SMALL["clip"]
    out = small.model.apply(jax.jit(small.model.init)(key, *small.inputs), *small.inputs)
    for features in (out.image, out.text):
        chex.assert_trees_all_close(jnp.linalg.norm(features, axis=-1), jnp.ones(2), rtol=1e-5)
    chex.assert_trees_all_close(out.scale, jnp.float32(1 / 0.07), rtol=1e-6)


def test_running_statistics_of_the_resnet_follow_the_batch():
    small = SMALL["clip-resnet"]
    variables = variables_of(small.model, small.inputs)
    _, updated = run(small.model, variables, *small.inputs, train=True, mutable=["batch_stats"])
    before = variables["batch_stats"]["image"]["norm1"]["mean"]
    after = updated["batch_stats"]["image"]["norm1"]["mean"]
    assert not np.allclose(before, after)


@pytest.mark.parametrize("name", ["swin", "nat", "dynamic_vit", "fnet_image", "mae", "vit", "swinir"])
def test_images_of_any_shape(name):
    small = SMALL[name]
    model = small.model
    variables = variables_of(model, small.inputs)
    sides = ((20, 12), (28, 44))
    for height, width in sides:
        inputs = (np.ones((2, height, width, 3), np.float32), *small.inputs[1:])
        if name == "mae":
            inputs = (inputs[0], np.stack([np.arange(5), np.arange(5) + 2]))
        out = jax.tree.leaves(run(model, variables, *inputs))[0]
        assert np.isfinite(out).all()


def test_mixers_refuse_another_size_with_the_remedy():
    small = SMALL["mlp_mixer"]
    variables = variables_of(small.model, small.inputs)
    with pytest.raises(ValueError, match="images of 20x24 do not fit the token MLPs, .*for 16x24; resize"):
        run(small.model, variables, np.ones((1, 20, 24, 3), np.float32))
