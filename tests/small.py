"""A small model of every family, with something to feed it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax.models import MODELS


class Small(NamedTuple):
    family: str
    fields: dict[str, Any]
    inputs: tuple[np.ndarray, ...]

    @property
    def model(self):
        return MODELS[self.family].module(**self.fields)

    def replaced(self, **fields):
        return MODELS[self.family].module(**(self.fields | fields))


def _images(height=16, width=24, channels=3):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


def _tokens(length, seed=0):
    return np.random.default_rng(seed).integers(1, 30, (2, length)).astype(np.int32)


_NAT = dict(num_classes=3, width=16, depths=(2, 1), num_heads=(2, 4), kernel=3)
_SWIN = dict(num_classes=3, image_size=(16, 24), patch_size=2, width=16, depths=(2, 2), num_heads=(2, 4), window=4)
_VIT = dict(num_classes=3, image_size=(16, 24), patch_size=4, width=32, depth=2, num_heads=2, mlp_width=48)
_BERT = dict(vocab_size=30, max_length=12, width=32, depth=2, num_heads=2, mlp_width=48)
_SWINIR = dict(width=16, depths=(2, 2), num_heads=(2, 2), window=4, features=8)
_CLIP = dict(
    image_size=(16, 24),
    out_width=16,
    patch_size=4,
    image_width=32,
    image_depth=2,
    image_heads=2,
    image_mlp_width=48,
    vocab_size=30,
    context_length=9,
    text_width=32,
    text_depth=2,
    text_heads=2,
)
_SEQ = dict(vocab_size=30, width=32)
KEEP = np.array([[5, 1, 7, 22, 14, 3], [0, 23, 11, 9, 2, 4]], np.int32)
SIZES = np.array([[13, 24], [16, 9]], np.int32)  # height and width of the pictures in images to detect in
_DETR = dict(
    num_classes=3,
    num_queries=5,
    head_width=16,
    encoder_depth=1,
    decoder_depth=2,
    head_heads=2,
    head_mlp_width=24,
    head_dropout=0.0,
)
_HEAD = dict(head_width=8, auxiliary_width=8, auxiliary_map=1)

SMALL = {
    "vit": Small("vit", _VIT, (_images(),)),
    "vit-map": Small("vit", _VIT | dict(pooling="map", pre_logits=12), (_images(),)),
    "vit-relative": Small(
        "vit", _VIT | dict(positions="relative", positions_at="blocks", pooling="mean", class_token=False), (_images(),)
    ),
    "vit-relative-1d": Small("vit", _VIT | dict(positions="relative_1d", positions_at="blocks_shared"), (_images(),)),
    "vit-concatenated": Small("vit", _VIT | dict(positions_at="concatenated"), (_images(),)),
    "vit-distilled": Small("vit", _VIT | dict(distillation_token=True), (_images(),)),
    "mae": Small(
        "mae",
        {k: v for k, v in _VIT.items() if k != "num_classes"}
        | dict(decoder_width=16, decoder_depth=1, decoder_num_heads=2),
        (_images(), KEEP),
    ),
    "swin": Small("swin", _SWIN, (_images(),)),
    "swin_v2": Small("swin_v2", _SWIN, (_images(),)),
    "swin_segmenter": Small("swin_segmenter", _SWIN | _HEAD | dict(shrink_window=False), (_images(),)),
    "nat_segmenter": Small("nat_segmenter", _NAT | _HEAD, (_images(),)),
    "vit_segmenter": Small("vit_segmenter", _VIT | _HEAD | dict(depth=6), (_images(),)),
    "resnet": Small("resnet", dict(num_classes=3, width=4, depths=(1, 2)), (_images(32, 40),)),
    "resnet_detector": Small(
        "resnet_detector", dict(width=4, depths=(1, 2), frozen_norms=False) | _DETR, (_images(32, 40), SIZES)
    ),
    "swin_detector": Small("swin_detector", _SWIN | _DETR | dict(shrink_window=False), (_images(), SIZES)),
    "nat_detector": Small("nat_detector", _NAT | _DETR, (_images(), SIZES)),
    "vit_detector": Small("vit_detector", _VIT | _DETR, (_images(), SIZES)),
    "swinir": Small("swinir", _SWINIR, (_images(9, 14),)),
    "swinir-real": Small(
        "swinir", _SWINIR | dict(upsampler="nearest_conv", scale=4, residual="3conv"), (_images(9, 14),)
    ),
    "swinir-denoise": Small("swinir", _SWINIR | dict(upsampler="none", scale=1, channels=1), (_images(9, 14, 1),)),
    "nat": Small("nat", _NAT, (_images(),)),
    "dinat": Small("nat", _NAT | dict(dilations=((1, 2), (2,)), layer_scale=0.1), (_images(28, 52),)),
    "dynamic_vit": Small("dynamic_vit", _VIT | dict(depth=3, stages=(1, 2), keep_ratios=(0.7, 0.49)), (_images(),)),
    "clip": Small("clip", _CLIP, (_images(), _tokens(9))),
    "clip-resnet": Small(
        "clip",
        _CLIP
        | dict(
            image_size=(64, 64),
            image_tower="resnet",
            image_width=4,
            image_depths=(1, 2, 1, 1),
            text_tower="bag_of_words",
        ),
        (_images(64, 64), _tokens(9)),
    ),
    "mlp_mixer": Small(
        "mlp_mixer",
        dict(num_classes=3, image_size=(16, 24), patch_size=4, width=32, depth=2, token_mlp_width=20, mlp_width=48),
        (_images(),),
    ),
    "mlp_mixer-positions": Small(
        "mlp_mixer",
        dict(num_classes=3, image_size=(16, 24), patch_size=4, width=32, depth=2, positions="learned_1d"),
        (_images(),),
    ),
    "fnet": Small("fnet", _BERT, (_tokens(12),)),
    "fnet-hybrid": Small("fnet", _BERT | dict(attention_depth=1, heads="classes"), (_tokens(12),)),
    "fnet_image": Small("fnet_image", {k: v for k, v in _VIT.items() if k != "num_heads"}, (_images(),)),
    "bert": Small("bert", _BERT, (_tokens(12),)),
    "transformer": Small(
        "transformer",
        _SEQ | dict(encoder_depth=2, decoder_depth=2, num_heads=2, mlp_width=48),
        (_tokens(7), _tokens(5, 1)),
    ),
    "transformer-prenorm": Small(
        "transformer",
        _SEQ
        | dict(
            encoder_depth=2,
            decoder_depth=1,
            num_heads=2,
            mlp_width=48,
            norm_first=True,
            tied=False,
            logits_bias=True,
            positions="halves",
            attention_bias=False,
        ),
        (_tokens(7), _tokens(5, 1)),
    ),
    "language_model": Small("language_model", _SEQ | dict(depth=2, num_heads=2, mlp_width=48), (_tokens(7),)),
    "rnn_seq2seq": Small("rnn_seq2seq", _SEQ | dict(depth=2), (_tokens(7), _tokens(5, 1))),
    "rnn-lstm": Small(
        "rnn_seq2seq", _SEQ | dict(depth=1, cell="lstm", bidirectional=False), (_tokens(7), _tokens(5, 1))
    ),
}


def variables_of(model, inputs, seed=0):
    """Variables with nothing at zero or one, drawn by NumPy: compiling an initialisation takes longer than a test."""
    shapes = jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x), *inputs)
    shapes.pop("intermediates", None)
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = path[-1].key
        noise = rng.normal(size=x.shape).astype(np.float32)
        if name in ("scale", "var"):
            return 1 + 0.1 * np.abs(noise)
        if name == "kernel":
            return noise * np.float32(np.prod(x.shape[:-1]) ** -0.5)
        return np.float32(0.1) * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


def run(model, variables, *inputs, **options):
    """``model.apply`` as one program: called as it is, each of its operations would be compiled by itself."""
    arrays = {name: x for name, x in options.items() if isinstance(x, np.ndarray | jax.Array)}
    fixed = {name: x for name, x in options.items() if name not in arrays}
    return jax.jit(functools.partial(model.apply, **fixed))(variables, *inputs, **arrays)


def maps_of(model, variables, images):
    """The maps of a segmenter's backbone, and the tokens after its last block."""
    last = f"block{model.depth - 1}"
    captured = lambda module, method: method == "features" or module.name == last
    _, state = model.apply(variables, images, capture_intermediates=captured, mutable=["intermediates"])
    return state["intermediates"]["features"][0], state["intermediates"][last]["__call__"][0]


def total(out):
    """One number that depends on everything that a model returns."""
    leaves = [x for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)]
    weights = [jnp.cos(1.7 * jnp.arange(x.size)).reshape(x.shape) for x in leaves]
    return sum((x * w + 0.1 * jnp.square(x)).mean() for x, w in zip(leaves, weights, strict=True))
