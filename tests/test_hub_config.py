"""The config.json beside weights: what it tells is used, what it contradicts is refused, whatever the tensors show."""

import json

import numpy as np
import pytest
import safetensors.numpy
from golden import case

from vitax import pretrained
from vitax.errors import UserError
from vitax.nn.interpolation import resize_positions
from vitax.pretrained import files
from vitax.pretrained.config_keys import square
from vitax.pretrained.hub_config import config_fields
from vitax.pretrained.preprocessing import class_names


@pytest.fixture
def folder(tmp_path):
    """``folder("vit_hf", config)``: a folder of a model hub with the weights of a golden case."""

    def make(name, config, weights=None, file="model.safetensors", config_file="config.json"):
        tensors = {key: np.ascontiguousarray(x) for key, x in (weights or dict(case(name).weights)).items()}
        safetensors.numpy.save_file(tensors, tmp_path / file)
        (tmp_path / config_file).write_text(json.dumps(config))
        return tmp_path

    return make


VIT = dict(model_type="vit", num_attention_heads=4, hidden_act="gelu", layer_norm_eps=1e-12)
BERT = dict(model_type="bert", num_attention_heads=4, hidden_act="gelu", layer_norm_eps=1e-12)
TIMM = dict(architecture="vit_tiny_patch16_224", model_args=dict(num_heads=4))


def test_what_the_config_tells_is_used_and_reported(folder):
    path = folder("vit_timm_cls", TIMM | dict(architecture="vit_base_patch32_clip_quickgelu_224.openai"))
    model, _, report = pretrained.load(path)
    assert (model.activation, model.norm_epsilon, model.num_heads) == ("quick_gelu", 1e-5, 4)
    assert report.told["activation"] == "quick_gelu"
    assert "config.json" in str(report)
    assert not report.assumed


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("bert", BERT | dict(model_type="roberta"), "model_type='roberta'.*Hugging Face BERT"),
        ("bert", BERT | dict(is_decoder=True), "is_decoder=True"),
        ("bert", BERT | dict(position_embedding_type="relative_key"), "position_embedding_type='relative_key'"),
        ("bert", BERT | dict(hidden_act="mish"), "activation 'mish'"),
        ("bert", BERT | dict(num_hidden_layers=1), "depth=1, but the tensors have 3"),
        ("bert", BERT | dict(new_trick=3), "new_trick=3, a key that vitax does not know"),
        (
            "vit_timm_cls",
            TIMM | dict(architecture="vit_base_patch16_rpn_224"),
            "architecture 'vit_base_patch16_rpn_224'",
        ),
        ("vit_timm_cls", TIMM | dict(architecture="eva02_tiny_patch14_224"), "architecture 'eva02_tiny_patch14_224'"),
        ("vit_timm_cls", TIMM | dict(model_args=dict(num_heads=4, global_pool="avgmax")), "global_pool='avgmax'"),
        ("vit_timm_cls", TIMM | dict(model_args=dict(num_heads=4, global_pool="")), "gives all tokens"),
        ("vit_timm_cls", TIMM | dict(pretrained_cfg=dict(global_pool="")), "gives all tokens"),
        ("bert", BERT | dict(architectures=["BertForTokenClassification"]), "'BertForTokenClassification', whose head"),
        ("vit_timm_cls", TIMM | dict(model_args=dict(embed_dim=32)), "change embed_dim and not num_heads"),
        ("vit_timm_cls", TIMM | dict(model_args=dict(num_heads=4, patch_size=[4, 8])), "which is not square"),
        (
            "vit_timm_cls",
            TIMM | dict(model_args=dict(num_heads=4, pool_include_prefix=True)),
            "pool_include_prefix=True",
        ),
        ("vit_timm_cls", TIMM | dict(num_classes=3), "num_classes=3, but the tensors have"),
        ("vit_timm_cls", VIT, "model_type='vit', but the tensors are named as those of timm ViT"),
    ],
)
def test_another_model_with_the_same_names_is_refused(folder, name, config, message):
    name = "bert_hf" if name == "bert" else name
    with pytest.raises(UserError, match=message):
        pretrained.load(folder(name, config))


def test_a_field_that_contradicts_the_config_is_refused(folder):
    path = folder("vit_timm_cls", TIMM)
    with pytest.raises(UserError, match=r"activation='relu' contradicts the config.json .* 'gelu'"):
        pretrained.load(path, activation="relu")
    assert pretrained.load(path, otherwise=dict(activation="relu")).model.activation == "gelu"


def test_pooling_by_the_mean_without_a_norm_after_it_shows_in_the_config_alone(folder):
    args = dict(num_heads=4, global_pool="avg", fc_norm=False)
    assert pretrained.load(folder("vit_timm_cls", TIMM | dict(model_args=args))).model.pooling == "mean"


def test_clip_of_hugging_face_has_its_own_end_token_and_towers():
    text = dict(eos_token_id=30, hidden_act="gelu", layer_norm_eps=1e-3)
    config = dict(model_type="clip", text_config=text, vision_config=dict(hidden_act="gelu_new"), projection_dim=8)
    fields = config_fields(config, "Hugging Face CLIP")
    assert fields["end_token"] == 30
    assert (fields["activation"], fields["text_activation"]) == ("gelu_tanh", "gelu")
    assert (fields["norm_epsilon"], fields["text_norm_epsilon"]) == (1e-5, 1e-3)
    assert fields["out_width"] == 8
    legacy = config_fields(config | dict(text_config_dict=dict(eos_token_id=2)), "Hugging Face CLIP")
    assert legacy["end_token"] == -1  # the largest id


@pytest.mark.parametrize(
    ("text", "vision", "message"),
    [
        (dict(pool_type="last"), {}, "pool_type='last'"),
        (dict(no_causal_mask=True), {}, "no_causal_mask=True"),
        ({}, dict(pool_type="avg"), "pool_type='avg'"),
        ({}, dict(act_kwargs=dict(negative_slope=1)), "act_kwargs"),
        ({}, dict(ls_init_value=0.1), "ls_init_value=0.1"),
    ],
)
def test_options_of_open_clip(text, vision, message):
    def read(**towers):
        return config_fields({"model_cfg": dict(embed_dim=8, **towers)}, "OpenAI CLIP")

    with pytest.raises(UserError, match=message):
        read(text_cfg=text, vision_cfg=vision)
    fields = read(text_cfg=dict(act_kwargs=dict(approximate="tanh"), pool_type="eos", eos_id=7), vision_cfg={})
    assert (fields["text_activation"], fields["activation"], fields["end_token"]) == ("gelu_tanh", "gelu", 7)


def test_marian_may_have_other_heads_in_the_decoder_and_unscaled_embeddings():
    config = dict(
        model_type="marian", encoder_attention_heads=4, decoder_attention_heads=8, activation_function="swish"
    )
    fields = config_fields(config, "Hugging Face Marian")
    assert (fields["num_heads"], fields["decoder_heads"], fields["scale_embedding"]) == (4, 8, False)
    with pytest.raises(UserError, match="normalize_before=True"):
        config_fields(config | dict(normalize_before=True), "Hugging Face Marian")


def test_a_config_of_something_else_is_not_taken_for_the_models():
    assert config_fields({"lr": 3}, "timm ViT") == {}


def test_bare_weights_that_look_like_roberta_are_refused(folder):
    weights = dict(case("bert_hf").weights)
    table = "bert.embeddings.token_type_embeddings.weight"
    weights[table] = weights[table][:1]
    with pytest.raises(UserError, match=r"as those of RoBERTa.*format='Hugging Face BERT'"):
        pretrained.load(weights, num_heads=4)
    nameless = {"architectures": ["RobertaModel"], "num_attention_heads": 4, "type_vocab_size": 1}
    with pytest.raises(UserError, match="as those of RoBERTa"):
        pretrained.load(folder("bert_hf", nameless, weights))


def test_prefixes_and_entries_of_training_scripts():
    golden = case("vit_timm_cls")
    plain = pretrained.load(golden.weights, num_heads=4)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "model.backbone."):
        wrapped = {prefix + name: x for name, x in golden.weights.items()} | {"n_averaged": np.int64(3)}
        _, variables, report = pretrained.load(wrapped, num_heads=4)
        assert report.prefix == prefix
        assert np.array_equal(variables["params"]["head"]["kernel"], plain.variables["params"]["head"]["kernel"])
    both = files.flatten({"model": {"w": np.ones(2)}, "model_ema": {"w": np.zeros(2)}, "epoch": 3})
    assert (both.entry, both.others) == ("model", ("model_ema",))
    assert (
        files.flatten({"model": {"w": np.ones(2)}, "model_ema": {"w": np.zeros(2)}}, "model_ema").tensors["w"][0] == 0
    )
    assert files.flatten({"model_ema": {"w": np.zeros(2)}}).entry == "model_ema"
    with pytest.raises(files.Refused, match="several entries of tensors: 'student', 'critic'"):
        files.flatten({"student": {"w": np.ones(2)}, "critic": {"w": np.ones(2)}})


def test_shards_are_joined_and_a_missing_one_is_named(tmp_path):
    weights = dict(case("vit_timm_cls").weights)
    names = sorted(weights)
    shards = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, part in shards.items():
        safetensors.numpy.save_file({name: np.ascontiguousarray(weights[name]) for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert files.read(tmp_path).tensors.keys() == weights.keys()
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"lists b.safetensors, which is not there"):
        files.read(tmp_path)


def test_files_that_are_no_weights_are_named_and_numbers_that_are_not_finite_too(tmp_path):
    for name, content, message in (
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        ("page.safetensors", b"<!DOCTYPE html><html>", "a web page"),
        ("empty.bin", b"", "it is empty"),
        ("keras.h5", b"\x89HDF\r\n", "HDF5"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            files.read(tmp_path / name)
    safetensors.numpy.save_file({"a": np.array([1, np.nan], np.float32)}, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match=r"not finite \(NaN or infinity\) in a"):
        files.read(tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match="cannot be opened"):
        files.read("x" * 300)


def test_positions_without_antialiasing_are_those_of_torch():
    """The values of a step at twice the size are those that torch.nn.functional.interpolate gives."""
    step = np.repeat(np.array([0.0, 0.0, 1.0, 1.0]), 4).reshape(4, 4, 1)
    out = np.asarray(resize_positions(step.astype(np.float32), (8, 4), antialias=False))[:, 0, 0]
    assert np.allclose(out, [0, -0.03515625, -0.10546875, 0.2265625, 0.7734375, 1.10546875, 1.03515625, 1], atol=1e-6)


def test_what_bare_weights_leave_open_is_told():
    """The tensors of a ViT do not show whether timm pools by the class token, by the mean or by the maximum."""
    _, _, report = pretrained.load(dict(case("vit_timm_cls").weights), num_heads=4)
    assert report.assumed["pooling"] == "token"
    _, _, report = pretrained.load(dict(case("vit_timm_cls").weights), num_heads=4, pooling="mean")
    assert "pooling" not in report.assumed


def test_a_side_may_be_a_list_of_two_equal_ones():
    assert square([8, 8]) == square(8) == 8
    with pytest.raises(UserError, match=r"\[4, 8\], which is not square"):
        square([4, 8])


def test_the_older_object_of_a_text_tower_has_defaults_of_its_own():
    """transformers fills text_config_dict up with its defaults before it overrides text_config."""
    towers = dict(
        text_config=dict(hidden_act="gelu", num_attention_heads=4),
        text_config_dict=dict(num_attention_heads=4),
        vision_config=dict(num_attention_heads=4),
    )
    told = config_fields(dict(model_type="clip", **towers), "Hugging Face CLIP")
    assert told["text_activation"] == "quick_gelu"


def test_patches_that_are_no_squares_are_refused():
    tensors = dict(case("vit_timm_cls").weights)
    tensors["patch_embed.proj.weight"] = np.repeat(tensors["patch_embed.proj.weight"], 2, axis=3)
    with pytest.raises(UserError, match="has patches of .* pixels; vitax has square ones only"):
        pretrained.load(tensors, num_heads=4)


def test_the_numbers_of_classes_begin_at_0():
    assert class_names({"id2label": {"1": "dog", "0": "cat"}}) == ("cat", "dog")
    with pytest.raises(UserError, match="has the numbers 1, 2, not 0 to 1"):
        class_names({"id2label": {"1": "cat", "2": "dog"}})
