"""Images with boxes in the layout of YOLO."""

import numpy as np
import pytest
import yaml
from commands import ROOT
from PIL import Image

from vitax import config_file
from vitax.build import build
from vitax.data.recognise import recognise
from vitax.data.yolo import label_file, yolo
from vitax.errors import UserError
from vitax.resolve import resolve
from vitax.specs import RGB


def written(folder, splits=("train", "val"), **content):
    """Three images of 40x20 in each split; the last one has no boxes."""
    for split in splits:
        for i in range(3):
            image = folder / "images" / split / f"{i}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 40, 3), 10 * i, np.uint8)).save(image)
        labels = folder / "labels" / split
        labels.mkdir(parents=True, exist_ok=True)
        (labels / "0.txt").write_text("1 0.5 0.5 0.5 0.5\n\n0 0.125 0.25 0.25 0.5\n")
        (labels / "1.txt").write_text("1 0.25 0.1 0.75 0.2 0.5 0.9\n")
    about = {"names": ["cat", "dog"], **{split: f"images/{split}" for split in splits}} | content
    (folder / "data.yaml").write_text(yaml.safe_dump(about))
    return folder


def opened(path, **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.4, pixels=RGB)
    return yolo(**arguments | options)


def test_boxes_and_outlines(tmp_path):
    splits = opened(written(tmp_path))
    assert (len(splits.train), len(splits.test), splits.validation) == (3, 3, None)
    first, second, third = (splits.train[i] for i in range(3))
    assert first["boxes"].tolist() == [[10, 5, 30, 15], [0, 0, 10, 10]]
    assert (first["label"].tolist(), first["area"].tolist()) == ([1, 0], [200, 100])
    assert second["boxes"].tolist() == [pytest.approx([10, 2, 30, 18])]
    assert third["boxes"].shape == (0, 4)
    assert splits.train.class_names == ("cat", "dog")
    assert (splits.train.most(), splits.train.counts().tolist()) == (2, [1, 2])


def test_splits_as_exports_have_them(tmp_path):
    splits = opened(written(tmp_path / "a", ("train", "val", "test"), names={0: "cat", 1: "dog"}))
    assert [len(part) for part in splits.sources()] == [3, 3, 3]
    assert splits.validation.name(0).endswith("images/val/0.png")
    alone = opened(written(tmp_path / "b", ("train",)) / "data.yaml")
    assert (len(alone.train), len(alone.test)) == (2, 1)
    # Roboflow: places beside the file begin with "../", and labels lie beside images.
    (tmp_path / "c").mkdir()
    for split, name in (("train", "train"), ("val", "valid")):
        (tmp_path / "c" / name).mkdir()
        (tmp_path / "a" / "images" / split).rename(tmp_path / "c" / name / "images")
        (tmp_path / "a" / "labels" / split).rename(tmp_path / "c" / name / "labels")
    (tmp_path / "c" / "data.yaml").write_text("names: [cat, dog]\ntrain: ../train/images\nval: ../valid/images\n")
    assert opened(tmp_path / "c").train[0]["label"].tolist() == [1, 0]
    # A list of files, and another folder above all.
    listed = written(tmp_path / "d" / "inner", train="list.txt")
    (listed / "list.txt").write_text("images/train/0.png\n./images/train/1.png\n")
    (listed / "data.yaml").rename(tmp_path / "d" / "mine.yaml")
    text = (tmp_path / "d" / "mine.yaml").read_text()
    (tmp_path / "d" / "mine.yaml").write_text(text + "path: inner\n")
    assert len(opened(tmp_path / "d").train) == 2
    assert str(label_file("images/x/images/train/a.b.jpg")) == "images/x/labels/train/a.b.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1 has the class 2, and there are 2"),
        ("0 0.5 0.5 0.1", "line 1 is not CLASS X Y WIDTH HEIGHT"),
        ("0 0.5 0.5 0.1 0.1 0.9", "line 1 is not CLASS X Y WIDTH HEIGHT"),
        ("0 20 10 5 5", "in shares of the image"),
        ("0 0.5 nan 0.1 0.1", "in shares of the image"),
        ("cat 0.5 0.5 0.1 0.1", "line 1 is not CLASS"),
    ],
)
def test_what_is_no_box_is_refused(tmp_path, text, message):
    (written(tmp_path) / "labels" / "train" / "1.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(names=None), "neither a list nor numbers with names"),
        (dict(names="cat"), "neither a list nor numbers with names"),
        (dict(names=[True, False]), "is not a word: write it in quotes"),
        (dict(names=[["cat"], ["dog"]]), "is not a word"),
        (dict(nc=7), "nc=7, and there are 2 names"),
        (dict(kpt_shape=[2, 2]), "points of a pose"),
        (dict(names={1: "cat", 2: "dog"}), "numbered from 0 without gaps"),
        (dict(train="images/there"), "names images/there, which is not there"),
        (dict(train=""), "has no key 'train'"),
        (dict(train="labels/train"), "holds no images"),
    ],
)
def test_what_is_no_data_yaml_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        opened(written(tmp_path, **content))


def test_a_box_without_a_pixel_is_left_out_and_told(tmp_path, caplog):
    (written(tmp_path) / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0 0.1\n1 1.0 0.5 0.5 0.5\n")
    example = opened(tmp_path).train[1]
    assert example["boxes"].tolist() == [[30, 5, 40, 15]], "and what exceeds the image is cut"
    assert "line 1 has a box without a pixel" in caplog.text


def test_what_is_silent_is_told(tmp_path, caplog):
    (written(tmp_path) / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0.1 0.1\n" * 2)
    assert len(opened(tmp_path).train[1]["label"]) == 1
    assert "line 2 repeats an object" in caplog.text
    assert "1 of 3 images have no file of boxes, such as" in caplog.text
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntrain: images/train\nday: 2024-02-30\n")
    with pytest.raises(UserError, match="day is out of range"):
        opened(tmp_path)
    for text in ("", "- cat\n", "cat"):
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(UserError, match="not a mapping of keys to values"):
            opened(tmp_path)
    written(tmp_path, ("train",))
    with pytest.raises(UserError, match="no key 'vall'"):
        opened(tmp_path, test="vall")
    for share in (0, 1, 20):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            opened(tmp_path, test_fraction=share)


def test_a_run_reads_them_and_the_doctor_knows_them(tmp_path):
    written(tmp_path)
    found = recognise(str(tmp_path))
    assert found.what.startswith("images with boxes in the form of YOLO: 3 objects of 2 classes")
    assert "--config.data.name=yolo" in found.flags
    config = config_file.load_config(f"{ROOT}/configs/detr_r50.py:demo")
    config["data"] |= dict(name="yolo", path=str(tmp_path))
    config |= dict(batch_size=8, duration="4 steps")
    config["optim"]["warmup"] = config["evals"]["every"] = config["checkpoint"]["every"] = ""
    batch = next(build(resolve(config)).train.train())
    assert batch["boxes"].shape == (8, 3, 4)
    for changes, message in (
        (dict(raw_ids=True), "raw_ids=True is for COCO"),
        (dict(max_objects=1), "max_objects=2 or more"),
    ):
        wrong = resolve(config | {"data": config["data"] | changes})
        with pytest.raises(UserError, match=message):
            build(wrong)


def test_the_training_in_place_of_a_test_is_no_test(tmp_path):
    """As in the files of a first try: val has the images of train, so that a share of them is held back."""
    written(tmp_path, splits=("train",), val="images/train", train="images/train")
    splits = opened(tmp_path)
    assert "held back" in splits.origin
    assert not set(splits.train.paths) & set(splits.test.paths)
