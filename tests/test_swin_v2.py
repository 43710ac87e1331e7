"""Swin V2: equal to the official code, timm and transformers; its positions know the windows of pre-training."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import case, nhwc
from small import SMALL, variables_of

from vitax import config_file, pretrained
from vitax.build import build
from vitax.errors import UserError
from vitax.models.swin_v2 import ContinuousBias, SwinV2, as_trained
from vitax.pretrained.preprocessing import Preprocessing
from vitax.resolve import resolve
from vitax.runs.init_from import initial_variables

pytestmark = pytest.mark.usefixtures("quick_compile")
# What the loader has to be told, for no file says it.
CASES = {
    "swin_v2_ms": ("official Swin V2", {}),
    "swin_v2_timm": ("timm Swin V2", dict(window=4, image_size=(40, 24))),
    "swin_v2_hf": ("Hugging Face Swin V2", {}),
}
BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_peers(name, tmp_path):
    golden, (format, fields) = case(name), CASES[name]
    np.savez(tmp_path / "w.npz", **golden.weights)
    if golden.config["config"]:
        (tmp_path / "config.json").write_text(json.dumps(golden.config["config"]))
    model, variables, report = pretrained.load(tmp_path / "w.npz", **fields)
    assert report.format == format
    golden.check("image", model.apply(variables, nhwc(golden.inputs["image"])))
    back = pretrained.to_tensors(model, variables, format)
    assert all(np.array_equal(back[key], golden.weights[key]) for key in back)
    assert {key for key in golden.weights if not key.endswith(BUFFERS)} == set(back)


def test_the_windows_of_pre_training_are_read():
    model, _, _ = pretrained.load(case("swin_v2_ms").weights)
    assert (model.window, model.image_size, model.trained_windows) == (4, (32, 32), ((3, 3), (3, 3)))
    with pytest.raises(UserError, match=r"do not record the window of their model.*give window="):
        pretrained.load(case("swin_v2_timm").weights)


def test_another_window_keeps_the_positions():
    """An offset has the same bias whatever the window is, once the window of pre-training is known."""
    golden = case("swin_v2_timm")
    before, variables, _ = pretrained.load(golden.weights, window=4, image_size=(32, 32))
    after, same, _ = pretrained.load(golden.weights, window=4, image_size=(32, 32))
    assert after == before
    wider = after.clone(window=6, image_size=(96, 96))
    assert wider.trained_windows == ((4, 4), (4, 4))
    part = variables["params"]["block0"]["positions"]
    small = ContinuousBias((4, 4), 2).apply({"params": part}).reshape(2, 4, 4, 4, 4)
    large = ContinuousBias((6, 6), 2, wider.trained_windows[0]).apply({"params": part}).reshape(2, 6, 6, 6, 6)
    assert np.allclose(small, large[:, :4, :4, :4, :4], atol=1e-6)
    own = ContinuousBias((6, 6), 2).apply({"params": part}).reshape(2, 6, 6, 6, 6)
    assert not np.allclose(small, own[:, :4, :4, :4, :4], atol=1e-3)
    assert wider.apply(same, jnp.zeros((1, 96, 96, 3))).shape == (1, 5)


def test_blocks_begin_without_an_effect():
    model, (images,) = SMALL["swin_v2"].model, SMALL["swin_v2"].inputs
    variables = model.init(jax.random.key(0), images)
    assert not variables["params"]["block0"]["norm1"]["scale"].any()
    trained = variables_of(model, (images,))
    with pytest.raises(ValueError, match="differ in length"):
        model.clone(trained_windows=((4, 4),)).apply(trained, images)
    assert as_trained(model).trained_windows == ((4, 4), (4, 4))


def test_a_run_says_what_the_windows_were(tmp_path):
    config = config_file.load_config(f"{Path(__file__).parent.parent}/configs/swin_v2_t.py:demo")
    fields = {key: value for key, value in config["model"].items() if key not in ("name", "drop_path")}
    model = SwinV2(**(fields | dict(num_classes=7, image_size=(8, 8), window=2)))
    variables = variables_of(model, (np.zeros((1, 8, 8, 1), np.float32),))
    data = resolve(config)["data"]
    images = Preprocessing(tuple(data["mean"]), tuple(data["std"]), 0.0, "bicubic", image_size=(8, 8))
    pretrained.save(tmp_path / "hub", model, variables, "Hugging Face Swin V2", images=images)

    def start(**changes):
        changed = {**config, "init_from": str(tmp_path / "hub"), "model": {**config["model"], **changes}}
        return initial_variables(build(resolve(changed)))

    with pytest.raises(UserError, match=r'set --config.model.trained_windows="\(\(2, 2\), \(2, 2\)\)"'):
        start()
    _, report = start(trained_windows=((2, 2), (2, 2)))
    assert "remade      params/head/bias, params/head/kernel" in report
