"""Labelled images stored as arrays in one .npz file."""

import os

import numpy as np

from vitax.data.source import Arrays, Splits
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.values import on_scale
from vitax.errors import UserError
from vitax.specs import Pixels


def arrays(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens labelled images in an .npz file.

    The file holds ``train_images`` [n, H, W, C], uint8 or, with a ``pixel_range``, any numbers; ``train_labels`` [n] int,
    counted from 0; the same two arrays for ``test``; and, optionally, ``class_names`` [K] str.

    Args:
        path: path of the file.
        train, test: prefixes of the names of the arrays.
        test_fraction: not used, because the file holds both splits.
        pixels: number of channels C that the images must have, and the range of their values.

    Raises:
        UserError: the file does not exist, or its arrays are not as described above.
    """
    file = os.path.expanduser(path)
    if not os.path.isfile(file):
        raise UserError(
            f"data.path={path!r} is not a file; set it to an .npz file with the arrays "
            f"{train}_images, {train}_labels, {test}_images, {test}_labels"
        )
    with np.load(file, allow_pickle=False) as data:
        contents = {name: data[name] for name in data.files}
    between = next((name for name in VALIDATION if name != test and f"{name}_images" in contents), "")
    parts, splits = [], (train, test, *([between] if between else []))
    for split in splits:
        for name in (f"{split}_images", f"{split}_labels"):
            if name not in contents:
                raise UserError(f"{path} holds the arrays {', '.join(contents)}; {name} is missing")
        images, labels = contents[f"{split}_images"], contents[f"{split}_labels"]
        if not len(images):
            raise UserError(f"{path}: {split}_images holds no images")
        kind = "numbers" if pixels.pixel_range else "uint8"
        fits = images.dtype.kind in "uif" if pixels.pixel_range else images.dtype == np.uint8
        if images.ndim != 4 or not fits or images.shape[-1] != pixels.channels:
            raise UserError(
                f"{path}: {split}_images is {images.dtype} {images.shape}, not {kind} (n, height, width, {pixels.channels})"
            )
        if pixels.pixel_range:
            try:
                images = on_scale(images, pixels.pixel_range)
            except ValueError as error:
                raise UserError(f"{path}: {split}_images: {error}") from error
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise UserError(
                f"{path}: {split}_labels is {labels.dtype} {labels.shape}, not one "
                f"non-negative integer for each of {len(images)} images"
            )
        parts.append({"image": images, "label": labels.astype(np.int32)})
    classes = int(parts[0]["label"].max()) + 1
    names = [str(name) for name in contents.get("class_names", range(classes))]
    if max(int(part["label"].max()) for part in parts) >= len(names):
        raise UserError(f"{path}: a label is not below {len(names)}, the number of classes in class_names or {train}")
    first, last, *rest = (Arrays(part, names, f"{path}/{split}") for part, split in zip(parts, splits, strict=True))
    return Splits(first, last, f"{path}, best checkpoint chosen on {between!r}" if between else path, *rest)
