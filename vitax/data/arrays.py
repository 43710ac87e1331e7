"""Images that lie as arrays in one .npz file."""

import os

import numpy as np

from vitax.data.source import Arrays, Splits
from vitax.errors import UserError


def arrays(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """An .npz file with ``train_images`` [n, H, W, C] uint8, ``train_labels`` [n] int from 0 on, and the same for
    ``test``; optionally ``class_names`` [K] str.

    Args:
        path: of the file.
        train, test: what the names of the arrays begin with.

    Raises:
        UserError: there is no such file, or its arrays are not as said above.
    """
    file = os.path.expanduser(path)
    if not os.path.isfile(file):
        raise UserError(
            f"data.path={path!r} is no file; set it to an .npz file with the arrays "
            f"{train}_images, {train}_labels, {test}_images, {test}_labels"
        )
    with np.load(file, allow_pickle=False) as data:
        found = {name: data[name] for name in data.files}
    parts = []
    for split in (train, test):
        for name in (f"{split}_images", f"{split}_labels"):
            if name not in found:
                raise UserError(f"{path} holds {', '.join(found)}; {name} is missing")
        images, labels = found[f"{split}_images"], found[f"{split}_labels"]
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] != channels:
            raise UserError(
                f"{path}: {split}_images is {images.dtype} {images.shape}, not uint8 (n, height, width, {channels})"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise UserError(
                f"{path}: {split}_labels is {labels.dtype} {labels.shape}, not one number "
                f"from 0 on for each of {len(images)} images"
            )
        parts.append({"image": images, "label": labels.astype(np.int32)})
    classes = int(parts[0]["label"].max()) + 1
    names = [str(name) for name in found.get("class_names", range(classes))]
    if max(int(part["label"].max()) for part in parts) >= len(names):
        raise UserError(f"{path}: a label is not below {len(names)}, the number of classes in {train}")
    return Splits(
        *(Arrays(part, names, f"{path}/{split}") for part, split in zip(parts, (train, test), strict=True)), origin=path
    )
