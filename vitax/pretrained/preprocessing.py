"""The preprocessing of images for the weights of another project, as the files beside the weights record it."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitax.errors import UserError
from vitax.pretrained import files

RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# The preprocessing of every CLIP that OpenAI has released; the names of OpenAI's weights belong to no others.
OPENAI_CLIP = "OpenAI CLIP"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


# What processors of Hugging Face do where a file does not say it, by the beginning of their names.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": dict(do_center_crop=True, size={"shortest_edge": 224}, crop_size=224),
    "Bit": dict(do_center_crop=True, size={"shortest_edge": 224}, crop_size=224),
    "DeiT": dict(do_center_crop=True, size={"height": 256, "width": 256}, crop_size=224),
    "ConvNext": dict(size={"shortest_edge": 384}, crop_pct=224 / 256),
}
# Keys of a preprocessor_config.json that are read, or that change no number of an image.
_KEYS = (
    r"_.*|processor_class|(image_processor|feature_extractor)_type|auto_map|image_mean|image_std|resample|size|crop_size"
    r"|do_(resize|rescale|normalize|center_crop|convert_rgb|convert_annotations|reduce_labels)|rescale_factor|max_size"
    r"|default_to_square|(annotation_)?format|(input_)?data_format|return_tensors|device|disable_grouping|num_labels"
)


class Preprocessing(NamedTuple):
    """From a decoded image to the input of a model.

    Attributes:
        mean, std: per channel, on the scale 0..1.
        test_crop_fraction: the centre of that share is resized to the model's size; 0 = the whole image is, whatever
            its shape.
        interpolation: "bicubic", "bilinear" or "nearest"; "" = not recorded.
        class_names: of the model's classes, in order; () = unknown.
        origin: the file that records it.
        image_size: (height, width) of the result, in pixels; () = not recorded.
        long_side: greatest length of the longer side in pixels, where the shorter one gets that of ``image_size``, as for DETR;
            0 = not recorded.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    test_crop_fraction: float
    interpolation: str
    class_names: tuple[str, ...] = ()
    origin: str = ""
    image_size: tuple[int, ...] = ()
    long_side: int = 0


def read_preprocessing(folder: Path, format_name: str = "") -> Preprocessing | None:
    """The preprocessing that the files beside weights record; None where there is none.

    Args:
        folder: the folder of the weights.
        format_name: of the weights, see `vitax.pretrained.FORMATS`.

    Raises:
        UserError: a value that vitax does not apply in the same way.
    """
    names = class_names(files.read_config(folder))
    for name, read in (
        ("preprocessor_config.json", _hugging_face),
        ("config.json", _timm),
        ("open_clip_config.json", _open_clip),
    ):
        if (folder / name).is_file():
            try:
                recorded = read({**json.loads((folder / name).read_text(encoding="utf-8"))})
            except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                if isinstance(error, UserError):
                    raise UserError(f"{folder / name}: {error}") from error
                raise UserError(f"{folder / name} cannot be understood: {type(error).__name__}: {error}") from error
            if recorded is not None:
                return recorded._replace(class_names=names, origin=str(folder / name))
    if format_name == OPENAI_CLIP:
        return Preprocessing(CLIP_MEAN, CLIP_STD, 1.0, "bicubic", origin="OpenAI's code")
    return None


def chosen_preprocessing(
    path: str | Path, format_name: str, chosen: Mapping[str, Any], option: str = ""
) -> Preprocessing:
    """The preprocessing that the files beside weights record; values given by hand fill in what they do not.

    Args:
        path: a file of weights, a folder as a model hub has it, or a name on the hub.
        format_name: of the weights, see `vitax.pretrained.FORMATS`.
        chosen: values given by hand, by the names of `Preprocessing`.
        option: what stands before those names where they are given, for messages.

    Raises:
        UserError: mean and standard deviation are unknown, or a given value contradicts the files.
    """
    recorded = read_preprocessing(files.find(path).parent, format_name)
    if recorded is None:
        if missing := [key for key in ("mean", "std") if key not in chosen]:
            example = ", ".join(f'{option}{key}="(0.5, 0.5, 0.5)"' for key in ("mean", "std"))
            raise UserError(
                f"no file beside {path} records how images are prepared: give {' and '.join(missing)}, such as {example} "
                f"(the original ViT and Mixer, AugReg), or those of ImageNet, (0.485, 0.456, 0.406) and "
                f"(0.229, 0.224, 0.225) (DeiT, Swin, MAE, NAT); also give {option}test_crop_fraction and "
                f"{option}interpolation if they are not 0.875 and 'bicubic'"
            )
        return Preprocessing((), (), 0.875, "bicubic", origin="given by hand")._replace(**chosen)
    for key, value in chosen.items():
        if key != "image_size" and getattr(recorded, key) not in ((), "", 0, value):
            raise UserError(
                f"{option}{key}={value} contradicts {recorded.origin}, which records {getattr(recorded, key)}"
            )
    preprocessing = recorded._replace(**chosen)
    if not preprocessing.interpolation:
        raise UserError(f"{recorded.origin} does not record how images are resized: give {option}interpolation")
    return preprocessing


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes in a config.json of Hugging Face or timm, in order; () = it has none.

    Raises:
        UserError: their numbers are not 0, 1, 2, ...
    """
    if isinstance(labels := config.get("id2label"), Mapping):
        if sorted(map(str, labels)) != sorted(map(str, range(len(labels)))):
            raise UserError(
                f"id2label of config.json has the numbers {', '.join(map(str, labels))[:60]}, not 0 to {len(labels) - 1}"
            )
        return tuple(str(labels[key]) for key in sorted(labels, key=int))
    names = config.get("label_names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _hugging_face(config: Mapping[str, Any]) -> Preprocessing | None:
    if "image_mean" not in config:
        return None
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    if not kind and "crop_pct" in config:  # a file from before the types were written
        kind = "ConvNext"
    known = (
        _KEYS + ("|crop_pct" if kind.startswith("ConvNext") else "") + ("|do_pad|pad_size" if "Detr" in kind else "")
    )
    for key, value in config.items():
        if not re.fullmatch(known, key) and value not in (None, False, "", [], {}):
            raise UserError(
                f"{key}={value!r} of a {kind or 'processor'} is a key that vitax does not know; if you are sure that it does not "
                "change the images, remove it from a copy of that file"
            )
    config = next((default for name, default in _DEFAULTS.items() if kind.startswith(name)), {}) | dict(config)
    if not math.isclose(config.get("rescale_factor", 1 / 255), 1 / 255):
        raise UserError(f"rescale_factor {config['rescale_factor']} is not 1/255, which vitax applies")
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if not config.get(key, True):
            raise UserError(f"{key} is false; vitax always does it")
    if kind.startswith("ConvNext"):
        config = _as_cropped(config)
    mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
    interpolation = _resampling(config["resample"]) if config.get("resample") is not None else ""
    side = config.get("crop_size", config.get("size")) if config.get("do_center_crop") else config.get("size")
    size = (side, side) if isinstance(side, int) else ()
    if isinstance(side, Mapping):
        shortest = side.get("shortest_edge", 0)
        size = (side["height"], side["width"]) if "height" in side else (shortest, shortest)
    longest = 0
    if "Detr" in kind:
        # One number is the shorter side here, and Pillow's bilinear filter is what these processors take by themselves.
        longest = side.get("longest_edge", 0) if isinstance(side, Mapping) else config.get("max_size", 1333)
        interpolation = interpolation or "bilinear"
        if isinstance(side, Mapping) and ("shortest_edge" not in side or not longest):
            raise UserError(f"size {side} is not shortest_edge and longest_edge, which vitax applies for DETR")
    return Preprocessing(mean, std, _hugging_face_crop(config), interpolation, image_size=size, long_side=longest)


def _as_cropped(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a ConvNext's processor in the words of CLIP's: it crops up to 384 pixels, and squashes from there on."""
    size = config["size"]
    side = size if isinstance(size, int) else size["shortest_edge"]
    if side >= 384:
        return config | dict(size={"height": side, "width": side}, do_center_crop=False)
    # The crop is `side` of int(side / crop_pct) pixels.
    return config | dict(size={"shortest_edge": int(side / config["crop_pct"])}, crop_size=side, do_center_crop=True)


def _hugging_face_crop(config: Mapping[str, Any]) -> float:
    """The field test_crop_fraction, from the sizes in a preprocessor_config.json."""
    size, crop = config.get("size", config.get("crop_size")), config.get("crop_size")
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    if isinstance(size, int) and kind.startswith("CLIP"):
        size = {"shortest_edge": size}  # in files of all other kinds, one number means a square
    shortest = isinstance(size, Mapping) and "shortest_edge" in size
    if not config.get("do_center_crop", False) or crop is None:
        return 1.0 if shortest else 0.0
    inner = crop if isinstance(crop, int) else min(crop["height"], crop["width"])
    if shortest and not isinstance(crop, int) and crop["height"] != crop["width"]:
        raise UserError(
            f"the crop_size {crop} is not square; vitax would crop the largest box of that shape, which is another part of the image"
        )
    if shortest:
        return inner / size["shortest_edge"]
    sides = {size} if isinstance(size, int) else {size["height"], size["width"]}
    if sides != {inner}:
        raise UserError(
            f"size {size} and crop_size {crop} stretch an image before its centre is cropped; vitax crops it unstretched"
        )
    return 0.0


def _timm(config: Mapping[str, Any]) -> Preprocessing | None:
    settings = config.get("pretrained_cfg", config)
    if "mean" not in settings or "std" not in settings:
        return None
    fraction = float(settings.get("crop_pct", 0.875))
    if (mode := settings.get("crop_mode", "center")) not in ("center", "squash"):
        raise UserError(f"crop_mode {mode!r} is neither 'center' nor 'squash'")
    interpolation = settings.get("interpolation") or "bicubic"  # timm's default, as crop_pct's is 0.875
    if mode == "squash":
        if fraction != 1:
            raise UserError(f"crop_mode 'squash' with crop_pct {fraction} is not applied by vitax, only with 1")
        fraction = 0.0
    size = tuple(settings.get("input_size", ())[1:])
    mean, std = tuple(settings["mean"]), tuple(settings["std"])
    return Preprocessing(mean, std, fraction, _resampling(interpolation), image_size=size)


def _open_clip(config: Mapping[str, Any]) -> Preprocessing | None:
    settings = config.get("preprocess_cfg")
    if settings is None:
        return None
    if (mode := settings.get("resize_mode", "shortest")) not in ("shortest", "squash"):
        raise UserError(f"resize_mode {mode!r} is neither 'shortest' nor 'squash'")
    fraction = 0.0 if mode == "squash" else 1.0
    mean, std = settings.get("mean", CLIP_MEAN), settings.get("std", CLIP_STD)
    return Preprocessing(tuple(mean), tuple(std), fraction, _resampling(settings.get("interpolation", "bicubic")))


def _resampling(value: Any) -> str:
    name = RESAMPLING.get(value, value)
    if name not in RESAMPLING.values():
        raise UserError(f"resampling {value!r} is none of {', '.join(RESAMPLING.values())}")
    return name
