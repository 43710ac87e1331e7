"""Same weights, same outputs as the official code: every case of tests/golden, intermediates included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from golden import case, nchw, nhwc

from vitax import losses, masking, pretrained
from vitax.models import nat
from vitax.nn.patches import patchify, unpatchify
from vitax.nn.positions import sincos, sincos_2d
from vitax.nn.stacks import Decoder, Encoder
from vitax.pretrained.transformer import torch_rules


def run(model, variables, *inputs, **options):
    """Output, and what every submodule returned, by path."""
    apply = functools.partial(model.apply, capture_intermediates=True, mutable="intermediates", **options)
    out, seen = jax.jit(apply)(variables, *inputs)
    flat = flatten_dict(seen["intermediates"], sep="/")
    return out, {path.removesuffix("/__call__"): value[0] for path, value in flat.items()}


def check_all(golden, found):
    """Every stored output must be compared, but those that are explained here."""
    for name, value in found.items():
        golden.check(name, value)
    assert set(golden.outputs) <= set(found), set(golden.outputs) - set(found)


def load(golden, **fields):
    model, variables, report = pretrained.load(golden.weights, **fields)
    assert not report.missing
    assert not report.unexpected
    return model, variables


def flat_map(x):
    """[B, H, W, D] to [B, H*W, D]."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def test_vit_of_timm():
    golden = case("vit_timm_cls")
    model, variables = load(golden, num_heads=4)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    found = {f"block{i}": seen[f"block{i}"] for i in range(3)}
    found |= {
        "patch_embed": flat_map(seen["patch_embed"]),
        "attn0": seen["block0/attention"],
        "features": seen["tokens"],
        "pooled": seen["tokens"][:, 0],
        "logits": out,
    }
    check_all(golden, found)


def test_vit_of_hugging_face():
    golden = case("vit_hf_cls")
    model, variables = load(golden, num_heads=4)
    assert model.norm_epsilon == 1e-12
    x = nhwc(golden.inputs["image"])
    out, seen = run(model, variables, x)
    found = {f"hidden{i + 1}": seen[f"block{i}"] for i in range(3)} | {"logits": out}
    found |= {f"attn{i}": seen[f"block{i}/attention/weights"] for i in range(3)}
    # The input of the first block is not a module's output: patches, class token and positions, added here.
    p = variables["params"]
    token = np.broadcast_to(p["cls_token"], (2, 1, 48))
    tokens = np.concatenate([token, flat_map(seen["patch_embed"])], 1)
    places = np.concatenate([p["pos_embed"]["prefix"], flat_map(p["pos_embed"]["grid"][None])[0]])
    check_all(golden, found | {"hidden0": tokens + places[None]})


def test_mixer_of_timm():
    golden = case("mixer_timm")
    model, variables = load(golden)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    found = {f"block{i}": seen[f"block{i}"] for i in range(3)}
    found |= {
        "stem": flat_map(seen["patch_embed"]),
        "token_mlp0": seen["block0/token_mlp"],
        "features": seen["tokens"],
        "pooled": seen["tokens"].mean(1),
        "logits": out,
    }
    check_all(golden, found)


def test_mae():
    golden = case("mae_fb_sincos_pos")
    model, variables = load(golden, num_heads=4, decoder_num_heads=4)
    assert model.positions == "sincos_2d"
    images, noise = nhwc(golden.inputs["image"]), golden.inputs["noise"]
    target = flat_map(patchify(images, 8))
    found = {"target_patches": target}
    for suffix, kept in (("", 4), ("_ratio05", 8)):
        keep, visible = masking.keep_smallest(noise, kept)
        predicted, seen = run(model, variables, images, keep)
        hidden = 1.0 - visible
        found |= {f"pred{suffix}": predicted, f"mask{suffix}": hidden}
        loss = losses.patch_mse(predicted, target)
        found[f"loss{suffix}"] = (loss * hidden).sum() / hidden.sum()
        if not suffix:
            normalized = losses.patch_mse(predicted, target, normalize=True)
            shape = patchify(images, 8).shape
            found |= {
                "loss_norm_pix": (normalized * hidden).sum() / hidden.sum(),
                "latent": seen["encoder"],
                "dec_block0": seen["decoder/block0"],
                "dec_block1": seen["decoder/block1"],
                "unpatchified_pred": nchw(unpatchify(predicted.reshape(shape), 8)),
                "ids_restore": jnp.argsort(jnp.argsort(noise, axis=1), axis=1),
            }
    keep, _ = masking.keep_smallest(noise, 16)
    found["latent_ratio0_shuffled"] = run(model, variables, images, keep)[1]["encoder"]
    check_all(golden, found)


def test_sincos_positions_of_mae():
    golden = case("mae_fb_sincos_table")
    for dim, side, token in ((32, 4, 1), (48, 7, 0), (64, 14, 1)):
        table = sincos_2d((side, side), dim).reshape(-1, dim)
        table = np.concatenate([np.zeros((token, dim)), table])
        assert np.abs(table - golden.outputs[f"dim{dim}_grid{side}_cls{token}"]).max() < 1e-6


def test_swin_of_microsoft():
    golden = case("swin_ms")
    model, variables = load(golden)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    found = {f"stage{i}_blocks": flat_map(seen[f"block{2 * i + 1}"]) for i in range(3)}
    found |= {f"stage{i}": flat_map(seen[f"merge{i}"]) for i in range(2)}
    found |= {
        "stage2": flat_map(seen["block5"]),
        "patch_embed": flat_map(seen["patch_norm"]),
        "block0": flat_map(seen["block0"]),
        "block1_shifted": flat_map(seen["block1"]),
        "pooled": seen["tokens"].mean((1, 2)),
        "logits": out,
    }
    check_all(golden, found)


def test_swin_of_timm():
    golden = case("swin_timm")
    model, variables = load(golden)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    found = {f"stage{i}": seen[f"block{2 * i + 1}"] for i in range(3)}
    found |= {
        "patch_embed": seen["patch_norm"],
        "block0": seen["block0"],
        "block1_shifted": seen["block1"],
        "features": seen["tokens"],
        "pooled": seen["tokens"].mean((1, 2)),
        "logits": out,
    }
    check_all(golden, found)


@pytest.mark.parametrize("name", ["swinir_denoise", "swinir_pixelshuffle_x2"])
def test_swinir(name):
    golden = case(name)
    model, variables = load(golden)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    found = {
        "conv_first": nchw(seen["conv_first"]),
        "rstb0": flat_map(seen["group0"]),
        "rstb1": flat_map(seen["group1"]),
        "norm": flat_map(seen["norm"]),
        "conv_after_body": nchw(seen["conv_after_body"]),
        "image": nchw(out),
    }
    check_all(golden, found)


@pytest.mark.parametrize(("name", "dilations"), [("nat", ()), ("dinat", ((1, 4), (1, 2)))])
def test_nat(name, dilations):
    golden = case(name)
    model, variables = load(golden, dilations=dilations)
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    last = sum(model.depths) - 1
    found = {f"level{i}": seen[f"downsample{i}_norm"] for i in range(len(model.depths) - 1)}
    found |= {
        f"level{len(model.depths) - 1}": seen[f"block{last}"],
        "last_block": seen[f"block{last}"],
        "patch_embed": seen["patch_norm"],
        "attn0": seen["block0/attention"],
        "block0": seen["block0"],
        "pooled": seen["tokens"].mean((1, 2)),
        "logits": out,
    }
    check_all(golden, found)


@pytest.mark.parametrize("kernel", [3, 5])
def test_neighborhood_attention_of_natten(kernel):
    golden = case(f"natten_op_k{kernel}")
    q, k, v = (golden.inputs[name].transpose(0, 2, 3, 1, 4) for name in "qkv")
    # NATTEN wants q scaled already.
    out = nat.neighborhood_attention(q * q.shape[-1] ** 0.5, k, v, jnp.asarray(golden.inputs["rpb"]), kernel=kernel)
    golden.check("out", out.transpose(0, 3, 1, 2, 4))


def test_dynamic_vit_drops_the_same_tokens():
    golden = case("dynamicvit_eval")
    model, variables = load(golden, num_heads=4, stages=(1, 3), keep_ratios=(0.7, 0.49))
    out, seen = run(model, variables, nhwc(golden.inputs["image"]))
    first = golden.outputs["keep_idx0"]
    second = np.take_along_axis(first, golden.outputs["keep_idx1"], 1)
    # The order among kept tokens may swap where scores differ by less than rounding: compare as sets.
    for stage, expected in enumerate((first, second)):
        assert np.array_equal(np.sort(seen[f"kept{stage}"]), np.sort(expected))
    found = {f"block{i}": seen[f"block{i}"] for i in range(4)}
    scores = [seen[f"predictor{i}"][:, :, 0] for i in range(2)]
    assert np.array_equal(seen["kept0"], first)
    check_all(
        golden,
        found
        | {"logits": out, "score0": scores[0]}
        # In the official order, which ours is too.
        | {"score1": scores[1], "keep_idx0": seen["kept0"]}
        | {"keep_idx1": places_in(first, seen["kept1"])},
    )


def places_in(order, chosen):
    """Where each of ``chosen`` [B, n] stands in ``order`` [B, N]."""
    return np.stack([[list(row).index(i) for i in some] for row, some in zip(order, np.asarray(chosen), strict=True)])


def test_dynamic_vit_trains_the_same_way():
    golden = case("dynamicvit_train")
    student = {n: w for n, w in golden.weights.items() if not n.startswith("teacher/")}
    teacher = {n.removeprefix("teacher/"): w for n, w in golden.weights.items() if n not in student}
    fields = dict(num_heads=4, stages=(1, 3), keep_ratios=(0.7, 0.49))
    model, variables, report = pretrained.load(student, **fields)
    teacher_model, teacher_variables, _ = pretrained.load(teacher, num_heads=4)
    images, label = nhwc(golden.inputs["image"]), golden.inputs["label"]
    noise = jnp.stack([golden.inputs["gumbel0"], golden.inputs["gumbel1"]])
    expected, teacher_seen = run(teacher_model, teacher_variables, images)
    teacher_tokens = teacher_seen["tokens"][:, 1:]
    golden.check("teacher_logits", expected)
    golden.check("teacher_tokens", teacher_tokens)

    pruned, seen = run(model, variables, images, train=True, noise=noise)
    for i in range(4):
        golden.check(f"block{i}", seen[f"block{i}"])
    golden.check("logits", pruned.logits)
    golden.check("features", pruned.tokens)
    golden.check("decision", pruned.keep[-1][:, :, None])
    golden.check("keep0", pruned.keep[0])
    golden.check("keep1", pruned.keep[1])

    def loss(variables, tokens_as, per_batch):
        out = model.apply(variables, images, train=True, noise=noise)
        kept = jax.lax.stop_gradient(out.keep[-1])
        if tokens_as == "mse":
            values = jnp.square(out.tokens - teacher_tokens).mean(-1)
        else:
            values = losses.kl_divergence(out.tokens, teacher_tokens)
        ratio = losses.keep_ratio(out.keep, jnp.array([0.7, 0.49]), per_batch=per_batch)
        parts = (
            losses.softmax_cross_entropy(out.logits, jax.nn.one_hot(label, 10)).mean(),
            2 * ratio.mean(),  # the official code sums over the stages, and divides in the total
            losses.kl_divergence(out.logits, expected).mean(),
            (values * kept).sum() / kept.sum(),
        )
        total = parts[0] + 2.0 * parts[1] / 2 + 0.5 * parts[2] + 0.5 * parts[3]
        return total, jnp.stack(parts)

    for tokens_as in ("mse", "kl"):
        for suffix, per_batch in (("", False), ("_dynamic", True)):
            total, parts = jax.jit(lambda v, a=tokens_as, b=per_batch: loss(v, a, b))(variables)
            golden.check(f"loss_{tokens_as}{suffix}", total)
            golden.check(f"loss_parts_{tokens_as}{suffix}", parts)
    gradient = jax.jit(jax.grad(lambda v: loss(v, "mse", False)[0]))(variables)
    tensors = pretrained.to_tensors(model, jax.device_get(gradient), report.format)
    names = [name for name in golden.outputs if name.startswith("grad/")]
    assert len(names) >= 4
    for name in names:
        golden.check(name, tensors[name.removeprefix("grad/")])


def test_clip_with_a_vit():
    golden = case("clip_oai_vit")
    model, variables = load(golden, activation="quick_gelu", text_heads=2)
    images, text = nhwc(golden.inputs["image"]), golden.inputs["text"]
    found = clip_outputs(model, variables, images, text)
    _, seen = run(model, variables, images, text)
    found |= {
        "ln_pre": seen["image/norm_first"],
        "visual_block0": seen["image/block0"],
        "ln_post_cls": seen["image/norm"][:, 0],
        "text_block0": seen["text/block0"],
        "text_ln_final": seen["text/norm"],
    }
    check_all(golden, found)


def test_clip_with_a_resnet():
    golden = case("clip_oai_resnet")
    model, variables = load(golden, activation="quick_gelu", text_heads=2)
    images, text = nhwc(golden.inputs["image"]), golden.inputs["text"]
    found = clip_outputs(model, variables, images, text)
    _, seen = run(model, variables, images, text)
    last = [depth - 1 for depth in model.image_depths]
    found |= {f"layer{i + 1}": nchw(seen[f"image/stage{i}_block{j}"]) for i, j in enumerate(last)} | {
        "stem": nchw(seen["image/stem"]),
        "attnpool": seen["image"],
        "text_block0": seen["text/block0"],
        "text_ln_final": seen["text/norm"],
    }
    check_all(golden, found)


def clip_outputs(model, variables, images, text):
    out = model.apply(variables, images, text)
    logits = out.scale * out.image @ out.text.T
    return {
        "image_features": model.apply(variables, images, method="encode_image"),
        "text_features": model.apply(variables, text, method="encode_text"),
        "logits_per_image": logits,
        "logits_per_text": logits.T,
        "logit_scale_exp": out.scale,
    }


def test_loss_of_open_clip():
    golden = case("clip_open_loss")
    image, text, scale = (golden.inputs[n] for n in ("image_features", "text_features", "logit_scale"))
    golden.check("loss", losses.contrastive(image, text, scale).mean())


@pytest.mark.parametrize("name", ["bert_hf", "fnet_hf"])
def test_texts_of_hugging_face(name):
    golden = case(name)
    model, variables = load(golden, **({"num_heads": 4} if name == "bert_hf" else {}))
    tokens, segments = golden.inputs["input_ids"], golden.inputs["token_type_ids"]
    mask = golden.inputs.get("attention_mask")
    mask = None if mask is None else mask.astype(bool)
    out, seen = run(model, variables, tokens, segments=segments, mask=mask)
    found = {f"hidden{i + 1}": seen[f"block{i}"] for i in range(3)} | {
        "hidden0": seen["embedded"],
        "mlm_logits": out["word_logits"],
        "nsp_logits": out["next_logits"],
        "pooler": out["pooled"],
        "loss": pretraining_loss(out, golden.inputs),
    }
    if name == "bert_hf":
        found |= {f"attn{i}": seen[f"block{i}/attention/weights"] for i in range(3)}
        found["last_hidden"] = out["tokens"]
        unmasked = model.apply(variables, tokens, segments=segments)
        found["mlm_logits_nomask"] = unmasked["word_logits"]
    check_all(golden, found)


def pretraining_loss(out, inputs):
    labels = inputs["labels"]
    one_hot = jax.nn.one_hot(labels, out["word_logits"].shape[-1])
    words = losses.softmax_cross_entropy(out["word_logits"], one_hot)
    counted = labels != -100
    following = jax.nn.one_hot(inputs["next_sentence_label"], 2)
    follows = losses.softmax_cross_entropy(out["next_logits"], following).mean()
    return (words * counted).sum() / counted.sum() + follows


def test_fourier_transform_by_matrices_gives_the_same():
    golden = case("fnet_hf")
    model, variables = load(golden, fourier="matmul")
    out = model.apply(variables, golden.inputs["input_ids"], segments=golden.inputs["token_type_ids"])
    golden.check("mlm_logits", out["word_logits"])


def test_transformer_of_marian():
    golden = case("marian_hf")
    model, variables = load(golden, num_heads=4)
    source, target = golden.inputs["input_ids"], golden.inputs["decoder_input_ids"]
    mask = golden.inputs["attention_mask"].astype(bool)
    out, seen = run(model, variables, source, target, source_mask=mask)
    found = {f"enc_hidden{i + 1}": seen[f"encoder/block{i}"] for i in range(2)}
    found |= {f"dec_hidden{i + 1}": seen[f"decoder/block{i}"] for i in range(2)}
    found |= {"encoder_last": seen["encoder"], "logits": out}
    # What goes into the first block: embeddings times sqrt(D), and sinusoids.
    table, length = variables["params"]["word_embed"], 10
    waves = sincos(np.arange(length), 32)[None]
    found["enc_hidden0"] = table[source] * np.sqrt(32) + waves
    found["dec_hidden0"] = table[target] * np.sqrt(32) + waves[:, : target.shape[1]]
    check_all(golden, found)


def test_stacks_of_torch():
    golden = case("transformer_torch_postnorm")
    fields = dict(depth=2, num_heads=4, mlp_width=64, final_norm=True)
    encoder, decoder = Encoder(**fields), Decoder(**fields)
    weights = [stack_variables(golden.weights, torch_rules(name, 2)) for name in ("encoder", "decoder")]
    src, tgt = golden.inputs["src"], golden.inputs["tgt"]
    src_mask, tgt_mask = (golden.inputs[name] == 0 for name in ("src_pad", "tgt_pad"))
    memory, seen = run(encoder, weights[0], src, src_mask)
    out, decoder_seen = run(decoder, weights[1], tgt, memory, mask=tgt_mask, memory_mask=src_mask)
    found = {"memory": memory, "out": out}
    found |= {f"enc{i}": seen[f"block{i}"] for i in range(2)}
    found |= {f"dec{i}": decoder_seen[f"block{i}"] for i in range(2)}
    everything = encoder.apply(weights[0], src)
    free = Decoder(causal=False, **fields)
    found["out_nomask"] = free.apply(weights[1], tgt, everything)
    check_all(golden, found)


def stack_variables(tensors, rules):
    flat = {}
    for rule in rules:
        made = rule.load(tuple(tensors[name] for name in rule.theirs))
        flat |= dict(zip(rule.ours, made, strict=True))
    return unflatten_dict(flat, sep="/")
