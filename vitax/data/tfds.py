"""Datasets prepared by TensorFlow Datasets, read without TensorFlow."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitax.data.decode import decode_image
from vitax.data.source import Splits
from vitax.errors import UserError
from vitax.specs import Pixels


class UnknownDataSet(Exception):
    """TFDS knows no dataset with this name."""


class Tfds:
    """One split of a prepared TFDS dataset; images are decoded on demand."""

    def __init__(self, records: Any, class_names: Sequence[str], pixels: Pixels, origin: str):
        self.records, self.class_names = records, tuple(class_names)
        self.pixels, self.origin = pixels, origin
        self.labels = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> dict[str, Any]:
        try:
            record = self.records[i]
        except RuntimeError as error:  # a damaged file
            raise ValueError(str(error)) from error
        label = int(record["label"])
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label {label} is outside 0..{len(self.class_names) - 1}")
        return {"image": decode_image(record["image"], self.pixels), "label": np.int32(label)}

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


def tfds(name: str, *, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens a labelled image dataset prepared by TensorFlow Datasets.

    Args:
        name: name of the dataset.
        path: TFDS's ``data_dir``; empty = the environment's TFDS_DATA_DIR or, if it is not set, ~/tensorflow_datasets.
        train, test: names of the splits; slices such as ``train[:90%]`` are allowed.
        test_fraction: not used, because both splits are named.
        pixels: how images are decoded.

    Raises:
        UnknownDataSet: TFDS knows no dataset with this name.
        UserError: the dataset is not prepared, or it has no images with labels.
    """
    builder, split = open_builder(name, path)
    features = builder.info.features
    if "image" not in features or "label" not in features:
        raise UserError(f"TFDS dataset {name} has the features {', '.join(features)}; 'image' and 'label' are needed")
    label = features["label"]
    if not getattr(label, "num_classes", None) or label.shape:
        kind = type(label).__name__
        raise UserError(f"TFDS dataset {name} has labels of the type {kind}; one ClassLabel for each image is needed")
    parts = [Tfds(split(which), label.names, pixels, f"{name}/{which}") for which in (train, test)]
    return Splits.of(parts, f"TFDS {name} in {builder.data_path}")


def open_builder(name: str, path: str) -> tuple[Any, Callable[[str], Any]]:
    """Opens a dataset prepared by TensorFlow Datasets in the array_record format, which is readable without TensorFlow.

    Returns:
        The builder, and a function from the name of a split to its records, with images still encoded.

    Raises:
        UnknownDataSet: TFDS knows no dataset with this name.
        UserError: the dataset is not prepared, or it cannot be opened.
    """
    try:
        import tensorflow_datasets as tfds_lib  # takes 0.6 s, so only runs that need it import it
    except ImportError as error:
        raise UserError(
            f'the dataset {name} is read by TFDS, which is not installed: pip install "vitax[tfds]"'
        ) from error

    data_dir = os.path.expanduser(path or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    prepare = (
        "to prepare it: pip install tensorflow-cpu importlib_resources && "
        f"tfds build {name} --file_format=array_record --data_dir={data_dir}; "
        "to see a run without it, use the config's variant ':demo'; "
        "for your own data, set config.data.name and config.data.path, see README.md"
    )
    try:
        builder = tfds_lib.builder(name, data_dir=data_dir)
    except tfds_lib.core.registered.DatasetNotFoundError as error:
        raise UnknownDataSet(f"no TFDS dataset with that name is known or is in {data_dir}; {prepare}") from error
    except Exception as error:
        raise UserError(f"TFDS dataset {name} cannot be opened: {error}; {prepare}") from error
    if not builder.info.splits:
        raise UserError(f"TFDS dataset {name} is not prepared in {builder.data_path}; {prepare}")
    encoded = {"image": tfds_lib.decode.SkipDecoding()} if "image" in builder.info.features else {}

    def split(which: str) -> Any:
        try:
            records = builder.as_data_source(split=which, decoders=encoded)
            files = builder.info.splits[which].filepaths
        except NotImplementedError as error:  # prepared as tfrecord
            raise UserError(f"TFDS dataset {name} cannot be read: {error}; {prepare}") from error
        except Exception as error:
            known = ", ".join(builder.info.splits)
            raise UserError(f"TFDS dataset {name} has no split {which!r} (it has {known}): {error}") from error
        if missing := [str(file) for file in files if not os.path.exists(file)]:
            raise UserError(f"TFDS dataset {name} lacks {len(missing)} files, for example {missing[0]}")
        return records

    return builder, split
