"""Weights of other projects, ready to predict: the parts of a trained run, without the folder of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment, masking, pretrained
from vitax.data.mask_transforms import eval_pairs
from vitax.data.object_transforms import eval_objects
from vitax.data.tokens import load_vocabulary
from vitax.data.transforms import eval_transform
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.models.detector import Detector
from vitax.models.segmenter import Segmenter
from vitax.models.views import View
from vitax.pipelines import Reader
from vitax.pipelines.texts import text_spec
from vitax.pretrained.format import pair
from vitax.pretrained.preprocessing import Preprocessing, chosen_preprocessing
from vitax.pretrained.tokenizer import TEXTS, TOKENIZERS, lowercase_of, tokenizer_beside
from vitax.runs.head_classes import answers_of
from vitax.runs.tokenizer_files import check_tokenizer
from vitax.specs import BoxSpec, ImageSpec, MaskSpec, RestorationSpec, TargetSpec
from vitax.tasks import TASKS, Batch, Task, Variables
from vitax.tasks.words import check_padding

FEATURES = "features"  # the task of a model that gives only features of images
TEXT_FEATURES = "text_features"  # ... of texts
# Families whose weights have no image size.
ANY_SIZE = ("resnet", "nat", "resnet_detector", "swin_segmenter", "nat_segmenter")


class ForeignModel(NamedTuple):
    """Weights of another project, ready to predict.

    Attributes:
        reader: reader of the images, with their preprocessing.
        family: key of MODELS.
        model: the model, without variables.
        task_name: key of TASKS, or "features".
        task: the objective.
        variables: the weights.
        report: report for people on how the weights and the preprocessing were found.
    """

    reader: Reader
    family: str
    model: nn.Module
    task_name: str
    task: Task
    variables: Variables
    report: str


def open_foreign(path: str | Path, **given: Any) -> ForeignModel:
    """A model of images, or an encoder of texts, with the weights of a file, a folder of a model hub, or a name on it.

    Args:
        path: the file or folder of the weights.
        given: fields of the model, see `vitax.pretrained.load`; fields of `Preprocessing` (mean, std,
            test_crop_fraction, interpolation, class_names) that no file records; image_size, which overrides what a
            file records; for texts length (in tokens, 128), tokenizer (a path) and lowercase (of a vocab.txt).

    Raises:
        UserError: the weights cannot be read, vitax opens no models of this kind, their preprocessing or tokenizer is
            unknown, or the number of class names is wrong.
    """
    texts = {key: given.pop(key) for key in ("length", "tokenizer", "lowercase") if key in given}
    chosen = {key: given.pop(key) for key in Preprocessing._fields if key in given}
    if "image_size" in chosen and pretrained.family_of(path) not in ANY_SIZE:  # the weights are adapted to it
        given["image_size"] = chosen.pop("image_size")
    chosen |= {key: pair(value) for key, value in chosen.items() if key == "image_size"}
    loaded = pretrained.load(path, **given)
    family = pretrained.FORMATS[loaded.report.format].family
    _check_options(path, family, texts, chosen)
    if family == "swinir":
        return _restoring(loaded)
    view_of = MODELS[family].view
    if family in TEXTS:
        return _texts(path, loaded, **texts)
    if isinstance(loaded.model, Segmenter):
        return _segmenting(path, loaded, chosen)
    if isinstance(loaded.model, Detector):
        return _detecting(path, loaded, chosen)
    if view_of is None:
        raise UserError(
            f"{path} holds a model {family!r}, which vitax.load does not open by itself: use vitax.pretrained.load"
        )
    preprocessing = chosen_preprocessing(path, loaded.report.format, chosen)
    recorded = preprocessing.image_size
    if recorded and family not in ANY_SIZE and "image_size" not in given:
        loaded = _of_size(path, loaded, preprocessing, given)
    model, channels = loaded.model, len(preprocessing.mean)
    _check_channels(path, loaded, family, preprocessing)
    size = (recorded if family in ANY_SIZE else ()) or model.image_size
    spec = ImageSpec(tuple(size), channels, preprocessing.mean, preprocessing.std)
    classes = getattr(model, "num_classes", 0)
    names = list(_class_names(path, model, preprocessing)) if classes else []
    blank = {"image": np.zeros((*spec.image_size, channels), np.uint8), "label": np.int32(0)}
    record = {"class_names": names}
    crop: dict[str, Any] = {key: getattr(preprocessing, key) for key in ("interpolation", "test_crop_fraction")}
    reader = Reader(spec, {}, eval_transform(spec.image_size, **crop), record, blank)
    view = view_of(model)
    classifies = classes and view.has_classes
    name = answers_of(path, classes) if classifies else FEATURES
    if name in ("multilabel", "regression"):
        targets = TargetSpec(spec, tuple(names), (0.0,) * classes, (1.0,) * classes)
        reader = reader._replace(spec=targets)
        task = TASKS[name].factory(model, targets)
    else:
        task = TASKS[name].factory(model, spec) if classifies else _features(view, spec)
    report = f"{loaded.report}\npreprocessing {preprocessing._replace(class_names=(), image_size=spec.image_size)}"
    return ForeignModel(reader, family, model, name, task, loaded.variables, report)


def _of_size(
    path: str | Path, loaded: pretrained.Loaded, preprocessing: Preprocessing, given: Mapping[str, Any]
) -> pretrained.Loaded:
    """A model for the size of images that its processor prepares.

    Raises:
        UserError: it was trained at another one, and its official code does not adapt it.
    """
    size, trained = preprocessing.image_size, tuple(loaded.model.image_size)
    if size == trained:
        return loaded
    if "DINO" in loaded.report.format:
        return pretrained.load(path, **given, image_size=size)
    raise UserError(
        f"{path} has weights for images of {_by(trained)} pixels, and {preprocessing.origin} prepares {_by(size)}: give "
        f"image_size={trained} or image_size={size}"
    )


def _check_channels(path: str | Path, loaded: pretrained.Loaded, family: str, preprocessing: Preprocessing) -> None:
    """Raises UserError for images of other channels than the weights take."""
    mean, channels = preprocessing.mean, len(preprocessing.mean)
    if (seen := pretrained.image_channels(loaded.model, family, loaded.variables)) != channels:
        raise UserError(
            f"{path} takes images of {seen} channels, but mean={mean} has {channels} ({preprocessing.origin}): correct that file"
        )


def _check_options(path: str | Path, family: str, texts: Mapping[Any, Any], images: Mapping[Any, Any]) -> None:
    """Raises UserError for an option of texts or of images that has no meaning for a family."""
    if texts and family not in TEXTS:
        raise UserError(f"{next(iter(texts))} is for models of texts, and {path} holds a model of images ({family})")
    if images and (family in TEXTS or family == "swinir"):
        why = "holds a model of texts" if family in TEXTS else "holds SwinIR, which takes images as they are"
        raise UserError(f"{next(iter(images))} is for models that preprocess images, and {path} {why}")


def _texts(
    path: str | Path, loaded: pretrained.Loaded, length: int = 128, tokenizer: str = "", lowercase: bool | None = None
) -> ForeignModel:
    """An encoder of texts, whose features are the hidden states of its class token."""
    model, beside = loaded.model, tokenizer_beside(pretrained.find(path).parent)
    file = Path(tokenizer).expanduser() if tokenizer else beside
    if file is None:
        raise UserError(f"neither {' nor '.join(TOKENIZERS)} is beside {path}: give tokenizer=PATH")
    if file.suffix == ".txt" and lowercase is None and (lowercase := lowercase_of(file)) is None:
        raise UserError(
            f"no tokenizer_config.json records whether {file} is of lower case: give lowercase=True or False"
        )
    vocab = load_vocabulary(str(file), bool(lowercase))
    if vocab.size > model.vocab_size:
        raise UserError(
            f"{file} has {vocab.size:,} tokens, and {path} has {model.vocab_size:,}: it belongs to other weights"
        )
    if not 2 < length <= model.max_length:
        raise UserError(f"length={length} must lie in 3..{model.max_length}, the positions of {path}")
    framing = check_tokenizer(file, vocab)
    spec = text_spec(vocab, length)
    try:
        check_padding(model, spec)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    blank = {"tokens": np.full(length, vocab.pad, np.int32), "segments": np.zeros(length, np.int32)}
    record = {"class_names": [], "tokenizer": vocab.to_json()}
    reader = Reader(spec, {}, _unchanged, record, blank)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        mask = masking.lengths(batch["tokens"], spec.pad)
        out = model.apply(variables, batch["tokens"], segments=batch["segments"], mask=mask)
        return {"features": out["tokens"][:, 0].astype(jnp.float32)}

    task = Task(_not_trained, _not_trained, predict)
    family = pretrained.FORMATS[loaded.report.format].family
    report = f"{loaded.report}\ntokenizer   {file}, texts of up to {length} tokens{framing}"
    if getattr(model, "mixes_padding", False):
        report += f"; each is filled up to {length}, and the model mixes the padding in"
    return ForeignModel(reader, family, model, TEXT_FEATURES, task, loaded.variables, report)


def _features(view: View, spec: ImageSpec) -> Task:
    """A task that only predicts: the features of images."""

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        return {"features": view.encode(variables, augment.normalize(batch["image"], spec.mean, spec.std))}

    return Task(_not_trained, _not_trained, predict)


def _not_trained(*_: Any) -> Any:
    raise ValueError("a model that was loaded for its features is not trained")


def _restoring(loaded: pretrained.Loaded) -> ForeignModel:
    """SwinIR, whose images are neither resized nor normalised before they reach the model."""
    model = loaded.model
    spec = RestorationSpec(8 * model.window, model.scale, model.channels)
    reader = Reader(spec, {}, _unchanged, {"class_names": []}, {})
    task = TASKS["restoration"].factory(model, spec)
    return ForeignModel(reader, "swinir", model, "restoration", task, loaded.variables, str(loaded.report))


def _segmenting(path: str | Path, loaded: pretrained.Loaded, chosen: dict[str, Any]) -> ForeignModel:
    """A segmenter: the shorter side of an image becomes that of the model, which sees it in windows."""
    model: Any = loaded.model
    if unused := {"test_crop_fraction", "interpolation"} & chosen.keys():
        raise UserError(
            f"{min(unused)} has no meaning for a segmenter, whose images are resized bilinearly and not cropped"
        )
    preprocessing = chosen_preprocessing(path, loaded.report.format, chosen)
    # Of a Swin, the size in its config is that of its classifier; a table of positions is made for one size.
    table = getattr(model, "absolute_positions", False) or hasattr(model, "positions")
    size = model.image_size if table else preprocessing.image_size or (512, 512)
    if (asked := chosen.get("image_size", tuple(size))) != tuple(size):
        raise UserError(f"image_size={asked}: {path} has positions for images of {_by(size)} pixels")
    names = _class_names(path, model, preprocessing)
    images = ImageSpec(tuple(size), len(preprocessing.mean), preprocessing.mean, preprocessing.std)
    spec = MaskSpec(images, names)
    reader = Reader(spec, {}, eval_pairs(images.image_size, images.mean), {"class_names": list(names)}, {})
    family = pretrained.FORMATS[loaded.report.format].family
    report = (
        f"{loaded.report}\nimages      shorter side {min(size)}, windows of {size[0]}x{size[1]}, mean={images.mean}, "
        f"std={images.std}"
    )
    task = TASKS["segmentation"].factory(model, spec)
    return ForeignModel(reader, family, model, "segmentation", task, loaded.variables, report)


def _detecting(path: str | Path, loaded: pretrained.Loaded, chosen: dict[str, Any]) -> ForeignModel:
    """A detector: the shorter side of a picture becomes that of the processor, and the model sees it padded to a square."""
    model: Any = loaded.model
    if "test_crop_fraction" in chosen:
        raise UserError("test_crop_fraction has no meaning for a detector, which sees whole pictures")
    preprocessing = chosen_preprocessing(path, loaded.report.format, chosen)
    given = preprocessing.origin == "given by hand" and "interpolation" not in chosen
    preprocessing = preprocessing._replace(interpolation="bilinear") if given else preprocessing
    if preprocessing.interpolation != "bilinear":
        raise UserError(
            f"{preprocessing.origin} says {preprocessing.interpolation!r}; vitax resizes for detectors bilinearly"
        )
    short, long = min(preprocessing.image_size or (800,)), preprocessing.long_side or 1333
    names = _class_names(path, model, preprocessing)
    images = ImageSpec((long, long), len(preprocessing.mean), preprocessing.mean, preprocessing.std)
    transform = eval_objects(images.image_size, model.num_queries, images.mean, short_side=short, long_side=long)
    blank = transform({"image": np.zeros((*images.image_size, images.channels), np.uint8)}, np.random.default_rng(0))
    reader = Reader(BoxSpec(images, names, model.num_queries), {}, transform, {"class_names": list(names)}, blank)
    family = pretrained.FORMATS[loaded.report.format].family
    report = f"{loaded.report}\nimages      shorter side {short}, longer side at most {long}, mean={images.mean}, std={images.std}"
    task = TASKS["detection"].factory(model, reader.spec)
    return ForeignModel(reader, family, model, "detection", task, loaded.variables, report)


def _class_names(path: str | Path, model: Any, preprocessing: Preprocessing) -> tuple[str, ...]:
    """The names of the classes, or their numbers.

    Raises:
        UserError: there are more or fewer names than classes.
    """
    names = tuple(preprocessing.class_names) or tuple(map(str, range(model.num_classes)))
    if len(names) != model.num_classes:
        raise UserError(f"{path} has {model.num_classes} classes, but there are {len(names)} class names")
    return names


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _unchanged(example: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    return example
