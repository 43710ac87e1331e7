"""Weights of other Flax projects: transformers' former Flax models, and big_vision."""

import shutil

import numpy as np
import pytest
from flax import serialization
from golden import FOLDER, case, nhwc

from vitax import pretrained
from vitax.errors import UserError
from vitax.pretrained.google import sincos_2d

FLAX = FOLDER / "flax"
SIZE = dict(image_size=(16, 24))


def opened(name):
    model, variables, report = pretrained.load(FLAX / name)
    with np.load(FLAX / name / "io.npz") as file:
        return model, variables, report, dict(file)


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(np.asarray(ours) - theirs).max() < 1e-6


def test_vit_in_shards():
    model, variables, report, arrays = opened("vit_shards")
    close(model.apply(variables, nhwc(arrays["x"])), arrays["y"])
    assert report.format == "Hugging Face ViT"


def test_bert():
    model, variables, _, arrays = opened("bert")
    out = model.apply(variables, arrays["x"])
    close(out["word_logits"], arrays["y"])
    close(out["next_logits"], arrays["z"])


def test_clip():
    model, variables, _, arrays = opened("clip")
    image, text, *_ = model.apply(variables, nhwc(arrays["x"]), arrays["t"])
    close(image, arrays["a"])
    close(text, arrays["b"])


def test_marian():
    model, variables, _, arrays = opened("marian")
    close(model.apply(variables, arrays["x"], arrays["x"][:, :5]), arrays["y"])


def test_damaged_files_are_refused(tmp_path):
    whole = (FLAX / "bert" / "flax_model.msgpack").read_bytes()
    path = tmp_path / "flax_model.msgpack"
    for content, message in (
        (whole[: len(whole) // 2], "damaged"),
        (b"", "damaged"),
        (serialization.msgpack_serialize([1, 2]), "not a tree of arrays"),
        (serialization.msgpack_serialize({"a": {"kernel": "text"}}), "its entry a/kernel is a str, not an array"),
        (serialization.msgpack_serialize({"a": {"kernel": np.zeros((1, 1, 1))}}), "a/kernel is a kernel with 3 axes"),
        (
            serialization.msgpack_serialize({"a": {"kernel": np.zeros((1, 1))}}),
            "these are not weights that vitax knows",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            pretrained.load(path)
    shutil.copytree(FLAX / "vit_shards", tmp_path / "shards")
    (tmp_path / "shards" / "flax_model-00002-of-00003.msgpack").unlink()
    with pytest.raises(UserError, match="it lists flax_model-00002-of-00003.msgpack, which is not there"):
        pretrained.load(tmp_path / "shards")


def test_big_vision_with_scanned_blocks_and_attention_pooling():
    """The image tower of a SigLIP, from a file with both towers."""
    golden = case("big_vision_map_scan")
    model, variables, report = pretrained.load(golden.weights, **SIZE)
    assert (model.pooling, model.depth, model.num_heads) == ("map", 2, 2)
    assert sorted(report.ignored) == ["b", "t", "txt/head/bias"]
    golden.check("y", model.apply(variables, golden.inputs["x"]))


def test_big_vision_with_its_own_sinusoids():
    golden = case("big_vision_gap_sincos")
    with pytest.raises(UserError, match=r"big_vision computes sinusoids, for any size; give image_size"):
        pretrained.load(golden.weights)
    model, variables, _ = pretrained.load(golden.weights, **SIZE)
    assert model.pooling == "mean"
    golden.check("y", model.apply(variables, golden.inputs["x"]))
    assert np.array_equal(variables["params"]["pos_embed"]["grid"].reshape(1, 24, 32), sincos_2d(4, 6, 32))


def test_big_vision_with_a_class_token_and_its_old_names():
    golden = case("big_vision_tok")
    model, variables, _ = pretrained.load(golden.weights, **SIZE)
    assert (model.pooling, model.pre_logits) == ("token", 12)
    expected = model.apply(variables, golden.inputs["x"])
    golden.check("y", expected)
    for table in ("Transformer/pos_embedding", "Transformer/posembed_input/pos_embedding"):
        old = {name.replace("pos_embedding", table): x for name, x in golden.weights.items()}
        _, again, _ = pretrained.load(old, **SIZE)
        assert np.array_equal(model.apply(again, golden.inputs["x"]), expected)
    back = pretrained.to_tensors(model, variables, "Google ViT")
    _, again, _ = pretrained.load(back, **SIZE)
    assert np.array_equal(model.apply(again, golden.inputs["x"]), expected)


def test_the_pooling_head_before_it_was_a_module():
    golden = case("big_vision_map_scan")
    old = {name.replace("MAPHead_0/", ""): x for name, x in golden.weights.items()}
    model, variables, _ = pretrained.load(old, **SIZE)
    golden.check("y", model.apply(variables, golden.inputs["x"]))
