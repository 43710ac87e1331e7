"""Trained runs in the forms of other projects."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from commands import refused
from demo_runs import opened
from flax.traverse_util import unflatten_dict
from jax import export
from PIL import Image

from vitax.data.tokens import train_bpe
from vitax.exports.onnx import write_onnx
from vitax.exports.programs import examples, largest_difference, program_of
from vitax.prediction import load_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_a_run_becomes_a_folder_of_timm(trained, verb, tmp_path):
    run = trained("vit")
    done = verb("export", f"--workdir={run}", "--format=timm", f"--out={tmp_path}/my model")
    assert done.returncode == 0, done.stderr
    assert "timm ViT, for timm; read back: every field and every number is equal" in done.stdout
    config = json.loads((tmp_path / "my model" / "config.json").read_text())
    assert config["label_names"] == [str(k) for k in range(10)]
    assert config["pretrained_cfg"]["input_size"] == [1, 8, 8]
    described = verb("pretrained", str(tmp_path / "my model"))
    assert described.returncode == 0, described.stderr
    assert "ViT(num_classes=10" in described.stdout
    assert "mean=(0.5,)" in described.stdout
    refused(verb("export", f"--workdir={run}", "--format=timm", f"--out={tmp_path}/my model"), "exists already")
    again = verb("pretrained", str(tmp_path / "my model"), f"--save={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    copied = json.loads((tmp_path / "again" / "config.json").read_text())
    for key in ("mean", "std", "crop_pct", "interpolation"):
        assert copied["pretrained_cfg"][key] == config["pretrained_cfg"][key]
    assert copied["label_names"] == config["label_names"]


def test_a_bert_brings_its_tokenizer(trained, verb, tmp_path):
    out = tmp_path / "out"
    done = verb("export", f"--workdir={trained('bert')}", "--format=hf", f"--out={out}")
    assert done.returncode == 0, done.stderr
    config, settings = (json.loads((out / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
    assert config["architectures"] == ["BertForPreTraining"]
    assert (config["pad_token_id"], config["eos_token_id"]) == (0, 3)
    assert (settings["pad_token"], settings["cls_token"], settings["sep_token"]) == ("[PAD]", "[CLS]", "[SEP]")
    assert settings["split_special_tokens"], "[SEP] in a text is text"
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    ids = tokenizer.encode("a value", "another").ids
    assert (ids[0], ids[-1], ids.count(3)) == (2, 3, 2)


def test_the_special_tokens_of_a_tokenizer_json_are_those_of_framed():
    vocab = train_bpe(["a text of words", "and another text"], 300)
    framing = tokenizers.Tokenizer.from_str(vocab.framing_json())
    pair = framing.encode("a text", "words")
    first, second = vocab.encode("a text"), vocab.encode("words")
    assert framing.encode("a text").ids == [vocab.begin, *first, vocab.end]
    assert pair.ids == [vocab.begin, *first, vocab.end, *second, vocab.end]
    assert pair.type_ids == [0] * (len(first) + 2) + [1] * (len(second) + 1)


@pytest.mark.parametrize("name", ["vit", "mae", "bert"])
def test_stablehlo_equals_the_model_at_any_batch_size(name, trained, verb, tmp_path):
    out, run = tmp_path / "out", trained(name)
    done = verb("export", f"--workdir={run}", "--format=stablehlo", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "compared with the model on 10 examples: the largest difference is" in done.stdout
    about = json.loads((out / "about.json").read_text())
    program = export.deserialize(bytearray((out / "program.jax").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    variables = unflatten_dict(safetensors.numpy.load_file(out / "weights.safetensors"), sep="/")
    rng = np.random.default_rng(0)
    inputs = {
        key: rng.integers(5, 200, (3, *told["shape"][1:])).astype(told["dtype"])
        if key != "segments"
        else np.zeros((3, *told["shape"][1:]), told["dtype"])
        for key, told in about["inputs"].items()
    }
    opened = load_run(run)
    ours = program_of(opened)
    expected, found = ours.function(ours.variables, inputs), program.call(variables, inputs)
    assert set(found) == set(expected) == set(about["outputs"])
    assert largest_difference(expected, found, out) < 1e-5
    batch = opened.reader.pad([], 3) | inputs
    whole = opened.task.predict(opened.variables, batch)
    assert largest_difference({key: whole[key] for key in about["outputs"]}, found, out) < 1e-5
    if name == "vit":
        assert about["class_names"] == [str(k) for k in range(10)]
        assert about["images"]["image_size"] == [8, 8]
        assert np.allclose(np.sum(found["probabilities"], axis=1), 1, atol=1e-6)


def test_raw_programs_and_named_images(trained, verb, tmp_path, rng):
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    out = tmp_path / "out"
    done = verb(
        "export", f"--workdir={trained('vit')}", "--format=stablehlo", "--raw", f"--out={out}", f"{tmp_path}/0.png",
        f"{tmp_path}/1.png", f"{tmp_path}/2.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 3 examples" in done.stdout
    about = json.loads((out / "about.json").read_text())
    assert about["inputs"]["image"] == {"shape": ["batch", 8, 8, 1], "dtype": "float32"}
    assert about["outputs"] == ["logits"]
    assert about["images"]["mean"] == [0.5]


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(trained, verb, tmp_path, monkeypatch):
    def fails(*arguments, name="vit"):
        done = verb("export", f"--workdir={trained(name)}", f"--out={tmp_path}/out", *arguments)
        assert not list(tmp_path.glob("*out*"))
        return done

    refused(fails("--format=pth"), "--format='pth' is unknown; choose one of hf, timm, open_clip, stablehlo, onnx")
    refused(fails("--format=hf"), "Hugging Face ViT has params/cls_token, which the variables of this model lack")
    refused(
        fails("--format=open_clip"),
        "open_clip has no models of the family 'vit', only clip; --format of this one: hf, timm, stablehlo, onnx",
    )
    refused(fails("--format=hf", "--raw"), "--raw is for programs")
    refused(fails("--format=stablehlo", "--raw", name="bert"), "--raw gives the logits of a classifier")
    refused(fails("--format=stablehlo", "nothing.png"), "nothing.png does not exist")
    refused(fails("--format=stablehlo", "texts.txt", name="bert"), "is checked with texts of its run: name no files")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    refused(fails("--format=stablehlo", "broken.png"), "broken.png")
    refused(verb("export", "--format=hf"), "give --workdir=RUN")


def test_a_program_that_differs_is_not_called_done():
    same = {"probabilities": np.full((2, 3), 1 / 3)}
    assert largest_difference(same, same, "here") == 0
    for other in (np.full((2, 3), 0.3), np.full((2, 3), np.nan), np.full((1, 3), 1 / 3)):
        with pytest.raises(ValueError, match="here gives"):
            largest_difference(same, {"probabilities": other}, "here")


def test_onnx_equals_the_model(trained, verb, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="vitax[onnx] is not installed")
    pytest.importorskip("jax2onnx", reason="vitax[onnx] is not installed")
    run, out = trained("vit"), tmp_path / "out"
    done = verb("export", f"--workdir={run}", "--format=onnx", f"--out={out}")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 1), dtype=np.uint8)
    (found,) = session.run(["probabilities"], {"image": images})
    program = program_of(load_run(run))
    expected = jax.jit(program.function)(program.variables, {"image": images})["probabilities"]
    assert np.abs(found - np.asarray(expected)).max() < 1e-5


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("upernet_swin_t", dict(depths=(1, 1), width=8, window=4, head_width=8, auxiliary_width=0)),
        ("upernet_vit_b16", dict(width=16, mlp_width=16, head_width=8, auxiliary_width=0)),
        ("detr_r50", dict(depths=(1,), width=8, head_width=16, head_mlp_width=8, encoder_depth=1, decoder_depth=1)),
    ],
)
def test_onnx_of_masks_and_boxes_equals_the_model(config, fields, tmp_path):
    pytest.importorskip("onnxruntime", reason="vitax[onnx] is not installed")
    pytest.importorskip("jax2onnx", reason="vitax[onnx] is not installed")
    run, _ = opened(config, fields)
    program = program_of(run)
    inputs = examples(run, program, [])
    assert write_onnx(program, tmp_path, {}, inputs).difference < 1e-4  # of numbers that it compares by itself


def test_a_missing_extra_is_named(trained, verb, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    done = verb("export", f"--workdir={trained('vit')}", "--format=onnx", f"--out={tmp_path}/out")
    refused(done, "--format=onnx needs", 'pip install "vitax[onnx]"')
