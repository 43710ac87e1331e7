"""TFDS without TensorFlow: a dataset prepared here, read by name and directory."""

import functools
import sys

import numpy as np
import pytest
from PIL import Image

from vitax.data import open_source
from vitax.data.tfds import tfds as tfds_images
from vitax.errors import UserError
from vitax.specs import RGB

tfds = pytest.importorskip("tensorflow_datasets")
pytestmark = pytest.mark.filterwarnings("ignore")


def opened(name, path, train="train", test="test"):
    return open_source(name, path=str(path), train=train, test=test, test_fraction=0.2, pixels=RGB)


@functools.cache  # a name can be registered once in a process, whose workers may come back to this module
def builder():
    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["day", "night"])}
                ),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

        def _generate_examples(self, count):
            rng = np.random.default_rng(count)
            for i in range(count):
                low = 150 * (i % 2 == 0)
                pixels = rng.integers(low, low + 100, (7, 9, 3), dtype=np.uint8)
                yield i, {"image": Image.fromarray(pixels), "label": i % 2}

    return TinyPictures


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    builder()(data_dir=str(path), file_format="array_record").download_and_prepare()
    return path


def test_a_prepared_data_set_is_read_without_tensorflow(prepared):
    splits = opened("tiny_pictures", prepared)
    assert (len(splits.train), len(splits.test)) == (20, 6)
    assert splits.train.class_names == ("day", "night")
    for i in range(20):
        example = splits.train[i]
        assert example["image"].shape == (7, 9, 3)
        assert (example["image"].mean() > 127) == (example["label"] == 0)
    assert "tensorflow" not in sys.modules


def test_slices_part_a_split(prepared):
    splits = opened("tiny_pictures", prepared, train="train[:75%]", test="train[75%:]")
    assert (len(splits.train), len(splits.test)) == (15, 5)


def test_unprepared_data_name_the_folder_the_command_and_the_demo(tmp_path):
    with pytest.raises(UserError) as caught:
        opened("imagenet2012", tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}/imagenet2012" in message
    assert "tfds build imagenet2012 --file_format=array_record" in message
    assert ":demo" in message


def test_unknown_names_and_splits_are_told(prepared):
    with pytest.raises(UserError, match="did you mean 'folder'"):
        opened("foldr", prepared)
    with pytest.raises(UserError, match="no split 'validation'.*train, test"):
        opened("tiny_pictures", prepared, test="validation")


def test_a_missing_shard_is_found_before_it_is_read(prepared, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    next(copy.rglob("*train*array_record*")).unlink()
    with pytest.raises(UserError, match="lacks 1 files, .*train"):
        opened("tiny_pictures", copy)


def test_labels_that_are_no_classes_are_refused(monkeypatch):
    class Builder:
        class info:
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": tfds.features.Text()})

    monkeypatch.setattr(sys.modules["vitax.data.tfds"], "open_builder", lambda name, path: (Builder, None))
    with pytest.raises(UserError, match=r"faces has labels of the type Text; one ClassLabel for each image"):
        tfds_images("faces", path="", train="train", test="test", test_fraction=0.1, pixels=RGB)
    several = {"image": tfds.features.Image(), "label": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=3))}
    Builder.info.features = tfds.features.FeaturesDict(several)
    with pytest.raises(UserError, match="has labels of the type Sequence"):
        tfds_images("faces", path="", train="train", test="test", test_fraction=0.1, pixels=RGB)
