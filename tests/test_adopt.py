"""Configs whose model and preprocessing come from the weights that they start from."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import SMALL, run, variables_of

from vitax import pretrained
from vitax.adopt import adopted
from vitax.build import build
from vitax.config import flatten, literal, to_json
from vitax.config_file import load_config
from vitax.errors import UserError
from vitax.resolve import resolve
from vitax.runs.foreign import open_foreign
from vitax.runs.init_from import initial_variables

pytestmark = pytest.mark.usefixtures("quick_compile")

FINETUNE = str(Path(__file__).parent.parent / "configs" / "finetune.py")
PREPROCESSOR = dict(
    image_mean=[0.1, 0.2, 0.3],
    image_std=[0.5, 0.6, 0.7],
    size=dict(height=16, width=16),
    resample=2,
    image_processor_type="ViTImageProcessor",
)
SQUARE = dict(image_size=(16, 16))
# {format: (small model, fields that no file records)}
FORMATS = {
    "timm ViT": ("vit", SQUARE, "model.num_heads=2"),
    "official MAE": ("mae", SQUARE, "model.num_heads=2"),
    "official Swin": ("swin", SQUARE | dict(mlp_ratio=4.0), "model.num_heads=(2, 4)"),
    "official NAT": ("nat", dict(kernel=3), ""),
    "OpenAI CLIP": ("clip", SQUARE, "model.num_heads=2 model.activation=quick_gelu"),
    "timm Mixer": ("mlp_mixer", SQUARE, ""),
    "official DynamicViT": ("dynamic_vit", SQUARE, "model.num_heads=2"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs of 3 classes in a folder; 20 of each."""
    folder, rng = tmp_path_factory.mktemp("my photos"), np.random.default_rng(0)
    for name in "abc":
        (folder / name).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(folder / name / f"{i}.png")
    return folder


def write(folder, small, changes, format):
    model = SMALL[small].replaced(**changes)
    images = (np.zeros((1, 16, 16, 3), np.float32), *SMALL[small].inputs[1:])
    if small == "mae":
        images = (images[0], np.array([[0, 3]], np.int32))
    variables = variables_of(model, images)
    pretrained.save(folder / "model.safetensors", model, variables, format)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return model, variables


def typed(text):
    return {key: literal(value) for key, value in (part.split("=") for part in text.replace(", ", ",").split())}


def started(path, photos, **given):
    given = {key: literal(value) if isinstance(value, str) else value for key, value in given.items()}
    config = adopted(load_config(FINETUNE), {"init_from": str(path), **given})
    config["data"]["path"] = str(photos)
    config["init_from"] = str(path)
    built = build(resolve(config))
    return resolve(config), built, *initial_variables(built)


@pytest.mark.parametrize("format", FORMATS)
def test_every_family_that_classifies_starts_from_its_file(format, tmp_path, photos):
    small, changes, given = FORMATS[format]
    _, variables = write(tmp_path, small, changes, format)
    config, built, found, report = started(tmp_path, photos, **typed(given))
    data = config["data"]
    assert (data["mean"], data["std"], data["interpolation"]) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), "bilinear")
    assert data["test_crop_fraction"] == 0, "a ViTImageProcessor squeezes the whole image"
    assert data["image_size"] == (16, 16)
    assert built.model.num_classes == 3
    assert "preprocessing mean=(0.1, 0.2, 0.3)" in report
    recipe = adopted(load_config(FINETUNE), flatten(config))
    assert resolve(recipe)["model"] == config["model"], "the recipe of the run is found again from its config"
    new = {path.split("/")[1] for path in pretrained.paths(found) if path not in pretrained.paths(variables)}
    assert new <= {"fc_norm", "head"} or small in ("mae", "clip")
    part = {"mae": "encoder", "clip": "image"}.get(small)
    theirs = variables["params"][part] if part else variables["params"]
    for block in [name for name in found["params"] if name.startswith("block")]:
        assert np.array_equal(found["params"][block]["norm1"]["scale"], theirs[block]["norm1"]["scale"])


def test_features_equal_those_of_the_file(tmp_path, photos):
    model, _ = write(tmp_path, "vit", SQUARE | dict(activation="quick_gelu", norm_epsilon=1e-3), "timm ViT")
    given = {"model.num_heads": "2", "model.activation": "quick_gelu", "model.norm_epsilon": "1e-3"}
    _, built, found, _ = started(tmp_path, photos, **given)
    foreign = open_foreign(tmp_path, num_heads=2, activation="quick_gelu", norm_epsilon=1e-3)
    image = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    bare = dict(num_classes=0)
    a = run(built.model.clone(**bare), found, image)
    b = run(foreign.model.clone(**bare), foreign.variables, image)
    assert np.array_equal(a, b)
    assert model.activation == built.model.activation == "quick_gelu"


def test_what_contradicts_the_weights_is_refused_by_name(tmp_path, photos):
    write(tmp_path, "vit", SQUARE, "timm ViT")
    for given, told in (
        ({"model.depth": "3"}, "depth=3 contradicts the file, which has 2"),
        ({"model.patch_size": "8"}, "patch_size=8 contradicts the file, which has 4"),
        ({"model.name": "swin"}, "config.model.name='swin' contradicts"),
        ({"model.size": "L"}, "config.model.size cannot be chosen"),
        ({"data.mean": "(0.5, 0.5, 0.5)"}, "config.data.mean=.0.5, 0.5, 0.5. contradicts .*preprocessor_config.json"),
        ({"data.interpolation": "nearest"}, "config.data.interpolation=nearest contradicts"),
    ):
        with pytest.raises(UserError, match=told):
            started(tmp_path, photos, **{"model.num_heads": "2", **given})
    with pytest.raises(UserError, match="set --config.init_from"):
        adopted(load_config(FINETUNE), {})
    with pytest.raises(
        UserError, match="holds a model of images, and this config is for texts: use configs/finetune.py"
    ):
        adopted(load_config(f"{FINETUNE}:text"), {"init_from": str(tmp_path), "model.num_heads": 2})


def test_unknown_preprocessing_has_to_be_given(tmp_path, photos):
    write(tmp_path, "vit", SQUARE, "timm ViT")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="no file beside .* give mean and std, such as --config.data.mean="):
        started(tmp_path, photos, **{"model.num_heads": "2"})
    given = {"data.mean": "(0.5, 0.4, 0.3)", "data.std": "(0.5, 0.5, 0.5)", "model.num_heads": "2"}
    config, *_ = started(tmp_path, photos, **given)
    assert config["data"]["mean"] == (0.5, 0.4, 0.3)
    assert config["data"]["test_crop_fraction"] == 0.875


def test_texts_bring_their_tokenizer(tmp_path):
    model = SMALL["bert"].replaced(heads="none")
    pretrained.save(
        tmp_path / "model.safetensors", model, variables_of(model, SMALL["bert"].inputs), "Hugging Face BERT"
    )
    given = {"init_from": str(tmp_path), "model.num_heads": 2}
    with pytest.raises(UserError, match="neither tokenizer.json nor vocab.txt is beside"):
        adopted(load_config(f"{FINETUNE}:text"), given)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + "\n".join("abcdefghijklmnopqrstuvwxy"))
    with pytest.raises(UserError, match="set --config.data.lowercase=True"):
        adopted(load_config(f"{FINETUNE}:text"), given)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    config = resolve(adopted(load_config(f"{FINETUNE}:text"), given))
    assert config["data"]["tokenizer"] == str(tmp_path / "vocab.txt")
    assert (config["data"]["lowercase"], config["data"]["length"]) == (False, 12)
    assert (config["model"]["name"], config["model"]["heads"], config["model"]["depth"]) == ("bert", "classes", 2)


def test_a_run_with_other_preprocessing_than_its_weights_is_refused(tmp_path, photos):
    write(tmp_path, "vit", SQUARE, "timm ViT")
    config, *_ = started(tmp_path, photos, **{"model.num_heads": "2"})
    config["data"]["mean"] = (0.5, 0.5, 0.5)
    with pytest.raises(
        UserError, match="records mean=.0.1, 0.2, 0.3., this run has .0.5, 0.5, 0.5.: set --config.data"
    ):
        initial_variables(build(config))


def test_a_tokenizer_config_is_understood_or_refused(tmp_path):
    model = SMALL["bert"].replaced(heads="none")
    pretrained.save(
        tmp_path / "model.safetensors", model, variables_of(model, SMALL["bert"].inputs), "Hugging Face BERT"
    )
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    given = {"init_from": str(tmp_path), "model.num_heads": 2}
    for text, told in (
        ("{", "is not JSON"),
        ("[1]", "does not say whether texts are of lower case"),
        ('{"do_lower_case": "no"}', "neither true nor false"),
        ("{}", "set --config.data.lowercase=True"),
        ('{"do_lower_case": true, "strip_accents": false}', "strip_accents=False, which vitax does not apply"),
        ('{"do_lower_case": false, "tokenize_chinese_chars": false}', "tokenize_chinese_chars=False"),
        ('{"do_lower_case": false, "cls_token": {"content": "[SEP]"}}', "cls_token='\\[SEP\\]'"),
        ('{"do_lower_case": false, "word_tokenizer_type": "mecab"}', "word_tokenizer_type='mecab'"),
    ):
        (tmp_path / "tokenizer_config.json").write_text(text)
        with pytest.raises(UserError, match=told):
            adopted(load_config(f"{FINETUNE}:text"), given)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(UserError, match="config.data.lowercase=False contradicts .*, which has True"):
        adopted(load_config(f"{FINETUNE}:text"), {**given, "data.lowercase": False})


STARTS = {"mae_b16_pretrain": "vit", "dynamic_vit_s": "vit", "clip_vit_b32": "vit", "clip_b16_lit": "vit"}
STARTS |= {"mixer_b16": "mlp_mixer", "swin_t": "swin", "nat_t": "nat", "vit_b16": "vit", "fnet_image": "fnet_image"}
STARTS |= {"bert_base": "bert", "fnet_base": "fnet", "fnet_hybrid": "fnet"}
STARTS |= dict.fromkeys(("clip_rn50", "lm_small", "rnn_attention", "swinir_denoise", "transformer_base"), "")


@pytest.mark.parametrize("name", STARTS)
def test_the_run_of_every_demo_is_adopted_or_refused_by_name(name, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    trained = resolve(load_config(str(Path(FINETUNE).parent / f"{name}.py:demo")))
    (tmp_path / "config.json").write_text(to_json(trained))
    texts = STARTS[name] in ("bert", "fnet")
    spec, given = FINETUNE + (":text" if texts else ""), {"init_from": str(tmp_path)}
    if not STARTS[name]:
        with pytest.raises(UserError, match="which vitax does not fine-tune as a classifier"):
            adopted(load_config(spec), given)
        return
    config = resolve(adopted(load_config(spec), given))
    assert config["model"]["name"] == STARTS[name]
    key = "length" if texts else "mean"
    assert config["data"][key] == trained["data"][key]
    if not texts:
        with pytest.raises(UserError, match="config.data.mean=.0.7,. contradicts"):
            adopted(load_config(spec), {**given, "data.mean": (0.7,)})
