"""Weights that a run starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import cli, pretrained, schema
from vitax.build import build
from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.start import initial_variables

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
    config = schema.resolve(cli.load_config(DEMO) | dict(init_from=str(path)) | top)
    run = build(config)
    return run, *initial_variables(config, run)


def test_a_file_with_other_classes_and_another_size(tmp_path):
    expected = write(tmp_path / "w.safetensors", image_size=(12, 12))["params"]
    run, variables, report = start(tmp_path / "w.safetensors")
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(
        jnp.shape, run.shapes.params
    )
    found = variables["params"]
    assert np.array_equal(found["block3"]["mlp"]["dense1"]["kernel"], expected["block3"]["mlp"]["dense1"]["kernel"])  # fmt: skip
    assert "resized     params/pos_embed/grid 6x6x64 -> 4x4x64" in report
    assert "remade      params/head/bias, params/head/kernel" in report
    state = jax.jit(run.init)(
        {n: jnp.zeros(x.shape, x.dtype) for n, x in run.abstract_batch.items()}
    )
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
