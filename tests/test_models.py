"""What holds for every model: published sizes, both dtypes, gradients, training, batches."""

import json
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden import FOLDER
from small import SMALL, total, variables_of

from vitax.macs import count_macs
from vitax.models import MODELS, variable_shapes
from vitax.models.catalogue import CATALOGUE, build

pytestmark = pytest.mark.usefixtures("quick_compile")

COUNTS = json.loads((FOLDER / "param_counts.json").read_text())
each = pytest.mark.parametrize("name", SMALL)


def parameters(variant):
    shapes = variable_shapes(build(variant), variant.family)
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("variant", CATALOGUE, ids=lambda v: v.name)
def test_parameters_are_as_many_as_published(variant):
    assert parameters(variant) == variant.parameters


def test_every_size_is_in_the_catalogue():
    listed = {(variant.family, variant.size) for variant in CATALOGUE}
    assert listed == {(name, size) for name, family in MODELS.items() for size in family.sizes}
    assert set(MODELS) == {small.family for small in SMALL.values()}


def test_the_catalogue_has_what_the_peers_count():
    """Each full-size count of param_counts.json is in the catalogue, or is a variant of one by the fields here."""
    known = {variant.parameters for variant in CATALOGUE}
    fields = {
        "timm_nohead/vit_tiny_patch16_224": ("ViT-Ti/16", dict(num_classes=0)),
        "timm_nohead/vit_small_patch16_224": ("ViT-S/16", dict(num_classes=0)),
        "timm_nohead/vit_base_patch16_224": ("ViT-B/16", dict(num_classes=0)),
        "timm_nohead/vit_large_patch16_224": ("ViT-L/16", dict(num_classes=0)),
        "timm_nohead/vit_huge_patch14_224": ("ViT-H/14", dict(num_classes=0)),
        "timm_nohead/mixer_b16_224": ("Mixer-B/16", dict(num_classes=0)),
        "timm_nohead/swin_tiny_patch4_window7_224": ("Swin-T", dict(num_classes=0)),
        "timm/vit_base_patch32_224 gap (custom)": ("ViT-B/32", dict(class_token=False, pooling="mean")),
        "fnet/FNetModel base (vocab 32000, 4 token types, 512 positions)": ("FNet-base", dict(heads="none")),
        "fnet/FNetModel large (vocab 32000, 4 token types, 512 positions)": ("FNet-large", dict(heads="none")),
    }
    for kind, heads in (("BertModel", "none"), ("BertForMaskedLM", "masked_words")):
        for size in ("base", "large"):
            fields[f"bert/{kind} {size} (vocab 30522)"] = (f"BERT-{size}", dict(heads=heads))
            fields[f"bert/{kind} {size}-cased (vocab 28996)"] = (f"BERT-{size} cased", dict(heads=heads))
    marian = dict(vocab_size=58101, logits_bias=False, positions="halves")
    fields["hf_marian/opus-mt style (6+6, d 512, ffn 2048, vocab 58101)"] = ("Transformer base", marian)
    twelve = marian | dict(encoder_depth=12, decoder_depth=12)
    fields["hf_marian/default MarianConfig (12+12 layers, d 1024, vocab 58101)"] = ("Transformer big", twelve)
    # The stacks alone, with the two last norms: pre-norm models without their table.
    for size in ("base", "big"):
        fields[f"torch_transformer/{size} (no embeddings; incl. the 2 final norms)"] = (
            f"Transformer {size}",
            dict(norm_first=True, vocab_size=1),
        )
    variants = {variant.name: variant for variant in CATALOGUE}
    for name, count in COUNTS.items():
        expected = count["trainable"]
        if name in fields:
            base, changes = fields[name]
            variant = variants[base]
            changed = variant._replace(fields=dict(variant.fields) | changes)
            stacks = {"torch_transformer/base (no": 512, "torch_transformer/big (no": 1024}
            table = next((n for start, n in stacks.items() if name.startswith(start)), 0)
            assert parameters(changed) - table == expected, name
        else:
            assert expected in known, name


@pytest.mark.parametrize(
    ("name", "gmacs"), [("ViT-B/16", 17.564), ("Mixer-B/16", 12.602), ("MAE-B/16", 9.78), ("Swin-T", 4.49)]
)
def test_multiply_accumulates_are_those_of_the_papers(name, gmacs):
    variant = next(v for v in CATALOGUE if v.name == name)
    model, family = build(variant), MODELS[variant.family]
    shapes = variable_shapes(model, variant.family)
    counted = count_macs(lambda v, *x: model.apply(v, *x), shapes, *family.example(model, 3))
    assert abs(counted / 1e9 - gmacs) < 0.005 * gmacs


@each
def test_training_reaches_every_parameter_lowers_the_loss_and_is_random_by_its_key_alone(name):
    """One compiled step serves three questions."""
    small = SMALL[name]
    random = [key for key in ("dropout", "drop_path") if hasattr(small.model, key)]
    model = small.replaced(**dict.fromkeys(random, 0.3))
    # Running statistics stay as they are.
    variables = variables_of(model, small.inputs)
    counted = "batch_stats" in variables
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    optimizer = optax.adam(1e-3)

    def loss(params, inputs, key):
        out = model.apply(
            {**rest, "params": params},
            *inputs,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"] if counted else False,
        )
        return total(out[0] if counted else out)

    @jax.jit
    def step(params, state, inputs, key):
        value, gradients = jax.value_and_grad(loss)(params, inputs, key)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value, gradients

    first, *others = (jax.random.key(i) for i in range(5))
    start = (variables["params"], optimizer.init(variables["params"]))
    params, state, value, gradients = step(*start, small.inputs, first)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), path
        # The features of DETR's queries are zero at first: whatever they ask, all see the same.
        idle = re.search(
            r"decoder0/self_attention/(q|k)/|decoder0/self_attention/v/kernel",
            jax.tree_util.keystr(path, simple=True, separator="/"),
        )
        assert np.abs(gradient).max() > 0 or idle, path
    assert step(*start, small.inputs, first)[2] == value
    if random or small.family == "dynamic_vit":
        assert any(step(*start, small.inputs, other)[2] != value for other in others)
    for _ in range(8):
        params, state, last, _ = step(params, state, small.inputs, first)
    assert last < value


@each
def test_a_batch_and_bfloat16_change_nothing_but_rounding(name):
    small = SMALL[name]
    variables = variables_of(small.model, small.inputs)
    apply = jax.jit(small.model.apply)
    exact = apply(variables, *small.inputs)
    # Examples do not see each other.
    swapped = apply(variables, *(x[::-1] for x in small.inputs))
    swapped = jax.tree.map(lambda x: x[::-1] if x.ndim else x, swapped)
    chex.assert_trees_all_close(swapped, exact, rtol=1e-4, atol=1e-4)

    model = small.replaced(dtype=jnp.bfloat16)
    rough = jax.jit(model.apply)(variables, *small.inputs)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rough), strict=True):
        a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        assert np.isfinite(b).all()
        if a.size > 1:
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert cosine > 0.99, cosine
    fresh = jax.eval_shape(model.init, jax.random.key(0), *small.inputs)
    assert {x.dtype for x in jax.tree.leaves(fresh["params"])} == {jnp.dtype(jnp.float32)}
    text = str(jax.make_jaxpr(model.apply)(variables, *small.inputs))
    products = [line for line in text.splitlines() if "dot_general" in line or "conv_general" in line]
    assert any("bf16" in line for line in products)


@each
def test_remat_recomputes_blocks(name):
    small = SMALL[name]
    if not hasattr(small.model, "remat") or "image_depths" in small.fields:
        pytest.skip("has no blocks to recompute")
    model = small.replaced(remat=True)
    text = str(jax.make_jaxpr(model.apply)(variables_of(model, small.inputs), *small.inputs))
    assert "checkpoint" in text or "remat" in text


@pytest.mark.parametrize("name", ["dinat"])
def test_remat_changes_neither_value_nor_gradient(name):
    small = SMALL[name]
    variables = variables_of(small.model, small.inputs)

    def gradient(model):
        return jax.jit(jax.value_and_grad(lambda v: total(model.apply(v, *small.inputs))))(variables)

    plain, recomputed = gradient(small.model), gradient(small.replaced(remat=True))
    chex.assert_trees_all_close(plain, recomputed, rtol=1e-3, atol=1e-4)
