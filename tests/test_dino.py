"""DINOv2, DINOv3, EVA and SigLIP: equal to transformers and timm, all but the last at the trained size and at another."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from golden import case, nhwc
from small import SMALL, variables_of

import vitax
from vitax import pretrained
from vitax.errors import UserError
from vitax.models.vit import ViT
from vitax.nn.rotary import centred_rotation, rotate

pytestmark = pytest.mark.usefixtures("quick_compile")
HUGGING_FACE = ("dinov2_hf", "dinov2_hf_swiglu", "dinov2_hf_registers", "dinov3_hf", "dinov3_hf_gated")


def written(golden, folder):
    """The folder of a model as a hub has it."""
    folder.mkdir()
    np.savez(folder / "w.npz", **golden.weights)
    (folder / "config.json").write_text(json.dumps(golden.config["config"]))
    return folder / "w.npz"


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_face(name, tmp_path):
    golden = case(name)
    model, variables, report = pretrained.load(written(golden, tmp_path / "hub"))
    assert report.told["num_heads"] == 2
    assert report.ignored == [] or report.ignored == ["embeddings.mask_token"]
    tokens = model.clone(pooling="none")
    for size in ("square", "other"):
        golden.check(size, tokens.apply(variables, nhwc(golden.inputs[size])))
    back = pretrained.to_tensors(model, variables, report.format)
    assert all(np.array_equal(back[key], golden.weights[key]) for key in back)
    assert set(golden.weights) - set(back) <= {"embeddings.mask_token"}


@pytest.mark.parametrize("name", ["dinov3_timm", "dinov3_timm_plus"])
def test_timm(name, tmp_path):
    golden = case(name)
    path = written(golden, tmp_path / "hub")
    model, variables, report = pretrained.load(path, num_heads=2)
    assert model.gated_mlp == name.endswith("plus")
    for size in ("square", "other"):
        golden.check(size, model.apply(variables, nhwc(golden.inputs[size])))
    back = pretrained.to_tensors(model, variables, report.format)
    assert all(np.array_equal(back[key], golden.weights[key]) for key in back)
    path.with_name("config.json").unlink()
    with pytest.raises(UserError, match="other rotary positions; put the config.json"):
        pretrained.load(path, num_heads=2)


@pytest.mark.parametrize("name", ["eva02_timm", "eva02_joined_timm", "eva02_clip_timm", "eva_timm"])
def test_eva(name, tmp_path):
    golden = case(name)
    model, variables, report = pretrained.load(written(golden, tmp_path / "hub"))
    assert (model.positions == "learned_rotary", model.mlp_norm) == (
        "02" in name,
        name in ("eva02_timm", "eva02_clip_timm"),
    )
    for size in ("square", "other"):
        golden.check(size, model.apply(variables, nhwc(golden.inputs[size])))
    back = pretrained.to_tensors(model, variables, report.format)
    assert back.keys() == golden.weights.keys()
    assert all(np.array_equal(back[key], golden.weights[key]) for key in back)


def test_the_names_of_the_authors_of_eva(tmp_path):
    golden = case("eva02_clip_timm")
    names = {
        "q_proj.bias": "q_bias", "v_proj.bias": "v_bias", "attn.norm": "attn.inner_attn_ln", "mlp.norm": "mlp.ffn_ln",
        "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3",
    }  # fmt: skip

    def official(name):
        for timm, own in names.items():
            name = name.replace(timm, own)
        return name

    weights = {official(name): x for name, x in golden.weights.items()} | {"rope.freqs_cos": np.zeros((16, 16))}
    model, variables, _ = pretrained.load(weights, num_heads=2, pooling="token")
    golden.check("square", model.apply(variables, nhwc(golden.inputs["square"])))


def test_the_image_tower_of_a_siglip(tmp_path):
    golden = case("siglip_hf")
    model, variables, report = pretrained.load(written(golden, tmp_path / "hub"))
    assert (model.pooling, model.activation, model.num_heads) == ("map", "gelu_tanh", 2)
    golden.check("pooled", model.apply(variables, nhwc(golden.inputs["image"])))
    left = {name for name in golden.weights if name.startswith(("text_model.", "logit_"))}
    assert set(report.ignored) == left
    back = pretrained.to_tensors(model, variables, report.format)
    tower = {name.removeprefix("vision_model."): x for name, x in golden.weights.items() if name not in left}
    assert back.keys() == tower.keys()
    assert all(np.array_equal(back[name], tower[name]) for name in back)


def test_a_rotation_depends_on_differences_of_places():
    """Turned queries and keys have equal products wherever a pair of equal offset lies; tokens without a place are not turned."""
    rng = np.random.default_rng(0)
    turn = centred_rotation((4, 4), 8, 1)
    q, k = (jnp.broadcast_to(rng.normal(size=8).astype(np.float32), (1, 17, 1, 8)) for _ in range(2))
    scores = jnp.einsum("bnae,bmae->nm", rotate(q, turn), rotate(k, turn))[1:, 1:].reshape(4, 4, 4, 4)
    assert np.isclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], atol=1e-5)
    assert not np.isclose(scores[0, 0, 1, 2], scores[0, 0, 2, 2], atol=1e-3)
    assert np.array_equal(rotate(q, turn)[0, 0], q[0, 0])


def test_rotary_positions_of_a_part_of_the_patches():
    """The patches that are kept are where they were: with all of them in another order, the class token is the same."""
    model = ViT(
        num_classes=3, image_size=(16, 24), patch_size=4, width=32, depth=2, num_heads=2, mlp_width=48,
        positions="rotary", gated_mlp=True, activation="swish",
    )  # fmt: skip
    images = SMALL["vit"].inputs[0]
    variables = variables_of(model, (images,))
    order = np.tile(np.random.default_rng(0).permutation(24).astype(np.int32), (2, 1))
    assert np.allclose(model.apply(variables, images, keep=order), model.apply(variables, images), atol=1e-5)
    assert not np.allclose(
        model.apply(variables, images, keep=order[:, :12]), model.apply(variables, images), atol=1e-3
    )
    with pytest.raises(ValueError, match="divisible by 4"):
        centred_rotation((2, 2), 6, 0)


def test_what_these_names_cannot_say_is_refused(tmp_path):
    golden = case("dinov2_hf_registers")
    model, variables, report = pretrained.load(written(golden, tmp_path / "other"))
    variables["params"]["pos_embed"]["prefix"] = variables["params"]["pos_embed"]["prefix"] + 1
    with pytest.raises(UserError, match="no positions of registers"):
        pretrained.to_tensors(model, variables, report.format)


def test_images_have_the_size_that_the_processor_prepares(tmp_path):
    """Of DINO, whose official code interpolates the positions; others are asked for."""
    golden = case("dinov2_hf")
    path = written(golden, tmp_path / "hub")
    size = golden.config["config"]["image_size"]
    other = size + golden.config["config"]["patch_size"]
    about = dict(
        image_mean=[0.5] * 3, image_std=[0.5] * 3, size=dict(shortest_edge=other), do_center_crop=True, resample=3
    )
    (path.parent / "preprocessor_config.json").write_text(
        json.dumps(about | dict(crop_size=dict(height=other, width=other)))
    )
    opened = vitax.load(path)
    assert opened.module.image_size == opened.run.reader.spec.image_size == (other, other)
    assert f"image_size=({other}, {other})" in opened.report
    image = np.random.default_rng(0).integers(0, 255, (other, other, 3), dtype=np.uint8)
    model, variables, _ = pretrained.load(path, image_size=other)
    expected = model.apply(variables, (image[None] / 255 - 0.5).astype(np.float32) / 0.5)[0]
    np.testing.assert_allclose(opened.features(image), expected, rtol=1e-4, atol=1e-5)
    assert vitax.load(path, image_size=size).module.image_size == (size, size)
