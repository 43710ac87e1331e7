"""Against the peers themselves, with other options and odd sizes than tests/golden has.

pip install torch timm transformers open_clip_torch      (not part of vitax's requirements)
pytest tests/test_peers.py
"""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import nchw
from small import SMALL, maps_of, variables_of

from vitax import pretrained
from vitax.nn.interpolation import resize_positions
from vitax.nn.stacks import Decoder, Encoder
from vitax.pretrained.transformer import torch_rules

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


def randomise(model, seed=0):
    """No parameter and no statistic stays at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        statistics = [(n, x) for n, x in model.named_buffers() if "running" in n]
        for name, x in [*model.named_parameters(), *statistics]:
            if "embed_positions" in name:
                continue
            draw = torch.randn(x.shape, generator=generator)
            if x.ndim > 1:
                x.copy_(draw * min(0.3, max(0.1, x[0].numel() ** -0.5)))
            elif "norm" in name.lower() and name.endswith("weight"):
                x.copy_(1 + 0.2 * draw)
            elif name.endswith("running_var"):
                x.copy_(0.5 + torch.rand(x.shape, generator=generator))
            else:
                x.copy_(0.1 * draw)
    return model.eval()


def weights(model):
    return {name: x.detach().numpy().copy() for name, x in model.state_dict().items()}


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def theirs(model, *inputs, **options):
    with torch.no_grad():
        out = model(*(torch.from_numpy(np.asarray(x)) for x in inputs), **options)
    return out.numpy() if torch.is_tensor(out) else out


def close(ours, expected, allowed=2e-5):
    expected = np.asarray(expected)
    assert ours.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    error = float(np.abs(np.asarray(ours) - expected).max()) / scale
    assert error <= allowed, f"{error:.1e}"


@pytest.mark.parametrize(
    ("options", "fields", "shape"),
    [
        (dict(global_pool="avg"), {}, (32, 32)),
        (dict(global_pool="avg", fc_norm=False), dict(pooling="mean"), (32, 32)),
        (dict(global_pool="avg", class_token=False), {}, (32, 32)),
        (dict(global_pool="map"), {}, (32, 32)),
        (dict(qkv_bias=False), {}, (32, 32)),
        # timm builds towers of CLIP with 1e-5, which is what such files are taken for.
        (dict(pre_norm=True), dict(norm_epsilon=1e-6), (32, 32)),
        (dict(in_chans=1), {}, (32, 32)),
        (dict(num_classes=0), {}, (32, 32)),
        (dict(img_size=(16, 40)), {}, (16, 40)),
        (dict(img_size=(24, 64), patch_size=4), {}, (24, 64)),
        (dict(no_embed_class=True), {}, (32, 32)),
        (dict(norm_layer="ln5"), dict(norm_epsilon=1e-5), (32, 32)),
        (dict(act_layer="gelu_tanh"), dict(activation="gelu_tanh"), (32, 32)),
    ],
)
def test_vit_of_timm(options, fields, shape):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    if options.get("norm_layer") == "ln5":
        options = options | dict(norm_layer=lambda d, **k: torch.nn.LayerNorm(d, eps=1e-5, **k))
    base = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=7)
    peer = randomise(timm.models.vision_transformer.VisionTransformer(**(base | options)))
    w = weights(peer)
    model, variables, report = pretrained.load(w, num_heads=4, image_size=shape, **fields)
    x = images(2, *shape, options.get("in_chans", 3))
    close(model.apply(variables, x), theirs(peer, nchw(x)))
    back = pretrained.to_tensors(model, variables, report.format)
    for name in w:
        if "no_embed_class" not in options or name != "pos_embed":
            assert np.array_equal(back[name], w[name]), name


@pytest.mark.parametrize("shape", [(48, 48), (16, 16), (24, 56)])
def test_other_image_sizes_interpolate_as_timm(shape):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    base = dict(patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=7)
    make = timm.models.vision_transformer.VisionTransformer
    peer = randomise(make(img_size=32, dynamic_img_size=True, **base))
    x = images(2, *shape, 3)
    expected = theirs(peer, nchw(x))
    model, variables, report = pretrained.load(weights(peer), num_heads=4, image_size=shape)
    assert list(report.resized) == ["params/pos_embed/grid"]
    close(model.apply(variables, x), expected)
    native, variables, _ = pretrained.load(weights(peer), num_heads=4)
    close(native.apply(variables, x), expected)


def test_tensors_that_torch_keeps_negated(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    peer = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=4, num_classes=7
    )
    plain = randomise(peer).state_dict()
    torch.save(plain, tmp_path / "plain.pth")
    torch.save({name: torch._neg_view(-x) for name, x in plain.items()}, tmp_path / "negated.pth")
    found, expected = (
        pretrained.load(tmp_path / f"{name}.pth", num_heads=4).variables for name in ("negated", "plain")
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_resized_positions_are_those_of_timm():
    pytest.importorskip("timm", reason="timm is not installed")
    from timm.layers import resample_abs_pos_embed

    table = images(1, 14 * 14, 8)
    for size in ((24, 24), (7, 7), (10, 31), (14, 15)):
        expected = resample_abs_pos_embed(torch.from_numpy(table), size, num_prefix_tokens=0)
        ours = resize_positions(jnp.asarray(table.reshape(14, 14, 8)), size)
        close(ours.reshape(1, -1, 8), expected.numpy(), 3e-6)


def test_distilled_deit_of_timm():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    make = timm.models.deit.VisionTransformerDistilled
    peer = randomise(make(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=7))
    model, variables, _ = pretrained.load(weights(peer), num_heads=4)
    x = images(2, 32, 32, 3)
    close(model.apply(variables, x), theirs(peer, nchw(x)))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        # One more stage, and its map of 4 rows would keep a shift along the other axis in timm, though not in the
        # official code.
        (dict(window_size=4, depths=(2, 2), num_heads=(2, 4)), (32, 64)),
        (dict(window_size=7, depths=(2, 2), num_heads=(2, 4)), (28, 28)),
        (dict(window_size=8), (32, 32)),
        (dict(window_size=4, num_classes=0), (32, 32)),
        (dict(window_size=4, qkv_bias=False, mlp_ratio=3.0), (32, 32)),
    ],
)
def test_swin_of_timm(options, shape):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    base = dict(img_size=shape, patch_size=2, embed_dim=16, depths=(2, 2, 2), num_heads=(2, 4, 4), num_classes=7)
    peer = randomise(timm.models.swin_transformer.SwinTransformer(**(base | options)))
    model, variables, report = pretrained.load(weights(peer), image_size=shape)
    assert report.format == "timm Swin"
    x = images(2, *shape, 3)
    close(model.apply(variables, x), theirs(peer, nchw(x)))


@pytest.mark.parametrize("shape", [(32, 32), (30, 38), (50, 34), (36, 64)])
def test_swin_of_hugging_face_pads_then_shifts(shape):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.SwinConfig(
        image_size=shape, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=5
    )
    peer = randomise(transformers.SwinForImageClassification(config))
    model, variables, _ = pretrained.load(weights(peer), image_size=shape)
    x = images(2, *shape, 3)
    close(model.apply(variables, x), theirs(peer, nchw(x)).logits.numpy())


def test_vit_and_mae_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    common = dict(
        image_size=32, patch_size=8, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=80
    )
    peer = randomise(transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=5, **common)))
    x = images(2, 32, 32, 3)
    peer.save_pretrained(tmp_path / "vit")
    # Heads and epsilon are in config.json.
    model, variables, report = pretrained.load(tmp_path / "vit")
    assert (model.num_heads, model.norm_epsilon) == (4, 1e-12)
    close(model.apply(variables, x), theirs(peer, nchw(x)).logits.numpy())
    pretrained.save(tmp_path / "vit" / "model.safetensors", model, variables, report.format)
    again = transformers.ViTForImageClassification.from_pretrained(tmp_path / "vit").eval()
    close(theirs(again, nchw(x)).logits.numpy(), theirs(peer, nchw(x)).logits.numpy(), 0)

    config = transformers.ViTMAEConfig(
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=64,
        **common,
    )
    mae = randomise(transformers.ViTMAEForPreTraining(config))
    mae.save_pretrained(tmp_path / "mae")
    model, variables, _ = pretrained.load(tmp_path / "mae")
    noise = np.random.default_rng(1).random((2, 16)).astype(np.float32)
    expected = theirs(mae, nchw(x), noise=torch.from_numpy(noise)).logits.numpy()
    keep = np.argsort(noise, axis=1)[:, :4]
    close(model.apply(variables, x, keep), expected)


@pytest.mark.parametrize("heads", ["pretraining", "masked_words", "classes", "none"])
def test_bert_of_hugging_face(heads, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.BertConfig(
        vocab_size=61,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=6,
        intermediate_size=80,
        max_position_embeddings=33,
        num_labels=5,
        hidden_act="gelu_new",
        layer_norm_eps=1e-6,
    )
    make = {
        "pretraining": transformers.BertForPreTraining,
        "masked_words": transformers.BertForMaskedLM,
        "classes": transformers.BertForSequenceClassification,
        "none": transformers.BertModel,
    }[heads]
    peer = randomise(make(config))
    peer.save_pretrained(tmp_path)
    model, variables, report = pretrained.load(tmp_path)
    assert (model.heads, model.activation, model.num_heads) == (heads, "gelu_tanh", 6)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 61, (3, 21))
    mask = np.arange(21)[None] < np.array([[21], [9], [1]])
    out = model.apply(variables, tokens, mask=mask)
    expected = theirs(peer, tokens, attention_mask=torch.from_numpy(mask.astype(np.int64)))
    pairs = {
        "pretraining": [("word_logits", "prediction_logits"), ("next_logits", "seq_relationship_logits")],
        "masked_words": [("word_logits", "logits")],
        "classes": [("logits", "logits")],
        "none": [("tokens", "last_hidden_state"), ("pooled", "pooler_output")],
    }[heads]
    for ours, name in pairs:
        close(out[ours], expected[name].numpy())
    pretrained.save(tmp_path / "model.safetensors", model, variables, report.format)
    again = make.from_pretrained(tmp_path).eval()
    for name, x in peer.state_dict().items():
        assert torch.equal(again.state_dict()[name], x), name


def test_fnet_and_marian_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.FNetConfig(
        vocab_size=61, hidden_size=36, num_hidden_layers=2, intermediate_size=80, max_position_embeddings=33
    )
    peer = randomise(transformers.FNetForPreTraining(config))
    peer.save_pretrained(tmp_path / "fnet")
    model, variables, _ = pretrained.load(tmp_path / "fnet")
    tokens = np.random.default_rng(0).integers(0, 60, (2, 21))
    out = model.apply(variables, tokens)
    close(out["word_logits"], theirs(peer, tokens).prediction_logits.numpy())

    config = transformers.MarianConfig(
        vocab_size=61,
        d_model=48,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=80,
        decoder_ffn_dim=80,
        max_position_embeddings=40,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=60,
        eos_token_id=0,
        decoder_start_token_id=60,
    )
    peer = randomise(transformers.MarianMTModel(config))
    peer.save_pretrained(tmp_path / "marian")
    model, variables, _ = pretrained.load(tmp_path / "marian")
    assert model.activation == "relu"
    target = np.random.default_rng(1).integers(0, 60, (2, 9))
    mask = np.arange(21)[None] < np.array([[21], [5]])
    expected = theirs(
        peer, tokens, attention_mask=torch.from_numpy(mask.astype(np.int64)), decoder_input_ids=torch.from_numpy(target)
    )
    close(model.apply(variables, tokens, target, source_mask=mask), expected.logits.numpy())


def test_clip_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    text = dict(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=50,
        max_position_embeddings=12,
        eos_token_id=2,
    )
    vision = dict(
        hidden_size=48, intermediate_size=100, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
    )
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    peer = randomise(transformers.CLIPModel(config))
    peer.save_pretrained(tmp_path)
    model, variables, report = pretrained.load(tmp_path)
    assert (model.image_heads, model.text_heads, model.activation) == (4, 4, "quick_gelu")
    x, tokens = images(2, 32, 32, 3), np.random.default_rng(0).integers(3, 50, (2, 9))
    expected = theirs(peer, tokens, torch.from_numpy(nchw(x)))
    out = model.apply(variables, x, tokens)
    close(out.image, expected.image_embeds.numpy())
    close(out.text, expected.text_embeds.numpy())
    pretrained.save(tmp_path / "model.safetensors", model, variables, report.format)
    again = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    close(theirs(again, tokens, torch.from_numpy(nchw(x))).text_embeds.numpy(), expected.text_embeds.numpy(), 0)


@pytest.mark.parametrize("tower", ["vit", "resnet"])
@pytest.mark.parametrize("quick", [True, False])
def test_clip_of_open_clip(tower, quick):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    vision = dict(image_size=32, layers=2, width=64, patch_size=8, head_width=32, mlp_ratio=3.0)
    if tower == "resnet":
        vision = dict(image_size=64, layers=[1, 2, 1, 2], width=8, head_width=32)
    text = dict(context_length=12, vocab_size=50, width=32, heads=4, layers=2)
    peer = randomise(open_clip.model.CLIP(24, vision, text, quick_gelu=quick))
    height, width = (64, 64) if tower == "resnet" else (32, 32)
    model, variables, report = pretrained.load(
        weights(peer),
        activation="quick_gelu" if quick else "gelu",
        text_heads=4,
        image_heads=8 * 32 // 32 if tower == "resnet" else 2,
        image_size=(height, width),
    )
    x, tokens = images(3, height, width, 3), np.random.default_rng(0).integers(1, 50, (3, 12))
    with torch.no_grad():
        image = peer.encode_image(torch.from_numpy(nchw(x))).numpy()
        words = peer.encode_text(torch.from_numpy(tokens)).numpy()
    close(model.apply(variables, x, method="encode_image"), image)
    close(model.apply(variables, tokens, method="encode_text"), words)
    back = pretrained.to_tensors(model, variables, report.format)
    for name, value in weights(peer).items():
        if "num_batches_tracked" not in name and name != "attn_mask":
            assert np.array_equal(back[name], value), name


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_stacks_of_torch(norm_first, activation):
    peer = randomise(torch.nn.Transformer(36, 6, 3, 2, 70, 0.0, activation, batch_first=True, norm_first=norm_first), 1)
    w = weights(peer)
    fields = dict(num_heads=6, mlp_width=70, final_norm=True, norm_first=norm_first, activation=activation)
    stacks = []
    for make, name, depth in ((Encoder, "encoder", 3), (Decoder, "decoder", 2)):
        flat = {}
        for rule in torch_rules(name, depth):
            flat |= dict(zip(rule.ours, rule.load(tuple(w[n] for n in rule.theirs)), strict=True))
        from flax.traverse_util import unflatten_dict

        stacks.append((make(depth=depth, **fields), unflatten_dict(flat, sep="/")))
    src, tgt = images(2, 11, 36), images(2, 5, 36, seed=1)
    there = np.arange(11)[None] < np.array([[11], [4]])
    causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
    expected = theirs(
        peer,
        src,
        tgt,
        tgt_mask=causal,
        src_key_padding_mask=torch.from_numpy(~there),
        memory_key_padding_mask=torch.from_numpy(~there),
    )
    (encoder, encoder_variables), (decoder, decoder_variables) = stacks
    memory = jax.jit(encoder.apply)(encoder_variables, src, there)
    close(decoder.apply(decoder_variables, tgt, memory, memory_mask=there), expected)


def test_mixer_of_timm_on_a_rectangle():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    peer = randomise(
        timm.models.mlp_mixer.MlpMixer(num_classes=5, img_size=(16, 40), patch_size=8, num_blocks=2, embed_dim=24)
    )
    model, variables, _ = pretrained.load(weights(peer), image_size=(16, 40))
    x = images(2, 16, 40, 3)
    close(model.apply(variables, x), theirs(peer, nchw(x)))


def test_names_of_dinat_of_hugging_face(tmp_path, monkeypatch):
    """Names and shapes only: it needs NATTEN to run, and version 5.23 swaps height and heads before it calls it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.dinat import modeling_dinat

    monkeypatch.setattr(modeling_dinat, "requires_backends", lambda *_: None)
    config = transformers.DinatConfig(
        embed_dim=16,
        depths=[2, 1],
        num_heads=[2, 4],
        kernel_size=3,
        dilations=[[1, 3], [2]],
        num_labels=5,
        layer_scale_init_value=0.1,
        mlp_ratio=2.0,
    )
    peer = randomise(transformers.DinatForImageClassification(config))
    peer.save_pretrained(tmp_path)
    model, variables, report = pretrained.load(tmp_path)
    assert (report.format, model.dilations) == ("Hugging Face DiNAT", ((1, 3), (2,)))
    back = pretrained.to_tensors(model, variables, report.format)
    for name, value in weights(peer).items():
        assert np.array_equal(back[name], value), name


@pytest.mark.parametrize("dilated", [False, True])
def test_detr_of_hugging_face_with_the_resnet_of_timm(dilated, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("timm", reason="timm is not installed")
    layers = dict(encoder_layers=1, decoder_layers=2, encoder_ffn_dim=96, decoder_ffn_dim=96, d_model=64)
    config = transformers.DetrConfig(dilation=dilated, num_queries=9, num_labels=5, **layers)
    peer = randomise(transformers.DetrForObjectDetection(config))
    peer.save_pretrained(tmp_path)
    model, variables, report = pretrained.load(tmp_path)
    assert (report.format, model.dilated, model.depths) == ("Hugging Face DETR", dilated, (3, 4, 6, 3))
    x, sizes = images(2, 96, 131, 3), np.array([[96, 131], [70, 90]])
    mask = (np.arange(96)[:, None] < sizes[:, 0, None, None]) & (np.arange(131) < sizes[:, 1, None, None])
    out = theirs(peer, nchw(x * mask[..., None]), mask.astype(np.int64))
    found = jax.jit(model.apply)(variables, x, sizes)
    close(found.logits, out.logits)
    close(found.boxes, out.pred_boxes)


@pytest.mark.parametrize("kind", ["timm", "transformers"])
def test_resnet(kind, tmp_path):
    peer_module = pytest.importorskip(kind, reason=f"{kind} is not installed")
    if kind == "timm":
        peer = randomise(peer_module.create_model("resnet50", num_classes=7))
        model, variables, _ = pretrained.load(weights(peer), num_classes=7)
    else:
        config = peer_module.ResNetConfig(
            num_labels=7, embedding_size=16, hidden_sizes=[64, 128, 256, 512], depths=[1, 2, 1, 1]
        )
        peer = randomise(peer_module.ResNetForImageClassification(config))
        peer.save_pretrained(tmp_path)
        model, variables, _ = pretrained.load(tmp_path)
    x = images(2, 64, 95, 3)
    out = theirs(peer, nchw(x))
    close(jax.jit(model.apply)(variables, x), getattr(out, "logits", out))


def test_simple_pyramid_is_made_of_the_layers_of_detectron2():
    model = SMALL["vit_segmenter"].replaced(simple_pyramid=True)
    x, draws = images(1, 16, 24, 3), np.random.default_rng(0)
    variables = variables_of(model, (x,))
    variables = jax.tree.map(lambda p: p + draws.normal(0, 0.1, p.shape).astype(np.float32), variables)
    params = jax.tree.map(lambda p: torch.from_numpy(np.array(p)), variables["params"])
    functional, d = torch.nn.functional, model.width

    def norm(y, name):
        rows = functional.layer_norm(y.movedim(1, -1), (y.shape[1],), params[name]["scale"], params[name]["bias"], 1e-6)
        return rows.movedim(-1, 1)

    def twice(y, name):
        kernel = params[name]["kernel"].reshape(y.shape[1], 2, 2, -1).permute(0, 3, 1, 2)
        return functional.conv_transpose2d(y, kernel, params[name]["bias"].reshape(4, -1)[0], stride=2)

    for name in (
        "deconvolution0",
        "deconvolution1",
        "deconvolution2",
    ):  # a convolution has one bias for all four places
        params[name]["bias"] = params[name]["bias"].reshape(4, -1)[:1].repeat(4, 1).reshape(-1)
        variables["params"][name]["bias"] = jnp.asarray(params[name]["bias"].numpy())
    found, tokens = maps_of(model, variables, x)
    last = torch.from_numpy(np.array(tokens[:, model.prefix :])).reshape(1, 4, 6, d).permute(0, 3, 1, 2)
    fine = twice(functional.gelu(norm(twice(last, "deconvolution0"), "deconvolution_norm")), "deconvolution1")
    maps = [fine, twice(last, "deconvolution2"), last, functional.max_pool2d(last, 2, 2)]
    for i, (y, stride) in enumerate(zip(maps, (1, 2, 4, 8), strict=True)):
        for k, padding in ((0, 0), (1, 1)):
            kernel = params[f"pyramid{i}_conv{k}"]["kernel"].permute(3, 2, 0, 1)
            y = norm(functional.conv2d(y, kernel, padding=padding), f"pyramid{i}_norm{k}")
        close(found[stride], y.permute(0, 2, 3, 1))


@pytest.mark.parametrize("group", ["files", "images", "texts", "clip", "options", "names"])
def test_combinations(group, monkeypatch):
    """Every seventh one of experiments/conformance: equal, or refused in a sentence; never wrong, never a traceback."""
    for package in ("timm", "transformers", "open_clip"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "experiments" / "conformance"))
    import combinations
    import measure

    rows = [measure.judged(one) for one in itertools.islice(combinations.GROUPS[group](), 0, None, 7)]
    wrong = [row for row in rows if row["outcome"] not in ("equal", "refused")]
    assert len(rows) >= 5
    assert any(row["outcome"] == "equal" for row in rows)
    assert not wrong, wrong
