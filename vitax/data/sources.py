"""Where examples come from. Each opener takes the same arguments and returns a train and a test source.

    digits   scikit-learn's handwritten digits, inside the package
    folder   your own images: DIR/train/<class>/*.jpg and DIR/test/<class>/*.jpg, or DIR/<class>/*.jpg
    NAME     anything else is the name of a prepared TFDS data set
"""

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from vitax.data.decode import EXTENSIONS, decode_image
from vitax.data.splits import holdout
from vitax.errors import UserError


class Source(Protocol):
    """Examples by index."""

    class_names: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict[str, np.ndarray]: ...

    def name(self, i: int) -> str: ...


class Splits(NamedTuple):
    """What a run learns from and what it is tested on, and where both were found."""

    train: Source
    test: Source
    origin: str


class Arrays:
    """Examples that are in memory already: {"image": [n, H, W, C] uint8, "label": [n] int32}."""

    def __init__(self, arrays: dict[str, np.ndarray], class_names: Sequence[str], origin: str):
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"arrays differ in length: {sizes}")
        self.arrays, self.class_names, self.origin = arrays, tuple(class_names), origin

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {name: array[i] for name, array in self.arrays.items()}

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


class ImageFiles:
    """Labelled image files, read when asked for."""

    def __init__(
        self, paths: Sequence[str], labels: np.ndarray, class_names: Sequence[str], channels: int
    ):
        self.paths, self.labels = list(paths), np.asarray(labels, np.int32)
        self.class_names, self.channels = tuple(class_names), channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        data = Path(self.paths[i]).read_bytes()
        return {"image": decode_image(data, self.channels), "label": self.labels[i]}

    def name(self, i: int) -> str:
        return self.paths[i]


class Tfds:
    """One split of a prepared TFDS data set, images still encoded until they are asked for."""

    def __init__(self, records: Any, class_names: Sequence[str], channels: int, origin: str):
        self.records, self.class_names = records, tuple(class_names)
        self.channels, self.origin = channels, origin

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        record = self.records[i]
        label = int(record["label"])
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label {label} is outside 0..{len(self.class_names) - 1}")
        return {
            "image": decode_image(record["image"], self.channels),
            "label": np.int32(label),
        }

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


class Cached:
    """Keeps decoded examples in memory until the budget is used up; the rest is read again each time."""

    def __init__(self, source: Source, budget: int):
        self.source, self.class_names, self.left = source, source.class_names, budget
        self.kept: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        if i in self.kept:
            return self.kept[i]
        example = self.source[i]
        size = sum(np.asarray(value).nbytes for value in example.values())
        if size <= self.left:  # two threads may both subtract: the budget errs on the safe side
            self.left -= size
            self.kept[i] = example
        return example

    def name(self, i: int) -> str:
        return self.source.name(i)


def digits(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """1,797 real handwritten digits, 8x8 grey (Alpaydin and Kaynak 1998), in ten classes.

    They have no official split: a fifth of every class (or ``test_fraction``) is held back, the same one each time.
    """
    from sklearn.datasets import load_digits  # 1.5 s: only who asks for it pays

    if path:
        raise UserError(
            f"data.path={path!r} is given but data.name is 'digits', which is built in; "
            "for your own images add --config.data.name=folder"
        )
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    images = np.repeat(images, channels, axis=-1)
    labels = bunch.target.astype(np.int32)
    names = [str(name) for name in bunch.target_names]
    parts = [
        Arrays({"image": images[index], "label": labels[index]}, names, f"digits/{split}")
        for split, index in zip(("train", "test"), holdout(labels, test_fraction), strict=True)
    ]
    return Splits(*parts, origin="scikit-learn's handwritten digits")


def folder(*, path: str, train: str, test: str, test_fraction: float, channels: int) -> Splits:
    """Labelled images below a folder, in one of three layouts.

    - ``path/train/<class>/*.jpg`` and ``path/test/<class>/*.jpg`` (or val, validation);
    - ``path/train/<class>/*.jpg`` alone, or ``path/<class>/*.jpg``: ``test_fraction`` of every class is held back.

    Files below a class folder are found at any depth; hidden ones are ignored.
    """
    root = Path(path).expanduser()
    layout = f"expected DIR/train/<class>/*.jpg and DIR/test/<class>/*.jpg, or DIR/<class>/*.jpg ({' '.join(EXTENSIONS)})"
    if not path:
        raise UserError(f"data.path is empty; set --config.data.path=DIR; {layout}")
    if not root.is_dir():
        raise UserError(f"data.path {path} is not a folder; {layout}")

    train_root = root / train if (root / train).is_dir() else root
    class_names, train_paths, train_labels = _scan(train_root, layout)
    candidates = [root / name for name in dict.fromkeys((test, "test", "val", "validation"))]
    found = [candidate for candidate in candidates if candidate.is_dir()]
    if train_root == root or not found:
        keep, held = holdout(train_labels, test_fraction)
        paths = np.asarray(train_paths, dtype=object)
        return Splits(
            ImageFiles(paths[keep], train_labels[keep], class_names, channels),
            ImageFiles(paths[held], train_labels[held], class_names, channels),
            origin=f"{train_root}, {test_fraction:.0%} of every class held back for the test",
        )
    test_names, test_paths, test_labels = _scan(found[0], layout)
    if unknown := sorted(set(test_names) - set(class_names)):
        raise UserError(
            f"{found[0]} holds classes that {train_root} does not: {_some(unknown)}; "
            f"move them away or add them to the training images"
        )
    index = np.asarray([class_names.index(name) for name in test_names], np.int32)
    return Splits(
        ImageFiles(train_paths, train_labels, class_names, channels),
        ImageFiles(test_paths, index[test_labels], class_names, channels),
        origin=f"{train_root} and {found[0]}",
    )


def _scan(root: Path, layout: str) -> tuple[list[str], list[str], np.ndarray]:
    """Class names (sorted), file paths and labels below ``root/<class>/``."""
    class_names = sorted(
        entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."
    )
    if len(class_names) < 2:
        raise UserError(
            f"{root} holds {len(class_names)} class folders, two are needed; {layout}"
        )
    paths, labels = [], []
    for label, name in enumerate(class_names):
        files = sorted(
            os.path.join(folder, file)
            for folder, _, files in os.walk(root / name, followlinks=True)
            for file in files
            if file[0] != "." and os.path.splitext(file)[1].lower() in EXTENSIONS
        )
        if not files:
            raise UserError(
                f"class folder {root / name} holds no images; add some or remove it; {layout}"
            )
        paths += files
        labels += [label] * len(files)
    return class_names, paths, np.asarray(labels, np.int32)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def tfds(
    name: str, *, path: str, train: str, test: str, test_fraction: float, channels: int
) -> Splits:
    """A data set prepared by TensorFlow Datasets in the array_record format; TensorFlow is not needed to read it.

    Args:
        path: the TFDS ``data_dir``; empty = its default, ~/tensorflow_datasets.
        train, test: split names; slices such as ``train[:90%]`` are legal.
    """
    import tensorflow_datasets as tfds_lib  # 0.6 s: only who asks for it pays

    data_dir = os.path.expanduser(path or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    prepare = (
        "to prepare it: pip install tensorflow-cpu importlib_resources && "
        f"tfds build {name} --file_format=array_record --data_dir={data_dir}; "
        "to see a run without it, use the config's variant ':demo'; "
        "for your own images: --config.data.name=folder --config.data.path=DIR"
    )
    try:
        builder = tfds_lib.builder(name, data_dir=data_dir)
    except tfds_lib.core.registered.DatasetNotFoundError:
        close = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UserError(
            f"data.name={name!r} is none of {', '.join(SOURCES)}{hint}, and no TFDS data set of that name is known "
            f"or lies in {data_dir}; {prepare}"
        ) from None
    except Exception as error:
        raise UserError(f"TFDS data set {name} cannot be opened: {error}; {prepare}") from error
    if not builder.info.splits:
        raise UserError(f"TFDS data set {name} is not prepared in {builder.data_path}; {prepare}")
    features = builder.info.features
    if "image" not in features or "label" not in features:
        raise UserError(
            f"TFDS data set {name} has the features {', '.join(features)}; 'image' and 'label' are needed"
        )

    def split(which: str) -> Tfds:
        try:
            records = builder.as_data_source(
                split=which, decoders={"image": tfds_lib.decode.SkipDecoding()}
            )
            files = [
                file
                for split_name in [which.split("[")[0]]
                for file in builder.info.splits[split_name].filepaths
            ]
        except NotImplementedError as error:  # prepared as tfrecord
            raise UserError(f"TFDS data set {name}: {error}; {prepare}") from error
        except Exception as error:
            known = ", ".join(builder.info.splits)
            raise UserError(
                f"TFDS data set {name} has no split {which!r} (it has {known}): {error}"
            ) from error
        if missing := [str(file) for file in files if not os.path.exists(file)]:
            raise UserError(
                f"TFDS data set {name} lacks files: {_some(missing)}; prepare it again"
            )
        return Tfds(records, features["label"].names, channels, f"{name}/{which}")

    return Splits(split(train), split(test), origin=f"TFDS {name} in {builder.data_path}")


SOURCES: dict[str, Callable[..., Splits]] = {"digits": digits, "folder": folder}


def open_source(name: str, **arguments: Any) -> Splits:
    """The opener of that name, or TFDS. Arguments as in `digits`, `folder` and `tfds`."""
    try:
        if name in SOURCES:
            return SOURCES[name](**arguments)
        return tfds(name, **arguments)
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"data {name!r}: {error}") from error
