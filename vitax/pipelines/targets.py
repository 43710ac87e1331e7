"""Images or texts with several labels, or with numbers to predict."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from vitax.data.source import Splits
from vitax.data.target_columns import ReadTargets, labels_of, values_of
from vitax.data.targets import OF_IMAGES, text_targets
from vitax.data.tokens import from_json, vocabulary
from vitax.data.transforms import eval_transform, train_transform
from vitax.data.validation import validated, with_named
from vitax.errors import UserError
from vitax.pipelines.images import augmentation, image_spec
from vitax.pipelines.pipeline import Kind, Pipeline, Reader, Take
from vitax.pipelines.sentences import encoded, text_length
from vitax.pipelines.texts import text_spec
from vitax.specs import TargetSpec


def open_targets(
    openers: Mapping[str, Callable[..., Splits]],
    *,
    name: str = "table",
    path: str = "",
    train: str = "train",
    test: str = "test",
    validation: str = "",
    test_fraction: float = 0.2,
    targets: tuple[str, ...] = (),
) -> Splits:
    """Opens a table of images, texts or pairs of texts, and targets; see `vitax.data.targets`.

    Args:
        openers: the function that opens the data, by name.
        name: "table"; for images in Parquet or Arrow files, also hf-dataset:OWNER/NAME, "parquet".
        path: the table or the file, or its folder.
        train, test: names of the splits.
        validation: see `vitax.data.validation.validated`.
        test_fraction: share of the examples that is held back if the data have no test split.
        targets: columns of the targets: of several labels, each with 0 or 1, or of numbers; () = one column with a usual
            name, which lists the labels of an example, or holds its number.

    Raises:
        UserError: the name is another.
    """
    if name not in openers:
        raise UserError(
            f"data.name={name!r} has one class for each example; several labels, or numbers, are in a "
            f"{' or in '.join(map(repr, openers))}"
        )
    options: Any = dict(path=path, train=train, test_fraction=test_fraction, columns=targets)
    return with_named(lambda test: openers[name](test=test, **options), test, validation)


def read(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of images with targets; see `vitax.pipelines.pipeline.Kind`."""
    images = take(image_spec)
    names = record["class_names"]
    spec = TargetSpec(images, tuple(names), tuple(record["target_mean"]), tuple(record["target_std"]))
    fields = {"num_classes": len(names), "image_size": images.image_size}
    blank = {
        "image": np.zeros((*images.image_size, images.channels), images.pixels.dtype),
        "target": np.full(len(names), np.nan, np.float32),
    }
    return Reader(spec, fields, take(eval_transform, images.image_size), record, blank)


def read_texts(take: Take, record: dict[str, Any]) -> Reader:
    """The reader of texts with targets; see `vitax.pipelines.pipeline.Kind`."""
    length, truncate = take(text_length)
    vocab, names = from_json(record["tokenizer"]), record["class_names"]
    texts = text_spec(vocab, length, record["pairs"], truncate)
    spec = TargetSpec(texts, tuple(names), tuple(record["target_mean"]), tuple(record["target_std"]))
    fields = {"vocab_size": vocab.size, "num_classes": len(names)}
    blank = {"tokens": np.full(length, vocab.pad, np.int32), "segments": np.zeros(length, np.int32)}
    blank["target"] = np.full(len(names), np.nan, np.float32)
    return Reader(spec, fields, lambda example, rng: example, record, blank)


def _open(take: Take, read_targets: ReadTargets, normalised: bool) -> Pipeline:
    """Opens images with targets."""
    images = take(image_spec)
    pixels = images.pixels._replace(draft=images.draft)
    openers = {name: partial(opener, read_targets, pixels=pixels) for name, opener in OF_IMAGES.items()}
    splits: Splits = take(validated, take(open_targets, openers))
    record, about = _described(splits, normalised)
    height, width = images.image_size
    return Pipeline(
        splits,
        augmentation(take, images),
        read(take, record),
        unit="images",
        about=f"{about}, {height}x{width}x{images.channels}",
    )


def _open_texts(take: Take, read_targets: ReadTargets, normalised: bool) -> Pipeline:
    """Opens texts with targets."""
    splits: Splits = take(validated, take(open_targets, {"table": partial(text_targets, read_targets)}))
    record, about = _described(splits, normalised)
    return encoded(take, splits, record, read_texts, about)


def _described(splits: Splits, normalised: bool) -> tuple[dict[str, Any], str]:
    """The names of the targets, and the mean and standard deviation of each in the training if they are numbers; and a headline.

    Raises:
        UserError: a target is the same in all training examples, differs too little for 32 bits, is hidden in the test, or has
            a name that predictions need for something else.
    """
    names, values = list(splits.train.class_names), _targets(splits.train)
    if normalised and (taken := sorted(set(names) & {"file", "text", "error"})):
        raise UserError(
            f"{splits.origin}: predictions have a column {taken[0]!r} of their own; give the target another name"
        )
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
    for source in splits.sources()[1:] if normalised else ():
        for name, column, learned in zip(names, _targets(source).T, known, strict=True):
            seen = np.unique(column[np.isfinite(column)])
            if len(seen) == 1 and len(column) > 1 and not learned.min() <= seen[0] <= learned.max():
                raise UserError(
                    f"{splits.origin}: {name!r} is {seen[0]:g} in all examples of a test or validation split, and from "
                    f"{learned.min():g} to {learned.max():g} in the training: it seems to be hidden; choose another split with "
                    "data.test"
                )
    if normalised and (taken := [name for name in names if name in ("file", "text", "error")]):
        raise UserError(
            f"{splits.origin}: predictions have a column {taken[0]!r} of their own; rename that of the numbers"
        )
    record = {"class_names": names, "target_mean": mean.tolist(), "target_std": std.tolist()}
    return record, f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def _targets(source: Any) -> np.ndarray:
    """The targets of a source, or of a part of one, [n, T]."""
    if hasattr(source, "targets"):
        return source.targets.astype(np.float64)
    return _targets(source.source)[source.index]


FUNCTIONS = (image_spec, open_targets, validated, train_transform, eval_transform)
LABELS = Kind(FUNCTIONS, lambda take: _open(take, labels_of, normalised=False), read)
VALUES = Kind(FUNCTIONS, lambda take: _open(take, values_of, normalised=True), read)
FOR_TEXTS = (open_targets, validated, text_length, vocabulary)
TEXT_LABELS = Kind(FOR_TEXTS, lambda take: _open_texts(take, labels_of, normalised=False), read_texts)
TEXT_VALUES = Kind(FOR_TEXTS, lambda take: _open_texts(take, values_of, normalised=True), read_texts)
