"""Images with several labels, or with numbers to predict."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vitax.data.image_targets import image_targets, labels_of, values_of
from vitax.data.source import Splits
from vitax.data.transforms import eval_transform, train_transform
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.images import image_spec
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.specs import ImageSpec, TargetSpec


def open_targets(
    images: ImageSpec,
    read_targets: Callable[..., Any],
    *,
    name: str = "table",
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
    targets: tuple[str, ...] = (),
) -> Splits:
    """Opens a table of images and targets; see `vitax.data.image_targets`.

    Args:
        images: description of the images.
        read_targets: see `vitax.data.image_targets.image_targets`.
        name: "table".
        path: the table, or its folder.
        train, test: names of the splits.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the images that is held back if the data have no test split.
        targets: columns of the targets: of several labels, each with 0 or 1, or of numbers; () = one column with a usual
            name, which lists the labels of an image, or holds its number.

    Raises:
        UserError: the name is another.
    """
    if name != "table":
        raise UserError(
            f"data.name={name!r} has one class for each image; several labels, or numbers, are in a 'table'"
        )
    options: Any = dict(path=path, train=train, test_fraction=test_fraction, columns=targets)
    options |= dict(channels=images.channels, max_pixels=images.max_pixels)
    return with_named(lambda test: image_targets(read_targets, test=test, **options), test, validation)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images with targets; see `vitax.pipelines.pipeline.Kind`."""
    images = take(image_spec)
    names = record["class_names"]
    spec = TargetSpec(images, tuple(names), tuple(record["target_mean"]), tuple(record["target_std"]))
    fields = {"num_classes": len(names), "image_size": images.image_size}
    blank = {
        "image": np.zeros((*images.image_size, images.channels), np.uint8),
        "target": np.full(len(names), np.nan, np.float32),
    }
    return Reader(spec, fields, take(eval_transform, images.image_size), record, blank)


def _open(take: Take, read_targets: Callable[..., Any], normalised: bool) -> Pipeline:
    """Opens images with targets; numbers are described by their mean and deviation in the training."""
    images = take(image_spec)
    splits: Splits = take(validated, take(open_targets, images, read_targets))
    names, values = list(splits.train.class_names), _targets(splits.train)
    known = [column[np.isfinite(column)] for column in values.T]
    if constant := [name for name, column in zip(names, known, strict=True) if len(np.unique(column)) < 2]:
        raise UserError(f"{splits.origin}: {constant[0]!r} has no two different values in the training examples")
    mean, std = np.zeros(len(names)), np.ones(len(names))
    if normalised:
        mean, std = (np.array([measure(column) for column in known]) for measure in (np.mean, np.std))
    if coarse := [name for name, m, s in zip(names, mean, std, strict=True) if abs(m) > 1e5 * s]:
        raise UserError(
            f"{splits.origin}: the values of {coarse[0]!r} differ too little for numbers of their size: subtract an offset"
        )
    record = {"class_names": names, "target_mean": mean.tolist(), "target_std": std.tolist()}
    height, width = images.image_size
    return Pipeline(
        splits,
        take(train_transform, images.image_size, images.mean, images.std),
        read(take, record),
        unit="images",
        about=f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}, {height}x{width}x{images.channels}",
    )


def _targets(source: Any) -> np.ndarray:
    """The targets of a source, or of a part of one, [n, T]."""
    if hasattr(source, "targets"):
        return source.targets.astype(np.float64)
    return _targets(source.source)[source.index]


FUNCTIONS = (image_spec, open_targets, validated, train_transform, eval_transform)
LABELS = Kind(FUNCTIONS, lambda take: _open(take, labels_of, normalised=False), read)
VALUES = Kind(FUNCTIONS, lambda take: _open(take, values_of, normalised=True), read)
