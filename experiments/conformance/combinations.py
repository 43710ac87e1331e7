"""Combinations of weights as users have them: models of the peers' own constructors, written by the peers.

Each is a model with random parameters, so small that it runs in a second, that is written as its library writes it, and
the output of that library for random inputs.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import safetensors.torch
import timm
import torch
import transformers
from timm.models import save_for_hf

transformers.utils.logging.disable_progress_bar()
SIDE = 32


class Combination(NamedTuple):
    """Weights on disk, and what they compute.

    Attributes:
        name: for the table.
        write: folder -> path to load.
        inputs: arguments of the model, images as [B, C, H, W].
        expected: {output: array}.
        fields: what a user has to say, because no file tells it.
    """

    name: str
    write: Callable[[Path], Path]
    inputs: tuple[np.ndarray, ...]
    expected: dict[str, np.ndarray]
    fields: dict[str, Any] = {}


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model, with no parameter at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if "running" in n)]:
            if "embed_positions" in name or not x.is_floating_point():
                continue
            draw = torch.randn(x.shape, generator=generator)
            if x.ndim > 1:
                x.copy_(draw * min(0.3, max(0.1, x[0].numel() ** -0.5)))
            elif name.endswith("running_var"):
                x.copy_(0.5 + draw.abs())
            elif "norm" in name.lower() and name.endswith("weight"):
                x.copy_(1 + 0.2 * draw)
            elif "logit_scale" not in name:
                x.copy_(0.1 * draw)
    return model.eval()


def pixels(height: int = SIDE, width: int = SIDE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, channels, height, width)).astype(np.float32)


def words(vocab: int, length: int = 9, low: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(low, vocab, (2, length))


def run(model: torch.nn.Module, *inputs: np.ndarray, **options: Any) -> Any:
    with torch.no_grad():
        return model(*(torch.from_numpy(x) for x in inputs), **options)


def parts(out: Any, *names: str) -> dict[str, np.ndarray]:
    return {name: out[name].numpy() for name in names if out.get(name) is not None}


# timm -----------------------------------------------------------------------------------------------------------------


def of_timm(names: list[str]) -> Iterator[Combination]:
    """Every architecture that is built of patches and blocks, with one block and small images."""
    for name in names:
        for options in _timm_options(name):
            try:
                model = randomised(timm.create_model(name, **options))
            except (TypeError, RuntimeError, AssertionError, ValueError):
                continue  # this architecture has no such option
            yield _timm(f"timm {name} {options}", model, options)
            break


def _timm_options(name: str) -> Iterator[dict[str, Any]]:
    patch = 32 if "patch32" in name else 14 if "patch14" in name else 8 if "patch8" in name else 16
    yield dict(depth=1, img_size=4 * patch, num_classes=5)
    yield dict(num_blocks=1, num_classes=5)
    yield dict(depths=(1, 1, 2, 1), num_classes=5)


def _timm(
    name: str, model: torch.nn.Module, options: dict[str, Any], fields: dict[str, Any] | None = None
) -> Combination:
    size = options.get("img_size", model.pretrained_cfg["input_size"][-1])
    height, width = size if isinstance(size, tuple) else (size, size)
    images = pixels(height, width, options.get("in_chans", 3))

    def write(folder: Path) -> Path:
        save_for_hf(model, folder, model_args=options, safe_serialization=True)
        return folder

    return Combination(name, write, (images,), {"out": run(model, images).numpy()}, fields or {})


def of_timm_options() -> Iterator[Combination]:
    """Options of timm's ViT, Swin and Mixer, recorded in model_args."""
    small = dict(img_size=SIDE, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=5)
    options: list[dict[str, Any]] = [
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "class_token": False},
        {"global_pool": "max"},
        {"global_pool": "avgmax"},
        {"global_pool": "map"},
        {"global_pool": "token", "fc_norm": True},
        {"qkv_bias": False},
        {"pre_norm": True},
        {"in_chans": 1},
        {"in_chans": 4},
        {"num_classes": 0},
        {"img_size": (16, 40)},
        {"img_size": (64, 32)},
        {"no_embed_class": True},
        {"reg_tokens": 1},
        {"reg_tokens": 4, "no_embed_class": True},
        {"reg_tokens": 4, "class_token": False, "global_pool": "avg"},
        {"init_values": 1e-5},
        {"qk_norm": True},
        {"qk_norm": True, "init_values": 0.1, "reg_tokens": 2},
        {"act_layer": "gelu_tanh"},
        {"act_layer": "quick_gelu"},
        {"act_layer": "relu"},
        {"act_layer": "silu"},
        {"act_layer": "mish"},
        {"pos_embed": "none"},
        {"final_norm": False},
        {"pool_include_prefix": True, "global_pool": "avg"},
        {"proj_bias": False},
        {"scale_attn_norm": True},
        {"dynamic_img_size": True},
        {"dynamic_img_pad": True, "dynamic_img_size": True},
        {"mlp_ratio": 2.5},
        {"num_heads": 8},
        {"embed_norm_layer": "layernorm"},
        {"norm_layer": "rmsnorm"},
    ]
    bases = (
        "vit_base_patch16_224",
        "vit_base_patch32_clip_quickgelu_224",
        "vit_base_patch32_siglip_256",
        "deit3_small_patch16_224",
    )
    for base, extra in itertools.product(bases, options):
        chosen = small | extra
        try:
            model = randomised(timm.create_model(base, **chosen))
        except (TypeError, RuntimeError, AssertionError, ValueError):
            continue
        yield _timm(f"timm {base} {extra}", model, chosen)
    swin: list[dict[str, Any]] = [
        {},
        {"img_size": (32, 64)},
        {"img_size": 36},
        {"img_size": (24, 40), "window_size": 3},
        {"window_size": 5, "img_size": 44},
        {"window_size": 8, "img_size": (32, 64)},
        {"window_size": 7, "img_size": 56},
        {"in_chans": 1},
        {"num_classes": 0},
        {"always_partition": True},
        {"qkv_bias": False},
        {"mlp_ratio": 3.0},
        {"global_pool": "max"},
        {"strict_img_size": False},
        {"patch_size": 2},
    ]
    for extra in swin:
        chosen = dict(img_size=32, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5) | extra
        try:
            model = randomised(timm.create_model("swin_tiny_patch4_window7_224", **chosen))
        except (TypeError, RuntimeError, AssertionError, ValueError):
            continue
        yield _timm(f"timm swin {extra}", model, chosen)
    for extra in (
        {},
        {"img_size": (32, 48)},
        {"num_classes": 0},
        {"in_chans": 1},
        {"global_pool": "max"},
        {"act_layer": "relu"},
    ):
        chosen = dict(img_size=32, patch_size=8, embed_dim=32, num_blocks=2, num_classes=5) | extra
        try:
            yield _timm(f"timm mixer {extra}", randomised(timm.create_model("mixer_b16_224", **chosen)), chosen)
        except (TypeError, RuntimeError, AssertionError, ValueError):
            continue


# Hugging Face ---------------------------------------------------------------------------------------------------------

VIT = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=SIDE, patch_size=8
)
TEXT = dict(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
)


def _saved(model: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        model.save_pretrained(folder)
        return folder

    return write


def of_hugging_face_images() -> Iterator[Combination]:
    """ViT, DeiT, Swin and models with the same names of tensors."""
    t = transformers
    general: list[dict[str, Any]] = [
        {},
        {"hidden_act": "gelu_new"},
        {"hidden_act": "quick_gelu"},
        {"hidden_act": "relu"},
        {"hidden_act": "mish"},
        {"layer_norm_eps": 1e-3},
        {"qkv_bias": False},
        {"num_channels": 1},
        {"num_attention_heads": 8},
        {"image_size": 48},
        {"pooler_act": "relu"},
        {"id2label": {i: f"class {i}" for i in range(7)}, "label2id": {f"class {i}": i for i in range(7)}},
    ]
    classes = [
        (t.ViTConfig, "ViTModel"),
        (t.ViTConfig, "ViTForImageClassification"),
        (t.ViTConfig, "ViTForMaskedImageModeling"),
        (t.DeiTConfig, "DeiTModel"),
        (t.DeiTConfig, "DeiTForImageClassification"),
        (t.DeiTConfig, "DeiTForImageClassificationWithTeacher"),
        (t.ViTMSNConfig, "ViTMSNModel"),
        (t.IJepaConfig, "IJepaModel"),
        (t.YolosConfig, "YolosModel"),
        (t.Dinov2Config, "Dinov2Model"),
        (t.BeitConfig, "BeitModel"),
        (t.Data2VecVisionConfig, "Data2VecVisionModel"),
    ]
    for config, name in classes:
        for extra in general if name.startswith(("ViTModel", "ViTForImage", "DeiT")) else general[:2]:
            settings = VIT | extra
            if config is t.YolosConfig:
                settings |= dict(image_size=[SIDE, SIDE], num_detection_tokens=2)
            try:
                model = randomised(getattr(t, name)(config(**settings)))
            except (TypeError, ValueError, KeyError, AttributeError):
                continue
            images = pixels(
                *[settings["image_size"] if isinstance(settings["image_size"], int) else SIDE] * 2,
                settings.get("num_channels", 3),
            )

            out = None if name == "ViTForMaskedImageModeling" else run(model, images)
            expected = {} if out is None else parts(out, "logits", "pooler_output") or parts(out, "last_hidden_state")
            yield Combination(f"hf {name} {extra}", _saved(model), (images,), expected)
    for name, pooling in itertools.product(("ViTModel", "DeiTModel"), (False,)):
        config = t.ViTConfig if name == "ViTModel" else t.DeiTConfig
        model = randomised(getattr(t, name)(config(**VIT), add_pooling_layer=pooling))
        out = run(model, pixels())
        yield Combination(f"hf {name} without pooler", _saved(model), (pixels(),), parts(out, "last_hidden_state"))
    for size in ((48, 48), (16, 16), (24, 56)):
        for name in ("ViTModel", "ViTForImageClassification"):
            model = randomised(getattr(t, name)(t.ViTConfig(**VIT)))
            images = pixels(*size)
            out = run(model, images, interpolate_pos_encoding=True)
            expected = parts(out, "logits", "pooler_output")
            yield Combination(f"hf {name} at {size}", _saved(model), (images,), expected, dict(image_size=size))
    swin = dict(image_size=32, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)
    for extra in (
        {},
        {"image_size": 40},
        {"image_size": 36, "window_size": 3},
        {"use_absolute_embeddings": True},
        {"hidden_act": "gelu_new"},
        {"layer_norm_eps": 1e-3},
        {"qkv_bias": False},
        {"mlp_ratio": 2.0},
        {"num_channels": 1},
        {"depths": [1, 2, 1], "num_heads": [2, 4, 8], "image_size": 64},
    ):
        for name in ("SwinModel", "SwinForImageClassification", "SwinForMaskedImageModeling", "SwinBackbone"):
            settings = swin | extra
            model = randomised(getattr(t, name)(t.SwinConfig(**settings)))
            images = pixels(settings["image_size"], settings["image_size"], settings.get("num_channels", 3))
            out = {} if "Masked" in name or "Backbone" in name else run(model, images)
            yield Combination(f"hf {name} {extra}", _saved(model), (images,), parts(out, "logits", "pooler_output"))


def of_hugging_face_texts() -> Iterator[Combination]:
    """BERT, FNet, Marian and models with the same names of tensors."""
    t = transformers
    general: list[dict[str, Any]] = [
        {},
        {"hidden_act": "gelu_new"},
        {"hidden_act": "relu"},
        {"hidden_act": "silu"},
        {"hidden_act": "mish"},
        {"layer_norm_eps": 1e-3},
        {"num_attention_heads": 8},
        {"type_vocab_size": 1},
        {"type_vocab_size": 3},
        {"is_decoder": True},
        {"num_labels": 3},
        {"max_position_embeddings": 66},
        {"chunk_size_feed_forward": 3},
    ]
    berts = (
        "BertModel",
        "BertForMaskedLM",
        "BertForPreTraining",
        "BertForSequenceClassification",
        "BertLMHeadModel",
        "BertForNextSentencePrediction",
        "BertForTokenClassification",
        "BertForQuestionAnswering",
    )
    tokens = words(50)
    for name, extra in itertools.product(berts, general):
        if name == "BertForQuestionAnswering" and "num_labels" in extra:
            continue  # it has two outputs by definition
        model = randomised(getattr(t, name)(t.BertConfig(**(TEXT | extra))))
        out = run(model, tokens)
        expected = parts(
            out, "logits", "prediction_logits", "seq_relationship_logits", "last_hidden_state", "pooler_output"
        )
        yield Combination(f"hf {name} {extra}", _saved(model), (tokens,), expected)
    others = {
        "RobertaModel": t.RobertaConfig,
        "XLMRobertaModel": t.XLMRobertaConfig,
        "CamembertModel": t.CamembertConfig,
        "Data2VecTextModel": t.Data2VecTextConfig,
        "RobertaForMaskedLM": t.RobertaConfig,
        "RobertaForSequenceClassification": t.RobertaConfig,
        "ElectraModel": t.ElectraConfig,
        "LayoutLMModel": t.LayoutLMConfig,
        "MobileBertModel": t.MobileBertConfig,
        "ErnieModel": t.ErnieConfig,
        "MegatronBertModel": t.MegatronBertConfig,
        "RoCBertModel": t.RoCBertConfig,
        "SplinterModel": t.SplinterConfig,
        "RobertaPreLayerNormModel": t.RobertaPreLayerNormConfig,
    }
    for name, config in others.items():
        try:
            model = randomised(getattr(t, name)(config(**TEXT)))
            out = run(model, tokens)
        except (TypeError, ValueError, RuntimeError, IndexError):
            continue
        yield Combination(
            f"hf {name}", _saved(model), (tokens,), parts(out, "logits", "last_hidden_state", "pooler_output")
        )
    for name, extra in itertools.product(
        ("FNetModel", "FNetForMaskedLM", "FNetForPreTraining", "FNetForSequenceClassification"),
        ({}, {"hidden_act": "gelu"}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-3}, {"type_vocab_size": 2}),
    ):
        settings = {k: v for k, v in TEXT.items() if k != "num_attention_heads"} | extra
        model = randomised(getattr(t, name)(t.FNetConfig(**settings)))
        out = run(model, tokens)
        expected = parts(
            out, "logits", "prediction_logits", "seq_relationship_logits", "last_hidden_state", "pooler_output"
        )
        yield Combination(f"hf {name} {extra}", _saved(model), (tokens,), expected)
    marian = dict(
        vocab_size=50, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=24, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, forced_eos_token_id=1,
    )  # fmt: skip
    for extra in (
        {},
        {"scale_embedding": True},
        {"decoder_attention_heads": 8},
        {"encoder_attention_heads": 2, "scale_embedding": True},
        {"activation_function": "relu"},
        {"activation_function": "swish", "scale_embedding": True},
        {"activation_function": "gelu_new"},
        {"decoder_layers": 1},
        {"decoder_ffn_dim": 64},
        {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False, "decoder_vocab_size": 40},
        {"static_position_embeddings": False},
        {"normalize_before": True},
    ):
        model = randomised(t.MarianMTModel(t.MarianConfig(**(marian | extra))))
        out = run(model, tokens, decoder_input_ids=torch.from_numpy(words(40, 6)))
        yield Combination(f"hf MarianMTModel {extra}", _saved(model), (tokens, words(40, 6)), parts(out, "logits"))


def of_clip() -> Iterator[Combination]:
    """CLIP of Hugging Face and of open_clip."""
    t = transformers
    text = dict(vocab_size=60, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=1,
                max_position_embeddings=12, eos_token_id=59, bos_token_id=58)  # fmt: skip
    vision = VIT | dict(hidden_size=64, num_attention_heads=1)
    ends = words(50, 12)
    ends[0, 7], ends[1, 10] = 59, 59
    early = ends.copy()
    early[0, 3] = 30
    for own_text, own_vision in (
        ({}, {}),
        ({"eos_token_id": 2}, {}),
        ({"eos_token_id": 30}, {}),
        ({"hidden_act": "gelu"}, {}),
        ({}, {"hidden_act": "gelu"}),
        ({"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
        ({"hidden_act": "gelu_new"}, {"hidden_act": "relu"}),
        ({"layer_norm_eps": 1e-3}, {}),
        ({}, {"layer_norm_eps": 1e-3}),
        ({"num_attention_heads": 4}, {"num_attention_heads": 2}),
        ({"intermediate_size": 96}, {}),
        ({}, {"image_size": 40}),
        ({"projection_dim": 7}, {"projection_dim": 7}),
    ):
        config = t.CLIPConfig(text_config=text | own_text, vision_config=vision | own_vision, projection_dim=24)
        model = randomised(t.CLIPModel(config))
        side = (vision | own_vision)["image_size"]
        tokens = early if own_text.get("eos_token_id") == 30 else ends
        if own_text.get("eos_token_id") == 30:
            tokens[1, 5] = 30
        with torch.no_grad():
            out = model(input_ids=torch.from_numpy(tokens), pixel_values=torch.from_numpy(pixels(side, side)))
        expected = {"image": out.image_embeds.numpy(), "text": out.text_embeds.numpy()}
        name = f"hf CLIPModel text {own_text} vision {own_vision}"
        yield Combination(name, _saved(model), (pixels(side, side), tokens), expected)
    text_cfg = dict(context_length=12, vocab_size=60, width=64, heads=2, layers=2)
    vision_cfg: dict[str, Any] = dict(image_size=SIDE, layers=2, width=64, head_width=32, patch_size=8, mlp_ratio=2.0)
    for quick, own_text, own_vision in (
        (False, {}, {}),
        (True, {}, {}),
        (False, {}, {"layers": [1, 1, 1, 1], "width": 16, "head_width": 64}),
        (False, {"pool_type": "first"}, {}),
        (False, {"pool_type": "last"}, {}),
        (False, {"pool_type": "eos", "eos_id": 30}, {}),
        (False, {"no_causal_mask": True}, {}),
        (False, {"embed_cls": True}, {}),
        (False, {"proj_bias": True}, {}),
        (False, {"proj_type": "none", "width": 24, "heads": 2}, {}),
        (False, {"mlp_ratio": 2.0}, {}),
        (False, {"act_kwargs": {"approximate": "tanh"}}, {}),
        (False, {}, {"act_kwargs": {"approximate": "tanh"}}),
        (False, {"norm_kwargs": {"eps": 1e-3}}, {}),
        (False, {}, {"norm_kwargs": {"eps": 1e-3}}),
        (False, {"ls_init_value": 0.1}, {}),
        (False, {}, {"ls_init_value": 0.1}),
        (False, {}, {"pool_type": "avg"}),
        (False, {}, {"final_ln_after_pool": True}),
        (False, {}, {"no_ln_pre": True}),
        (False, {}, {"pos_embed_type": "sin_cos_2d"}),
        (False, {}, {"attentional_pool": True, "attn_pooler_heads": 2}),
        (False, {}, {"qk_norm": True}),
        (False, {"qk_norm": True}, {}),
        (False, {}, {"head_width": 16}),
        (False, {}, {"image_size": [24, 40]}),
    ):
        cfg = dict(embed_dim=24, text_cfg=text_cfg | own_text, vision_cfg=vision_cfg | own_vision, quick_gelu=quick)
        try:
            model = randomised(open_clip.model.CLIP(**cfg))
            height, width = own_vision.get("image_size", (SIDE, SIDE))
            tokens = early.copy()
            tokens[1, 5] = 30
            with torch.no_grad():
                image = model.encode_image(torch.from_numpy(pixels(height, width)), normalize=True)
                encoded = model.encode_text(torch.from_numpy(tokens), normalize=True)
        except (TypeError, RuntimeError, AssertionError, ValueError, AttributeError):
            continue

        def write(folder: Path, model: Any = model, cfg: dict[str, Any] = cfg) -> Path:
            (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg, "preprocess_cfg": {}}))
            tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
            safetensors.torch.save_file(tensors, folder / "open_clip_model.safetensors")
            return folder

        expected = {"image": image.numpy(), "text": encoded.numpy()}
        yield Combination(
            f"open_clip quick={quick} {own_text} {own_vision}", write, (pixels(height, width), tokens), expected
        )


# Files ----------------------------------------------------------------------------------------------------------------


def of_files() -> Iterator[Combination]:
    """One ViT of timm in every form in which training scripts leave weights."""
    fields = dict(num_heads=4)
    base = dict(img_size=SIDE, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=5)
    model = randomised(timm.create_model("vit_base_patch16_224", **base))
    images = pixels()
    expected = {"out": run(model, images).numpy()}
    state = {name: x.clone() for name, x in model.state_dict().items()}

    def prefixed(prefix: str) -> dict[str, torch.Tensor]:
        return {prefix + name: x for name, x in state.items()}

    import argparse
    import collections

    averaged = prefixed("module.") | {"n_averaged": torch.tensor(3)}
    beside = {"epoch": 3, "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.999)), "history": collections.defaultdict(list, {"loss": [1.0]}),
              "best": np.float64(0.5), "names": {"a", "b"}, "device": torch.device("cpu"), "dtype": torch.float32}  # fmt: skip
    wrapped: dict[str, Any] = {
        "plain": state,
        "module.": prefixed("module."),
        "_orig_mod.": prefixed("_orig_mod."),
        "module._orig_mod.": prefixed("module._orig_mod."),
        "_orig_mod.module.": prefixed("_orig_mod.module."),
        "model.": prefixed("model."),
        "backbone.": prefixed("backbone."),
        "encoder.": prefixed("encoder."),
        "averaged": averaged,
        "{model}": {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}},
        "{state_dict}": {"state_dict": prefixed("module."), "epoch": 1},
        "{model, beside}": {"model": state, **beside},
        "{state_dict, model.}": {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0"},
        "{model_ema}": {"model_ema": state},
        "{state_dict_ema}": {"state_dict_ema": state},
        "{net}": {"net": state},
        "{model_state_dict}": {"model_state_dict": state},
        "ordered": collections.OrderedDict(state),
    }
    for name, content in wrapped.items():
        for form in ("new.pth", "old.pth", "new.ckpt", "old.bin"):

            def write(folder: Path, content: Any = content, form: str = form) -> Path:
                torch.save(content, folder / form, _use_new_zipfile_serialization=form.startswith("new"))
                return folder / form

            yield Combination(f"file {form} {name}", write, (images,), expected, fields)
    for name in ("module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod."):

        def write_safetensors(folder: Path, name: str = name) -> Path:
            safetensors.torch.save_file(prefixed(name), folder / "model.safetensors")
            return folder / "model.safetensors"

        yield Combination(f"file safetensors {name}", write_safetensors, (images,), expected, fields)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        half = randomised(timm.create_model("vit_base_patch16_224", **base)).to(dtype).float()

        def write_half(folder: Path, half: Any = half, dtype: torch.dtype = dtype) -> Path:
            safetensors.torch.save_file(
                {k: v.to(dtype) for k, v in half.state_dict().items()}, folder / "w.safetensors"
            )
            return folder / "w.safetensors"

        yield Combination(f"file {dtype}", write_half, (images,), {"out": run(half, images).numpy()}, fields)
    yield from _shards()


def _shards() -> Iterator[Combination]:
    t = transformers
    for name, config, inputs in (
        ("ViTForImageClassification", t.ViTConfig(**VIT), (pixels(),)),
        ("BertForMaskedLM", t.BertConfig(**TEXT), (words(50),)),
    ):
        model = randomised(getattr(t, name)(config))

        def write(folder: Path, model: Any = model) -> Path:
            model.save_pretrained(folder, max_shard_size="20KB")
            return folder

        yield Combination(f"hf {name} in shards", write, inputs, parts(run(model, *inputs), "logits"))


def names_of_timm() -> list[str]:
    """Architectures of timm that are built like ViT, Swin or Mixer, without the widest."""
    kinds = (
        "vit_",
        "deit",
        "swin_",
        "mixer_",
        "eva",
        "beit",
        "flexivit",
        "gmixer",
        "resmlp",
        "aimv2",
        "cait",
        "test_vit",
        "samvit",
        "hiera_tiny",
        "naflexvit_base",
        "convit_tiny",
        "pit_ti",
        "swinv2_cr_tiny",
    )
    wide = ("gigantic", "giant", "enormous", "huge", "so400m", "3b", "1b", "5b", "7b", "samvit_large", "samvit_huge")
    return [n for n in timm.list_models() if n.startswith(kinds) and not any(word in n for word in wide)]


GROUPS: dict[str, Callable[[], Iterator[Combination]]] = {
    "files": of_files,
    "images": of_hugging_face_images,
    "texts": of_hugging_face_texts,
    "clip": of_clip,
    "options": of_timm_options,
    "names": lambda: of_timm(names_of_timm()),
}
