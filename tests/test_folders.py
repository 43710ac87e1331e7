"""Folders of weights as other projects lay them out: read back here, and opened by those projects where they are installed."""

import json

import numpy as np
import pytest
from small import SMALL, variables_of

import vitax
from vitax import pretrained
from vitax.errors import UserError
from vitax.pretrained.preprocessing import Preprocessing, read_preprocessing

SIZE = (16, 24)
IMAGES = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 0.8, "bilinear", image_size=SIZE)
WHOLE = IMAGES._replace(test_crop_fraction=0.0)
NAMES = ("ant", "bee", "cow")
# {case: (format, small model, changes, preprocessing)}
CASES = {
    "vit": (
        "Hugging Face ViT", "vit",
        dict(activation="gelu_tanh", norm_epsilon=1e-5, qkv_bias=False, image_size=(16, 16)), IMAGES,
    ),
    "vit-features": ("Hugging Face ViT", "vit", dict(num_classes=0), WHOLE),
    "vit-pooler": ("Hugging Face ViT", "vit", dict(num_classes=0, pre_logits=20), WHOLE),
    "deit": ("Hugging Face DeiT", "vit-distilled", {}, WHOLE),
    "vit_mae": ("Hugging Face ViTMAE", "mae", dict(image_size=(16, 16)), WHOLE),
    "swin": ("Hugging Face Swin", "swin", dict(image_size=(32, 32), absolute_positions=True), IMAGES),
    "swin_v2": ("Hugging Face Swin V2", "swin_v2", dict(image_size=(32, 32), trained_windows=((3, 3), (0, 0))), IMAGES),
    "upernet": (
        "Hugging Face UPerNet", "swin_segmenter",
        dict(depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), window=2, image_size=(80, 80), auxiliary_map=2), None,
    ),
    "detr": (
        "Hugging Face DETR, own ResNet", "resnet_detector",
        dict(depths=(1, 2, 1, 1), width=4, image_size=(64, 72), head_heads=4), None,
    ),
    "detr-swin": (
        "Hugging Face DETR, Swin", "swin_detector",
        dict(window=3, image_size=(48, 48), mlp_ratio=2.0, head_heads=4), None,
    ),
    "clip": (
        "Hugging Face CLIP", "clip",
        dict(activation="quick_gelu", text_activation="gelu", end_token=7, image_size=(16, 16)), IMAGES,
    ),
    "bert": ("Hugging Face BERT", "bert", dict(heads="classes", num_classes=3, activation="relu"), None),
    "bert-pretraining": ("Hugging Face BERT", "bert", dict(heads="pretraining"), None),
    "bert-masked": ("Hugging Face BERT", "bert", dict(heads="masked_words"), None),
    "fnet": ("Hugging Face FNet", "fnet", dict(heads="classes", num_classes=3), None),
    "marian": ("Hugging Face Marian", "transformer", dict(positions="halves", activation="swish", logits_bias=True), None),
    "timm": ("timm ViT", "vit", dict(activation="gelu_tanh", pooling="mean", norm_after_pooling=True), IMAGES),
    "timm-registers": ("timm ViT", "vit", dict(register_tokens=2, layer_scale=0.1, qk_norm=True, norm_epsilon=1e-5), WHOLE),
    "timm-clip": ("timm ViT", "vit", dict(patch_bias=False, norm_first_tokens=True, activation="quick_gelu"), IMAGES),
    "timm-map": ("timm ViT", "vit", dict(pooling="map", class_token=False, qkv_bias=False, mlp_width=49), IMAGES),
    "timm-distilled": ("timm ViT", "vit-distilled", {}, IMAGES),
    "timm-swin": ("timm Swin", "swin", dict(image_size=(32, 32), timm_windows=True, mlp_ratio=2.0), IMAGES),
    "timm-swin_v2": ("timm Swin V2", "swin_v2", dict(image_size=(32, 32), timm_windows=True, mlp_ratio=2.0), IMAGES),
    "timm-mixer": (
        "timm Mixer", "mlp_mixer",
        dict(width=512, depth=8, patch_size=16, image_size=(32, 48), token_mlp_width=256, mlp_width=100), IMAGES,
    ),
    "open_clip": ("OpenAI CLIP", "clip", dict(activation="gelu_tanh", text_activation="gelu"), WHOLE),
    "open_clip-eos": (
        "OpenAI CLIP", "clip", dict(activation="quick_gelu", end_token=3, image_size=(16, 16)),
        IMAGES._replace(test_crop_fraction=1.0, image_size=(16, 16)),
    ),
    "open_clip-resnet": (
        "OpenAI CLIP", "clip-resnet", dict(text_tower="transformer", image_heads=2, activation="gelu"), WHOLE
    ),
}  # fmt: skip


def saved(case, folder):
    format, small, changes, images = CASES[case]
    model, inputs = SMALL[small].replaced(**changes), SMALL[small].inputs
    size = getattr(model, "image_size", None)
    if size and tuple(inputs[0].shape[1:3]) != tuple(size):
        inputs = (np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32), *inputs[1:])
    if images:
        images = images._replace(image_size=tuple(size))
    variables = variables_of(model, inputs)
    names = NAMES if getattr(model, "num_classes", 0) == 3 else ()
    pretrained.save(folder, model, variables, format, images=images, class_names=names)
    return model, variables, inputs, images


@pytest.mark.parametrize("case", CASES)
def test_a_folder_says_all_that_the_model_is(case, tmp_path):
    model, _, _, images = saved(case, tmp_path / "out")
    loaded = pretrained.load(tmp_path / "out")  # without a format, an activation, a number of heads
    for key in (
        "activation",
        "num_heads",
        "image_heads",
        "norm_epsilon",
        "pooling",
        "image_size",
        "depth",
        "end_token",
    ):
        if (case, key) not in (("fnet", "num_heads"), ("detr", "image_size")):  # without attention, of any size
            assert getattr(loaded.model, key, None) == getattr(model, key, None), key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing else is left"
    if images:
        read = read_preprocessing(tmp_path / "out", CASES[case][0])
        assert (read.mean, read.std) == (images.mean, images.std)
    if images and getattr(model, "num_classes", 0):
        assert vitax.load(tmp_path / "out").class_names == list(NAMES)


@pytest.mark.parametrize("positions", ["sincos_2d", "sincos_1d"])
def test_computed_positions_become_a_table(positions, tmp_path):
    model, inputs = SMALL["vit"].replaced(positions=positions, register_tokens=1), SMALL["vit"].inputs
    variables = variables_of(model, inputs)
    pretrained.save(tmp_path / "out", model, variables, "timm ViT")
    other, table, _ = pretrained.load(tmp_path / "out")
    assert other.positions == "learned_1d"
    assert np.abs(other.apply(table, inputs[0]) - model.apply(variables, inputs[0])).max() < 1e-6


def test_what_no_config_can_say_is_refused_and_nothing_is_written(tmp_path):
    def fails(small, changes, format, message, **options):
        model = SMALL[small].replaced(**changes)
        variables = variables_of(model, SMALL[small].inputs)
        with pytest.raises(UserError, match=message):
            pretrained.save(tmp_path / "out", model, variables, format, **options)
        assert not list(tmp_path.iterdir())

    fails("vit", dict(pooling="mean"), "Hugging Face ViT", "no way to say pooling='mean' .read back: 'token'")
    fails("vit", dict(pre_logits=32), "Hugging Face ViT", "no vit with classes and pre_logits=32")
    for format in (
        "Hugging Face ViT",
        "timm ViT",
        "Google ViT",
        "timm EVA",
        "Hugging Face DINOv2",
        "Hugging Face DINOv3",
    ):
        fails("vit-concatenated", {}, format, "no names for positions at 'concatenated'")
        fails("vit-concatenated", dict(positions="sincos_2d"), format, "no names for positions at 'concatenated'")
        fails("vit-relative-1d", {}, format, "no names for positions at 'blocks_shared'")
    for format in ("timm Mixer", "Google Mixer"):
        fails("mlp_mixer-positions", {}, format, "without positions only, and this one has 'learned_1d'")
        fails("mlp_mixer-positions", dict(positions="sincos_2d"), format, "this one has 'sincos_2d'")
    fails("vit", {}, "Hugging Face ViT", "crop_size .* is (no|not) square", images=IMAGES)
    fails("mae", {}, "Hugging Face ViTMAE", "square images only")
    fails("mlp_mixer", {}, "timm Mixer", "published sizes only, and this one has width=32")
    fails("vit", dict(norm_epsilon=1e-4), "timm ViT", "norm_epsilon 1e-6 and 1e-5, not 0.0001")
    fails("vit", dict(patch_bias=False), "timm ViT", "no ViT with patch_bias=False and norm_first_tokens=False")
    fails("swin", dict(patch_norm=False, image_size=(16, 16)), "Hugging Face Swin", "patch_norm=True only")
    fails("mlp_mixer", dict(activation="gelu_tanh"), "timm Mixer", "activation='gelu' only")
    fails("nat", {}, "official NAT", "no library opens a folder of such weights")
    fails(
        "clip", dict(text_activation="quick_gelu", activation="gelu"), "OpenAI CLIP", "one quick_gelu for both towers"
    )
    fails("clip", {}, "OpenAI CLIP", "test_crop_fraction between them", images=IMAGES)
    fails("fnet-hybrid", {}, "Hugging Face FNet", "no names for|attention_depth=0 only")
    model = SMALL["vit"].model
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there exists already"):
        pretrained.save(tmp_path / "there", model, variables_of(model, SMALL["vit"].inputs), "timm ViT")


def test_a_distilled_model_with_registers_has_no_config_of_timm(tmp_path):
    model = SMALL["vit-distilled"].replaced(register_tokens=2)
    with pytest.raises(UserError, match="without register_tokens"):
        pretrained.save(tmp_path / "out", model, variables_of(model, SMALL["vit"].inputs), "timm ViT")


def nchw(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("timm")])
def test_timm_opens_the_folder(case, tmp_path):
    torch, timm = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("torch", "timm"))
    model, variables, inputs, images = saved(case, tmp_path / "out")
    peer = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    with torch.no_grad():
        expected = peer(torch.from_numpy(nchw(inputs[0]))).numpy()
    found = np.asarray(model.apply(variables, inputs[0]))
    assert np.abs(found - expected).max() <= 2e-5 * max(1, np.abs(expected).max())
    settings = timm.data.resolve_model_data_config(peer)
    assert (tuple(settings["mean"]), tuple(settings["std"])) == (images.mean, images.std)
    assert settings["interpolation"] == images.interpolation
    assert peer.pretrained_cfg["label_names"] == list(NAMES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case, (format, *_) in CASES.items() if format.startswith("Hugging Face")])
def test_transformers_opens_the_folder(case, tmp_path):
    torch, hf = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("torch", "transformers"))
    model, variables, inputs, images = saved(case, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    peer, told = getattr(hf, config["architectures"][0]).from_pretrained(tmp_path / "out", output_loading_info=True)
    # Tensors that transformers makes although it does not use them.
    unused = {"vit-features": "pooler.dense", "detr-swin": "model.backbone.model.swin.layernorm"}.get(case)
    assert not told["missing_keys"] - {f"{unused}.weight", f"{unused}.bias"}
    assert not told["unexpected_keys"], told
    peer.eval()
    x = inputs[0]
    with torch.no_grad():
        tensor = torch.from_numpy(nchw(x) if x.ndim == 4 else x.astype(np.int64))
        if case == "marian":
            target = torch.from_numpy(inputs[1].astype(np.int64))
            expected, found = peer(tensor, decoder_input_ids=target).logits, model.apply(variables, *inputs)
        elif case == "clip":
            text = torch.from_numpy(inputs[1].astype(np.int64))
            expected = peer.get_image_features(tensor), peer.get_text_features(text)
            expected = torch.cat([getattr(y, "pooler_output", y) for y in expected])
            found = np.concatenate([np.asarray(y) for y in _embeddings(model, variables, inputs)])
            expected = expected / expected.norm(dim=-1, keepdim=True)
        elif case == "vit_mae":
            peer.config.mask_ratio = 0.5
            noise = torch.arange(16.0).repeat(2, 1)  # the first half of the patches stays
            expected = peer(tensor, noise=noise).logits
            found = model.apply(variables, x, np.tile(np.arange(8, dtype=np.int32), (2, 1)))
        elif case.startswith(("bert", "fnet")):
            out = peer(tensor)
            expected = out.prediction_logits if "pretraining" in case else out.logits
            found = model.apply(variables, x)
        elif case.startswith("detr"):
            (height, width), sizes = x.shape[1:3], torch.from_numpy(inputs[1])
            rows, columns = torch.arange(height)[:, None], torch.arange(width)
            mask = torch.stack([(rows < h) & (columns < w) for h, w in sizes])
            out, ours = peer(tensor * mask[:, None], pixel_mask=mask), model.apply(variables, *inputs)
            expected = torch.cat([out.logits, out.pred_boxes], dim=-1)
            found = np.concatenate([ours.logits, ours.boxes], axis=-1)
        else:
            out = peer(tensor)
            expected = out.logits if "logits" in out else out.last_hidden_state[:, 0]
            expected = out.pooler_output if case == "vit-pooler" else expected
            found = model.apply(variables, x)
    if isinstance(found, dict):
        found = found["logits" if "logits" in found else "word_logits"]
    found, expected = np.asarray(found), expected.numpy()
    found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    assert np.abs(found - expected).max() <= 2e-5 * max(1, np.abs(expected).max())
    if getattr(model, "num_classes", 0) == 3:
        assert [peer.config.id2label[k] for k in range(3)] == list(NAMES)
    if images:
        _check_processor(hf, tmp_path / "out", model, images)


def _check_processor(hf, folder, model, images):
    """A photograph becomes the same numbers, up to the rounding of sizes and of uint8."""
    from PIL import Image

    from vitax.data.transforms import eval_transform

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
    photo = np.asarray(coarse.resize((80, 80), Image.Resampling.BICUBIC))
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    expected = np.asarray(processor(Image.fromarray(photo), return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
    crop = dict(interpolation=images.interpolation, test_crop_fraction=images.test_crop_fraction)
    found = eval_transform(model.image_size, **crop)({"image": photo}, rng)["image"]
    found = (found / 255 - np.array(images.mean)) / np.array(images.std)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02


def _embeddings(model, variables, inputs):
    out = model.apply(variables, *inputs)
    return (out["image"], out["text"]) if isinstance(out, dict) else out[:2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("open_clip")])
def test_open_clip_opens_the_folder(case, tmp_path):
    torch, peer = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("torch", "open_clip"))
    model, variables, inputs, images = saved(case, tmp_path / "out")
    theirs, _, prepare = peer.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    theirs.eval()
    with torch.no_grad():
        image = theirs.encode_image(torch.from_numpy(nchw(inputs[0])), normalize=True)
        text = theirs.encode_text(torch.from_numpy(inputs[1].astype(np.int64)), normalize=True)
    for found, expected in zip(_embeddings(model, variables, inputs), (image, text), strict=True):
        assert np.abs(np.asarray(found) - expected.numpy()).max() <= 2e-5
    assert str(images.mean[0]) in str(prepare)


def test_a_folder_tells_what_the_weights_have(tmp_path):
    """Channels and class names: a peer could not open the folder otherwise."""
    model = SMALL["vit"].replaced(image_size=(16, 16))
    grey = variables_of(model, (np.zeros((1, 16, 16, 1), np.float32),))
    colours = Preprocessing((0.5,) * 3, (0.5,) * 3, 1.0, "bicubic", image_size=(16, 16))
    with pytest.raises(UserError, match="takes images of 1 channels, and images.mean has 3"):
        pretrained.save(tmp_path / "a", model, grey, "timm ViT", images=colours)
    colour = variables_of(model, (np.zeros((1, 16, 16, 3), np.float32),))
    with pytest.raises(UserError, match="classes, and class_names has 1"):
        pretrained.save(tmp_path / "b", model, colour, "timm ViT", class_names=("a",))
    assert not list(tmp_path.iterdir())
    for format in ("timm ViT", "Hugging Face ViT"):
        pretrained.save(tmp_path / format, model, grey, format)
        config = json.loads((tmp_path / format / "config.json").read_text())
        assert (config["model_args"]["in_chans"] if "model_args" in config else config["num_channels"]) == 1
