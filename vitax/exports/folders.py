"""A trained run as a folder that transformers, timm or open_clip opens by itself."""

import json
from pathlib import Path
from typing import Any

import jax

from vitax import pretrained, reading
from vitax.data.tokens import Vocabulary, from_json
from vitax.errors import UserError
from vitax.exports.programs import SIGNATURES
from vitax.prediction import TrainedRun
from vitax.pretrained.preprocessing import Preprocessing
from vitax.specs import BoxSpec, ImageSpec, MaskSpec, TextSpec, inputs_of, text_of

# {--format: {family: format of the weights}}
FORMATS = {
    "hf": {
        "vit": "Hugging Face ViT",
        "mae": "Hugging Face ViTMAE",
        "swin": "Hugging Face Swin",
        "swin_v2": "Hugging Face Swin V2",
        "swin_segmenter": "Hugging Face UPerNet",
        "resnet_detector": "Hugging Face DETR, own ResNet",
        "swin_detector": "Hugging Face DETR, Swin",
        "clip": "Hugging Face CLIP",
        "bert": "Hugging Face BERT",
        "fnet": "Hugging Face FNet",
        "transformer": "Hugging Face Marian",
    },
    "timm": {"vit": "timm ViT", "swin": "timm Swin", "swin_v2": "timm Swin V2", "mlp_mixer": "timm Mixer"},
    "open_clip": {"clip": "OpenAI CLIP"},
}
LIBRARIES = {"hf": "transformers", "timm": "timm", "open_clip": "open_clip"}


def export_folder(run: TrainedRun, library: str, out: Path) -> str:
    """Writes the folder, and returns its weights' format.

    Args:
        run: the trained run.
        library: a key of FORMATS.
        out: the folder, which does not exist yet.

    Raises:
        UserError: the library has no such model, or cannot describe this one.
    """
    formats = FORMATS[library]
    if run.family not in formats:
        others = [name for name, families in FORMATS.items() if run.family in families]
        others += ["stablehlo", "onnx"] if run.task_name in SIGNATURES else []
        raise UserError(
            f"{LIBRARIES[library]} has no models of the family {run.family!r}, only {', '.join(formats)}; --format of this one: "
            + (", ".join(others) or "none")
        )
    if run.task_name in ("regression", "text_regression"):
        raise UserError(
            f"{LIBRARIES[library]} would take the normalised numbers of a regression for classes: use --format=onnx"
        )
    if getattr(inputs_of(run.reader.spec), "pixel_range", 0):
        raise UserError(
            f"{LIBRARIES[library]} has no place for data.pixel_range, by which values are divided: use --format=stablehlo or onnx"
        )
    name = formats[run.family]
    if name == "Hugging Face ViT" and run.model.distillation_token:
        name = "Hugging Face DeiT"
    spec, record = run.reader.spec, run.reader.record
    texts = text_of(spec)
    beside, settings = _tokenizer(from_json(record["tokenizer"]), texts) if texts else ({}, {})
    if isinstance(spec, BoxSpec):
        beside["preprocessor_config.json"] = json.dumps(_detr_processor(run), indent=2)
    if run.task_name in ("multilabel", "text_multilabel") and library == "hf":
        settings |= {"problem_type": "multi_label_classification"}
    pretrained.save(
        out,
        run.model,
        jax.device_get(run.variables),
        name,
        images=_images(run),
        class_names=record.get("class_names", ()) if getattr(run.model, "num_classes", 0) else (),
        settings={} if run.family == "clip" else settings,
        beside=beside,
    )
    return name


def _images(run: TrainedRun) -> Preprocessing | None:
    """The preprocessing of a run's images; None = it has none."""
    spec = inputs_of(run.reader.spec)
    if not isinstance(spec, ImageSpec) or isinstance(run.reader.spec, MaskSpec | BoxSpec):  # other than one crop
        return None
    fraction, interpolation = reading.test_crop(run.config)
    return Preprocessing(tuple(spec.mean), tuple(spec.std), fraction, interpolation, image_size=tuple(spec.image_size))


def _detr_processor(run: TrainedRun) -> dict[str, Any]:
    """A preprocessor_config.json of DETR: the shorter side of a picture has a length, and the longer one a greatest length."""
    transform: Any = run.reader.transform
    spec: Any = inputs_of(run.reader.spec)
    longest = min(transform.long_side, max(spec.image_size))
    size = {"shortest_edge": min(transform.short_sides[0], *spec.image_size), "longest_edge": longest}
    pad_size = dict(zip(("height", "width"), spec.image_size, strict=True))  # convolutions see the padding
    steps = dict(do_resize=True, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, do_pad=True, resample=2)
    normal = dict(image_mean=list(spec.mean), image_std=list(spec.std))
    return {
        "image_processor_type": "DetrImageProcessor",
        "format": "coco_detection",
        "size": size,
        "pad_size": pad_size,
        **steps,
        **normal,
    }


def _tokenizer(vocab: Vocabulary, spec: TextSpec) -> tuple[dict[str, str], dict[str, Any]]:
    """The files of a tokenizer, and the ids of its special tokens as keys of a config.json."""
    named = {"pad": vocab.pad, "cls": vocab.begin, "sep": vocab.end, "mask": vocab.mask, "unk": vocab.unknown}
    words = {f"{name}_token": vocab.tokenizer.id_to_token(token) for name, token in named.items() if token >= 0}
    words |= {
        f"{new}_token": words[f"{old}_token"]
        for new, old in (("bos", "cls"), ("eos", "sep"))
        if f"{old}_token" in words
    }
    # What a user types is text, "[SEP]" too: special tokens in it are split.
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": spec.length,
        "split_special_tokens": True,
    }
    ids = {"pad_token_id": vocab.pad, "bos_token_id": vocab.begin, "eos_token_id": vocab.end}
    ids |= {"decoder_start_token_id": vocab.begin}
    files = {"tokenizer.json": vocab.framing_json(), "tokenizer_config.json": json.dumps(described | words, indent=2)}
    return files, {name: token for name, token in ids.items() if token >= 0}
