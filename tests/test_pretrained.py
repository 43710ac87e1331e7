"""Weights in and out: files, formats, reports, and what must be refused."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from golden import FOLDER, case, nhwc
from small import run

from vitax import pretrained
from vitax.errors import UserError
from vitax.models.mlp_mixer import MlpMixer
from vitax.models.vit import ViT
from vitax.pretrained import files

FILES = FOLDER / "files"
# What the loader has to be told, for no file says it.
CASES = {
    "vit_timm_cls": ("timm ViT", dict(num_heads=4)),
    "vit_hf_cls": ("Hugging Face ViT", dict(num_heads=4)),
    "mae_fb_sincos_pos": ("official MAE", dict(num_heads=4, decoder_num_heads=4)),
    "mixer_timm": ("timm Mixer", {}),
    "swin_ms": ("official Swin", {}),
    "swin_timm": ("timm Swin", {}),
    "swinir_denoise": ("official SwinIR", {}),
    "swinir_pixelshuffle_x2": ("official SwinIR", {}),
    "nat": ("official NAT", {}),
    "dinat": ("official NAT", dict(dilations=((1, 4), (1, 2)))),
    "dynamicvit_eval": ("official DynamicViT", dict(num_heads=4, stages=(1, 3), keep_ratios=(0.7, 0.49))),
    "clip_oai_vit": ("OpenAI CLIP", dict(activation="quick_gelu", text_heads=2)),
    "clip_oai_resnet": ("OpenAI CLIP", dict(activation="quick_gelu", text_heads=2)),
    "bert_hf": ("Hugging Face BERT", dict(num_heads=4)),
    "fnet_hf": ("Hugging Face FNet", {}),
    "marian_hf": ("Hugging Face Marian", dict(num_heads=4)),
}
BUFFERS = ("relative_position_index", "attn_mask", "num_batches_tracked", "embed_positions.weight")


@pytest.mark.parametrize("name", CASES)
def test_out_gives_back_what_came_in(name, tmp_path):
    format, fields = CASES[name]
    golden = case(name)
    model, variables, report = pretrained.load(golden.weights, **fields)
    assert report.format == format
    assert [report.missing, report.unexpected, report.resized, report.remade] == [[], [], {}, []]
    pretrained.save(tmp_path / "out.safetensors", model, variables, format)
    back = files.read(tmp_path / "out.safetensors").tensors
    hub = golden.config.get("hub_names", {})
    expected = {hub.get(n, n): x for n, x in golden.weights.items() if not n.endswith(BUFFERS)}
    assert set(back) == set(expected)
    for key, value in expected.items():
        assert back[key].shape == value.shape, key
        assert np.array_equal(back[key], value), key


def vit_variables(model, seed=0):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *model.image_size, 3)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


SMALL = dict(num_classes=5, image_size=(16, 16), patch_size=4, width=24, depth=2, num_heads=3, mlp_width=40)


@pytest.mark.parametrize("prefix", ["", "opt/target/", "params/"])
def test_npz_of_google_there_and_back(tmp_path, prefix):
    model = ViT(**SMALL, activation="gelu_tanh", pre_logits=7)
    variables = vit_variables(model)
    tensors = pretrained.to_tensors(model, variables, "Google ViT")
    assert tensors["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"].shape == (24, 3, 8)
    assert tensors["cls"].shape == (1, 1, 24)
    np.savez(tmp_path / "w.npz", **{prefix + name: value for name, value in tensors.items()})
    # Heads are in this file.
    again, same, _ = pretrained.load(tmp_path / "w.npz")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_npz_of_big_vision_counts_otherwise_and_keeps_bfloat16_as_bytes(tmp_path):
    model = ViT(**SMALL, activation="gelu_tanh")
    tensors = pretrained.to_tensors(model, vit_variables(model), "Google ViT")
    renamed = {}
    for name, value in tensors.items():
        name = name.replace("LayerNorm_2", "LayerNorm_1").replace("Attention_1", "Attention_0")
        renamed[name.replace("MlpBlock_3", "MlpBlock_0")] = value
    renamed["head/kernel"] = tensors["head/kernel"].astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "w.npz", **renamed)
    again, variables, _ = pretrained.load(tmp_path / "w.npz")
    assert again == model
    expected = tensors["head/kernel"].astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(variables["params"]["head"]["kernel"], expected)


def test_npz_of_mixer_there_and_back(tmp_path):
    model = MlpMixer(
        num_classes=3,
        image_size=(8, 8),
        patch_size=4,
        width=12,
        depth=2,
        token_mlp_width=6,
        mlp_width=20,
        activation="gelu_tanh",
    )
    variables = vit_variables(model)
    np.savez(tmp_path / "w.npz", **pretrained.to_tensors(model, variables, "Google Mixer"))
    again, same, _ = pretrained.load(tmp_path / "w.npz")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_files_of_torch_are_read_without_torch():
    """plain.pth, wrapped.pth and script.pt were written by torch 2.13."""
    expected = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.arange(6.0).reshape(2, 3).T,
        "c": np.float32(2.5),
        "d": np.arange(4),
        "h": np.arange(3.0),
        "bf": np.arange(3.0),
        "e": np.zeros((0, 3)),
        "view": np.arange(10.0)[3:7],
        "p": np.ones(2),
    }
    for name in ("plain.pth", "wrapped.pth"):
        found = files.read(FILES / name).tensors
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert found[key].shape == value.shape, key
            assert np.array_equal(found[key], value), key
    assert found["h"].dtype == found["bf"].dtype == np.float32
    script = files.read(FILES / "script.pt").tensors
    with np.load(FILES / "script_expected.npz") as expected:
        assert set(script) == set(expected.files)
        for key in expected.files:
            assert np.array_equal(script[key], expected[key]), key
    code = "import sys; from vitax import pretrained; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


def torch_zip(path, data, entries=(), compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", data)
        for name, content in entries:
            archive.writestr(f"x/data/{name}", content, compress)


def tensor_pickle(count, size, stride, offset=0):
    """The pickle of one tensor, opcode by opcode."""

    def integers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + b"J"
        + struct.pack("<i", count)
        + b"tQ"
        + b"J"
        + struct.pack("<i", offset)
        + integers(size)
        + integers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


FLOATS = np.arange(6, dtype=np.float32).tobytes()


def test_the_pickle_made_here_is_a_good_one(tmp_path):
    torch_zip(tmp_path / "w.pth", tensor_pickle(6, (2, 3), (3, 1)), [("0", FLOATS)])
    assert np.array_equal(files.read(tmp_path / "w.pth").tensors["w"], np.arange(6).reshape(2, 3))


HOSTILE = {
    "code": (pickle.dumps({"a": Evil()}), [], "holds no tensors"),
    "builtins": (b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.", [], "holds builtins.eval"),
    "outside": (tensor_pickle(6, (3, 3), (3, 1)), [("0", FLOATS)], "does not fit its 6 numbers"),
    "offset": (tensor_pickle(6, (2, 3), (3, 1), 1), [("0", FLOATS)], "does not fit its 6 numbers"),
    "negative": (tensor_pickle(6, (2, 3), (-3, 1)), [("0", FLOATS)], "does not fit"),
    "repeated": (tensor_pickle(6, (1000000, 1000), (0, 0)), [("0", FLOATS)], "repeats its 6 numbers"),
    "huge": (tensor_pickle(2**31 - 1, (2**31 - 1,), (1,)), [("0", FLOATS)], "has 24 bytes, its tensor"),
    "absent": (tensor_pickle(6, (2, 3), (3, 1)), [], "numbers 0 are missing"),
    "short": (tensor_pickle(6, (2, 3), (3, 1)), [("0", FLOATS[:-4])], "has 20 bytes, its tensor 24"),
    "cut": (tensor_pickle(6, (2, 3), (3, 1))[:-9], [("0", FLOATS)], "damaged: "),
    "garbage": (b"\x80\x02this is no pickle", [], "damaged: "),
    "state": (
        b"\x80\x02}X\x01\x00\x00\x00actorch\nBFloat16Storage\n(K\x03X\x01\x00\x00\x00<NNNM\x00\x10K\x02K\x00tbs.",
        [],
        "sets the state of something other",
    ),
    "deep key": (b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.", [], "holds no tensors"),
    "memo": (b"\x80\x02]r\xff\xff\xff\x03.", [], "a list, not a dictionary"),
    "itself": (b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.", [], "holds no tensors"),
    "list": (b"\x80\x02]q\x00.", [], "a list, not a dictionary"),
    "empty": (b"\x80\x02}q\x00.", [], "holds no tensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_of_torch_are_refused(tmp_path, monkeypatch, name):
    data, entries, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    torch_zip(tmp_path / "w.pth", data, entries)
    with pytest.raises(UserError, match=message):
        files.read(tmp_path / "w.pth")
    assert not (tmp_path / "evil-was-here").exists()


def test_one_storage_under_ever_more_names_is_refused(tmp_path):
    one = tensor_pickle(10**5, (10**5,), (1,))
    start, tensor = one[: one.index(b"X\x01\x00\x00\x00w")], one[one.index(b"ctorch._utils") : -2]
    many = b"".join(b"X\x04\x00\x00\x00%04d" % i + tensor + b"s" for i in range(40))
    torch_zip(tmp_path / "w.pth", start + many + b".", [("0", bytes(4 * 10**5))])
    with pytest.raises(UserError, match="more than 8 times as large as the file"):
        files.read(tmp_path / "w.pth")


def test_the_old_format_of_torch_and_what_scripts_keep_beside_the_weights():
    """legacy.pth is no zip file; namespace.pth also holds the arguments of a training script."""
    expected = files.read(FILES / "plain.pth").tensors
    for name, entry in (("legacy.pth", ""), ("namespace.pth", "model")):
        contents = files.read(FILES / name)
        assert contents.entry == entry
        assert contents.tensors.keys() == expected.keys()
        assert all(np.array_equal(x, expected[key]) for key, x in contents.tensors.items())


def test_other_files_that_cannot_be_read(tmp_path):
    def refused(path, message):
        with pytest.raises(UserError, match=message):
            files.read(path)

    refused(tmp_path / "none.pth", "there is no file")
    refused(tmp_path, "holds none of model.safetensors")
    whole = (FILES / "plain.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.pth", "damaged zip file")
    # A compressed entry could grow without end.
    torch_zip(
        tmp_path / "bomb.pth", tensor_pickle(10**6, (10**6,), (1,)), [("0", bytes(4 * 10**6))], zipfile.ZIP_DEFLATED
    )
    refused(tmp_path / "bomb.pth", "has 4,000,000 bytes, its tensor 4,000,000")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(3 * 10**7))
    refused(tmp_path / "bomb.npz", "would unpack to 30,000,000 bytes")
    np.savez(tmp_path / "objects.npz", a=np.array([Evil()], dtype=object))
    refused(tmp_path / "objects.npz", "allow_pickle=False")
    (tmp_path / "cut.npz").write_bytes((FOLDER / "nat.npz").read_bytes()[:9000])
    refused(tmp_path / "cut.npz", "damaged .npz file")
    (tmp_path / "text.safetensors").write_text("hello, this is no file of tensors")
    refused(tmp_path / "text.safetensors", "cannot be read")
    (tmp_path / "big.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    refused(tmp_path / "big.safetensors", "cannot be read")
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "lie.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    refused(tmp_path / "lie.safetensors", "cannot be read")
    (tmp_path / "weights.txt").write_text("hello")
    refused(tmp_path / "weights.txt", "it is not a file of PyTorch")


def test_another_size_and_other_classes_are_told():
    golden = case("vit_timm_cls")
    model, variables, report = pretrained.load(golden.weights, num_heads=4, image_size=(64, 48), num_classes=3)
    assert model.image_size == (64, 48)
    assert report.resized == {"params/pos_embed/grid": ((4, 4, 48), (8, 6, 48))}
    assert sorted(report.remade) == ["params/head/bias", "params/head/kernel"]
    assert variables["params"]["head"]["kernel"].shape == (48, 3)
    assert not variables["params"]["head"]["kernel"].any()
    text = str(report)
    assert "resized     params/pos_embed/grid 4x4x48 -> 8x6x48" in text
    assert "remade      params/head/" in text
    assert run(model, variables, jnp.zeros((1, 64, 48, 3))).shape == (1, 3)
    # Without a head there is nothing to make.
    _, bare, report = pretrained.load(golden.weights, num_heads=4, num_classes=0)
    assert "head" not in bare["params"]
    assert not report.remade


def test_another_window_of_swin_resizes_its_tables():
    golden = case("swin_ms")
    for fields, shape in ((dict(window=6, image_size=96), (11, 11, 2)), (dict(image_size=64), (7, 7, 2))):
        model, variables, report = pretrained.load(golden.weights, **fields)
        table = variables["params"]["block0"]["positions"]["relative_bias"]
        assert table.shape == shape
        assert bool(report.resized) == ("window" in fields)
        side = model.image_size[0]
        assert np.isfinite(run(model, variables, np.ones((1, side, side, 3), np.float32))).all()
    # At 16 pixels the last stage has a map of 2x2, and its window shrinks.
    model, variables, report = pretrained.load(golden.weights, image_size=16)
    assert variables["params"]["block5"]["positions"]["relative_bias"].shape == (3, 3, 4)
    assert len(report.resized) == 2


def test_what_is_missing_or_unexpected_is_an_error_unless_allowed():
    weights = dict(case("vit_timm_cls").weights)
    del weights["blocks.1.norm1.bias"]
    weights["extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=r"lacks params/block1/norm1/bias; these take part"):
        pretrained.load(weights, num_heads=4)
    with pytest.raises(UserError, match=r"also holds extra.weight; these take part"):
        pretrained.load(weights, num_heads=4, allow_missing=["norm1/bias"])
    _, variables, report = pretrained.load(
        weights, num_heads=4, allow_missing=["norm1/bias"], allow_unexpected=["^extra"]
    )
    assert report.missing == ["params/block1/norm1/bias"]
    assert sorted(report.unexpected) == ["extra.weight"]
    assert not variables["params"]["block1"]["norm1"]["bias"].any()


def test_errors_name_the_values_and_the_remedy():
    vit, swin = case("vit_timm_cls").weights, case("swin_ms").weights
    clip = case("clip_oai_vit").weights
    with pytest.raises(UserError, match=r"model of width 48 has; give num_heads="):
        pretrained.load(vit)
    with pytest.raises(UserError, match=r"not weights of the family 'swin'"):
        pretrained.load(vit, family="swin")
    with pytest.raises(UserError, match=r"not weights that vitax knows .*foo"):
        pretrained.load({"foo": np.zeros(3)})
    with pytest.raises(UserError, match=r"ViT has no field 'nun_heads'; did you mean 'num_heads'"):
        pretrained.load(vit, nun_heads=4)
    with pytest.raises(UserError, match="which GELU .* give activation='quick_gelu'"):
        pretrained.load(clip)
    with pytest.raises(UserError, match=r"width 48 is not divisible by num_heads 5"):
        pretrained.load(vit, num_heads=5)
    with pytest.raises(UserError, match=r"depth=5 contradicts the file, which has 3"):
        pretrained.load(vit, num_heads=4, depth=5)
    for fields in (dict(num_heads="four"), dict(num_heads=0), dict(image_size="64x64"), dict(image_size=0)):
        with pytest.raises(UserError):
            pretrained.load(vit, **(dict(num_heads=4) | fields))
    with pytest.raises(UserError, match="not a regular expression"):
        pretrained.load(vit, num_heads=4, allow_missing=["("])
    some = {k: v for k, v in vit.items() if "norm1" not in k}
    with pytest.raises(UserError, match="lacks params/"):
        pretrained.load(some, num_heads=4, allow_missing="zzz")
    with pytest.raises(UserError, match="norm.bias is of type int8"):
        pretrained.load(dict(vit) | {"norm.bias": np.zeros(48, np.int8)}, num_heads=4)
    flat = dict(vit) | {"patch_embed.proj.weight": np.zeros((48, 192), np.float32)}
    with pytest.raises(UserError, match="does not fit"):
        pretrained.load(flat, num_heads=4)
    with pytest.raises(UserError, match="some are missing"):
        pretrained.load(dict(vit) | {"blocks.900.norm1.bias": np.zeros(48, np.float32)}, num_heads=4)
    with pytest.raises(UserError, match=r"format 'timm vit' is unknown; did you mean 'timm ViT'"):
        pretrained.load(vit, format="timm vit")
    bad = dict(swin) | {"head.weight": np.zeros((10, 63), np.float32)}
    with pytest.raises(UserError, match=r"params/head/kernel is \[63, 10\] in the file, and the model has \[64, 10\]"):
        pretrained.load(bad)
    tied = dict(case("bert_hf").weights)
    tied["cls.predictions.decoder.bias"] = tied["cls.predictions.decoder.bias"] + 1
    with pytest.raises(
        UserError,
        match=r"cls.predictions.bias, cls.predictions.decoder.bias are one parameter of the model, but differ in the file",
    ):
        pretrained.load(tied, num_heads=4)
    model, variables, _ = pretrained.load(vit, num_heads=4)
    with pytest.raises(UserError, match="official Swin has no names for a ViT"):
        pretrained.to_tensors(model, variables, "official Swin")
    with pytest.raises(UserError, match="give it another ending"):
        pretrained.save("x.pth", model, variables, "timm ViT")


def test_a_grid_whose_tokens_happen_to_be_a_square_is_read_right():
    """4 x 6 patches and a class token are 25."""
    model = ViT(num_classes=3, image_size=(16, 24), patch_size=4, width=32, depth=1, num_heads=2, mlp_width=48)
    variables = vit_variables(model)
    tensors = pretrained.to_tensors(model, variables, "timm ViT")
    again, same, report = pretrained.load(tensors, num_heads=2, image_size=(16, 24))
    assert (again, report.resized) == (model, {})
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_what_no_file_tells_is_in_the_report():
    report = pretrained.load(case("dinat").weights).report
    assert report.assumed["dilations"] == ()
    assert "dilations=()" in str(report)
    report = pretrained.load(case("vit_hf_cls").weights, num_heads=4, norm_epsilon=1e-6).report
    assert report.given == {"norm_epsilon": (1e-12, 1e-6)}


def test_a_file_of_an_mae_also_gives_a_vit():
    golden = case("mae_fb_sincos_pos")
    model, variables, report = pretrained.load(golden.weights, family="vit", num_heads=4)
    assert (type(model), model.num_classes) == (ViT, 0)
    assert "mask_token" in report.ignored
    mae, mae_variables, _ = pretrained.load(golden.weights, num_heads=4, decoder_num_heads=4)
    keep = np.tile(np.arange(16), (2, 1))
    images = nhwc(golden.inputs["image"])
    _, seen = run(mae, mae_variables, images, keep, mutable="intermediates")
    expected = seen["intermediates"]["encoder"]["tokens"][0][:, 0]
    np.testing.assert_allclose(run(model, variables, images), expected, atol=1e-5)


def test_load_into_a_model_that_there_is():
    golden = case("vit_timm_cls")
    model = ViT(
        num_classes=3,
        image_size=(32, 48),
        patch_size=8,
        width=48,
        depth=3,
        num_heads=4,
        mlp_width=192,
        pooling="mean",
        norm_after_pooling=True,
    )
    with pytest.raises(UserError, match="params/fc_norm/.* is absent in the weights"):
        pretrained.load_into(golden.weights, model, "vit")
    variables, report = pretrained.load_into(golden.weights, model, "vit", new=["fc_norm"], skip=["params/norm/"])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 48, 3)))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    flat = flatten_dict(variables, sep="/")
    assert np.array_equal(flat["params/block2/mlp/dense2/bias"], golden.weights["blocks.2.mlp.fc2.bias"])
    assert set(report.remade) == {
        "params/head/kernel",
        "params/head/bias",
        "params/fc_norm/scale",
        "params/fc_norm/bias",
    }
    assert sorted(report.unexpected) == ["params/norm/bias", "params/norm/scale"]


def test_the_command_line_says_what_a_file_is(tmp_path, capsys):
    from vitax.pretrained.__main__ import COMMAND

    def start(arguments):
        COMMAND.start(["pretrained", *arguments])

    path = tmp_path / "w.npz"
    np.savez(path, **case("swin_ms").weights)
    start([str(path)])
    out = capsys.readouterr().out
    assert "format    official Swin\nfamily    swin: Liu et al. 2021" in out
    assert "depths=(2, 2, 2)" in out
    assert "92 parameters loaded" in out
    start([str(path), "num_classes=4", f"--save={tmp_path / 'o.safetensors'}", "--format=timm Swin"])
    assert pretrained.load(tmp_path / "o.safetensors").report.format == "timm Swin"
    with pytest.raises(UserError, match="'num_classes' is not field=value"):
        start([str(path), "num_classes"])
