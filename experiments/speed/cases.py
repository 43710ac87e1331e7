"""Cases of the comparison: a model of a peer and ours, their input, and the tensor that both sides return.

The peers are not requirements of vitax: ``pip install torch timm transformers open_clip_torch spandrel``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


class Case(NamedTuple):
    """One model and one kind of input.

    Attributes:
        inputs: batch size -> arrays as the peer takes them: images [B, 3, H, W] float32, tokens [B, L] int64.
        peer: () -> the PyTorch module in evaluation mode, with random weights. None = the case is only for comparisons
            between our own models.
        theirs: (module, *inputs) -> the tensor that is compared and, in training, squared and averaged.
        fields: fields for `vitax.pretrained.load` that a file of weights does not determine.
        model: () -> our module, if there is no peer.
        ours: (apply, *inputs as our module takes them) -> the same tensor; ``apply`` is `Module.apply` with the
            variables bound.
        trains: whether the case has a training step.
    """

    inputs: Callable[[int], tuple[np.ndarray, ...]]
    peer: Callable[[], Any] | None = None
    theirs: Callable[..., Any] = lambda module, *inputs: module(*inputs)
    fields: dict[str, Any] = {}
    model: Callable[[], Any] | None = None
    ours: Callable[..., Any] = lambda apply, *inputs: first(apply(*inputs))
    trains: bool = True


def images(side: int) -> Callable[[int], tuple[np.ndarray, ...]]:
    return lambda batch: (np.random.default_rng(0).normal(size=(batch, 3, side, side)).astype(np.float32),)


def tokens(vocabulary: int, length: int) -> Callable[[int], tuple[np.ndarray, ...]]:
    return lambda batch: (np.random.default_rng(0).integers(1000, vocabulary, (batch, length)),)


def images_and_noise(batch: int) -> tuple[np.ndarray, ...]:
    noise = np.random.default_rng(1).uniform(size=(batch, 196)).astype(np.float32)
    return (*images(224)(batch), noise)


def images_and_texts(batch: int) -> tuple[np.ndarray, ...]:
    (texts,) = tokens(49000, 77)(batch)
    texts[:, -1] = 49407  # the end token, where the text is pooled
    return (*images(224)(batch), texts)


def timm_model(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import timm
        import torch

        model = timm.create_model(name, drop_path_rate=0.0).eval()
        for weights in model.parameters():  # the outputs of a head of zeros would agree for any model
            if not weights.any():
                torch.nn.init.normal_(weights, std=0.02)
        return model

    return make


def transformers_model(name: str, **fields: Any) -> Callable[[], Any]:
    def make() -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(**fields)
        return getattr(transformers, f"{name}ForPreTraining")(config).eval()

    return make


def open_clip_model() -> Any:
    import open_clip

    return open_clip.create_model("ViT-B-16").eval()


def swinir_light() -> Any:
    from spandrel.architectures.SwinIR.__arch.SwinIR import SwinIR

    return SwinIR(
        img_size=64,
        embed_dim=60,
        depths=[6] * 4,
        num_heads=[6] * 4,
        window_size=8,
        mlp_ratio=2,
        upscale=2,
        upsampler="pixelshuffledirect",
        drop_path_rate=0.0,
    ).eval()


def marian() -> Any:
    """Transformer-base with the vocabulary of the paper; its bias forbids the end token: all texts have one length."""
    import transformers

    config = transformers.MarianConfig(
        vocab_size=37000,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        activation_function="swish",
        pad_token_id=36999,
        decoder_start_token_id=36999,
        eos_token_id=0,
        forced_eos_token_id=None,
        max_position_embeddings=512,
        scale_embedding=True,
        init_std=0.1,
    )
    model = transformers.MarianMTModel(config).eval()
    model.final_logits_bias[0, [0, 36999]] = -1e9
    return model


GENERATED = 64  # number of tokens of a translation


def their_translation(beam: int) -> Callable[..., Any]:
    return lambda module, source: module.generate(
        source, num_beams=beam, do_sample=False, min_length=0, max_new_tokens=GENERATED, use_cache=True
    )[:, 1:]


def our_translation(beam: int) -> Callable[..., Any]:
    def translate(apply: Any, source: Any) -> Any:
        from vitax.specs import TextSpec
        from vitax.tasks.translation import translation

        spec = TextSpec(GENERATED, 37000, pad=36999, begin=36999, end=0, mask=-1)
        task = translation(apply.model, spec, beam=beam, length_penalty=0.0)
        return task.predict(apply.variables, {"source": source})["tokens"]

    return translate


def vitax_model(family: str, size: str, **fields: Any) -> Callable[[], Any]:
    def make() -> Any:
        from vitax.models import MODELS

        return MODELS[family].module(**{**MODELS[family].sizes[size], **fields})

    return make


def our_reconstruction(hidden: float) -> Callable[..., Any]:
    """MAE applied to the patches whose noise is the smallest."""

    def reconstruct(apply: Any, images: Any, noise: Any) -> Any:
        import jax.numpy as jnp

        visible = round(noise.shape[1] * (1 - hidden))
        return apply(images, jnp.sort(jnp.argsort(noise, axis=1)[:, :visible], axis=1))

    return reconstruct


def our_clip(apply: Any, images: Any, texts: Any) -> Any:
    outputs = apply(images, texts)
    return outputs.scale * outputs.image @ outputs.text.T


def their_clip(module: Any, images: Any, texts: Any) -> Any:
    image, text, scale = module(images, texts)
    return scale * image @ text.T


def words(apply: Any, texts: Any) -> Any:
    return apply(texts)["word_logits"]


NO_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
CASES = {
    "vit_b16": Case(images(224), timm_model("vit_base_patch16_224")),
    "vit_l16": Case(images(224), timm_model("vit_large_patch16_224")),
    "deit_s": Case(images(224), timm_model("deit_small_patch16_224")),
    "dynamic_vit_s": Case(images(224), model=vitax_model("dynamic_vit", "S")),
    "swin_t": Case(images(224), timm_model("swin_tiny_patch4_window7_224")),
    "swin_b": Case(images(224), timm_model("swin_base_patch4_window7_224")),
    "nat_t": Case(images(224), model=vitax_model("nat", "Tiny")),
    "nat_b": Case(images(224), model=vitax_model("nat", "Base")),
    "mixer_b16": Case(images(224), timm_model("mixer_b16_224")),
    "mae_b16": Case(
        images_and_noise,
        transformers_model("ViTMAE"),
        lambda module, images, noise: module(images, noise=noise).logits,
        ours=our_reconstruction(0.75),
    ),
    "mae_l16": Case(images_and_noise, model=vitax_model("mae", "L"), ours=our_reconstruction(0.75)),
    "mae_l16_dense": Case(images_and_noise, model=vitax_model("mae", "L"), ours=our_reconstruction(0.0)),
    "clip_b16": Case(
        images_and_texts,
        open_clip_model,
        their_clip,
        fields=dict(activation="gelu", image_heads=12, text_heads=8),
        ours=our_clip,
    ),
    "swinir_light_x2": Case(images(64), swinir_light),
    "bert_base": Case(
        tokens(30522, 512),
        transformers_model("Bert", **NO_DROPOUT),
        lambda module, texts: module(texts).prediction_logits,
        ours=words,
    ),
    "fnet_base": Case(
        tokens(32000, 512),
        transformers_model("FNet", hidden_dropout_prob=0.0),
        lambda module, texts: module(texts).prediction_logits,
        ours=words,
    ),
    "fnet_hybrid": Case(tokens(32000, 512), model=vitax_model("fnet", "hybrid-base"), ours=words),
    "fnet_linear": Case(tokens(32000, 512), model=vitax_model("fnet", "linear-base"), ours=words),
    "fnet_random": Case(tokens(32000, 512), model=vitax_model("fnet", "base", mixing="random"), ours=words),
    "fnet_none": Case(tokens(32000, 512), model=vitax_model("fnet", "base", mixing="none"), ours=words),
    "greedy": Case(tokens(36000, 64), marian, their_translation(1), ours=our_translation(1), trains=False),
    "beam_4": Case(tokens(36000, 64), marian, their_translation(4), ours=our_translation(4), trains=False),
}
