"""Weights that a run starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import config_file, pretrained
from vitax.build import build
from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.resolve import resolve
from vitax.runs.head_classes import head_for
from vitax.runs.init_from import _check_fields, initial_variables

pytestmark = pytest.mark.usefixtures("quick_compile")

DEMO = f"{Path(__file__).parent.parent}/configs/vit_b16.py:demo"
FIELDS = dict(image_size=(8, 8), patch_size=2, width=64, depth=4, num_heads=4, mlp_width=256)


def write(path, **fields):
    model = ViT(**(FIELDS | dict(num_classes=7, class_token=False, pooling="mean") | fields))
    image = jnp.zeros((1, *model.image_size, 1))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    pretrained.save(path, model, variables, "timm ViT")
    return variables


def start(path, **top):
    config = resolve(config_file.load_config(DEMO) | dict(init_from=str(path)) | top)
    run = build(config)
    return run, *initial_variables(run)


def test_a_file_with_other_classes_and_another_size(tmp_path):
    expected = write(tmp_path / "w.safetensors", image_size=(12, 12))["params"]
    run, variables, report = start(tmp_path / "w.safetensors")
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, run.shapes.params)
    found = variables["params"]
    assert np.array_equal(found["block3"]["mlp"]["dense1"]["kernel"], expected["block3"]["mlp"]["dense1"]["kernel"])
    assert "resized     params/pos_embed/grid 6x6x64 -> 4x4x64" in report
    assert "remade      params/head/bias, params/head/kernel" in report
    state = jax.jit(run.init)({n: jnp.zeros(x.shape, x.dtype) for n, x in run.abstract_batch.items()})
    begun = state.starting_from(variables)
    assert np.array_equal(begun.params["norm"]["scale"], expected["norm"]["scale"])
    assert begun.params["norm"]["scale"].sharding == state.params["norm"]["scale"].sharding


def test_what_does_not_fit_is_refused_unless_named(tmp_path):
    write(tmp_path / "w.safetensors", class_token=True)
    with pytest.raises(UserError, match="no place for params/cls_token"):
        start(tmp_path / "w.safetensors")
    _, _, report = start(tmp_path / "w.safetensors", init_skip=("cls_token", "pos_embed/prefix"))
    assert "unexpected  params/cls_token, params/pos_embed/prefix" in report
    write(tmp_path / "deep.safetensors", depth=3)
    with pytest.raises(UserError, match="params/block3/.* is absent in the weights"):
        start(tmp_path / "deep.safetensors")
    _, _, report = start(tmp_path / "deep.safetensors", init_new=("block3/",))
    assert "remade      params/block3" in report


def chain(path, spec, **changes):
    """The variables that a config starts from, and the report."""
    values = config_file.load_config(f"{Path(__file__).parent.parent}/configs/{spec}")
    for key, value in changes.items():
        values[key] |= value
    config = resolve(values | dict(init_from=str(path)))
    run = build(config)
    return run, *initial_variables(run)


def fits(variables, run):
    shape = lambda tree: jax.tree.map(jnp.shape, tree)
    for name, tree in {"params": run.shapes.params, **run.shapes.collections}.items():
        assert shape(variables[name]) == shape(tree)


def test_a_trained_vit_becomes_an_image_tower(tmp_path):
    old = write(tmp_path / "w.safetensors", num_classes=10)["params"]
    run, variables, report = chain(tmp_path / "w.safetensors", "clip_b16_lit.py:demo")
    fits(variables, run)
    kernel = variables["params"]["image"]["block2"]["mlp"]["dense1"]["kernel"]
    assert np.array_equal(kernel, old["block2"]["mlp"]["dense1"]["kernel"])
    assert "head" not in variables["params"]["image"]
    assert "the image tower is taken from it, the text tower is new" in report


def test_a_trained_vit_becomes_backbone_and_teacher(tmp_path):
    token = dict(class_token=True, pooling="token", depth=8, num_classes=10)
    old = write(tmp_path / "w.safetensors", **token)["params"]
    run, variables, report = chain(tmp_path / "w.safetensors", "dynamic_vit_s.py:demo")
    fits(variables, run)
    for tree in (variables["params"], variables["teacher"]):
        assert np.array_equal(tree["head"]["kernel"], old["head"]["kernel"])
    assert "predictor0" in variables["params"]
    assert "predictor0" not in variables["teacher"]
    assert "the predictors are new; it is the teacher too" in report


def test_a_file_of_another_family_is_refused(tmp_path):
    write(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="not weights of the family 'swin'"):
        chain(tmp_path / "w.safetensors", "swin_t.py:demo")


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    token = dict(class_token=True, pooling="token", depth=8, num_classes=7)
    write(tmp_path / "w.safetensors", **token)
    with pytest.raises(UserError, match="and so no teacher to learn from: train a dense model"):
        chain(tmp_path / "w.safetensors", "dynamic_vit_s.py:demo")


@pytest.mark.parametrize(
    ("theirs", "order", "note"),
    [
        (("a", "b", "c"), (0, 1, 2), ""),
        (("c", "A", "b"), (1, 2, 0), "put in the order of the data"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), (0, 1, 2), ""),
        (("x", "y", "z"), (0, 1, 2), "the head is kept, as if"),
        (("a", "b"), (0, 1, 2), ""),  # another number: it is made anew later
        ((), (0, 1, 2), ""),
    ],
)
def test_outputs_belong_to_the_classes_of_the_same_name(theirs, order, note):
    head = {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.arange(3.0)}
    variables = {"params": {"head": head, "norm": {"scale": np.arange(3.0)}}}
    found, told = head_for(variables, theirs, ("a", "b", "c"))
    assert np.array_equal(found["params"]["head"]["bias"], order)
    assert np.array_equal(found["params"]["head"]["kernel"], head["kernel"][:, list(order)])
    assert np.array_equal(found["params"]["norm"]["scale"], np.arange(3.0))
    assert note in told
    assert bool(note) == bool(told)


def test_classes_of_which_some_are_the_same_are_refused():
    with pytest.raises(UserError, match="only some of them are the same"):
        head_for({"params": {}}, ("a", "b", "c"), ("a", "b", "d"))


def test_offsets_along_the_patches_belong_to_one_size(tmp_path):
    """32x16 and 16x32 pixels have as many patches, so that the numbers would fit."""
    wide, high = (ViT(image_size=size, patch_size=8, positions="relative_1d") for size in ((16, 32), (32, 16)))
    _check_fields(wide, {"image_size": (16, 32)}, tmp_path)
    with pytest.raises(UserError, match="'relative_1d' belong to that size"):
        _check_fields(high, {"image_size": (16, 32)}, tmp_path)
