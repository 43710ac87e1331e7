"""Labelled images that a table lists, as people write such tables."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from vitax.data import open_source
from vitax.data.tables import separator_of
from vitax.data.validation import validated
from vitax.errors import UserError
from vitax.specs import RGB


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "my images").mkdir()
    for i in range(12):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / "my images" / f"{i}.png")
    return tmp_path


def rows(numbers=range(12)):
    return [(f"my images/{i}.png", "cat" if i % 2 else "dog") for i in numbers]


def opened(path, **options):
    return open_source("table", path=str(path), train="train", test="test", test_fraction=0.25, pixels=RGB, **options)


def contents(source):
    """The number in the pixels, and the class."""
    examples = [source[i] for i in range(len(source))]
    return [(int(x["image"][0, 0, 0]), source.class_names[x["label"]]) for x in examples]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("head", [("file", "label"), ("Filename", "CLASS"), ("image", "Category")])
def test_a_table_with_usual_columns(photos, separator, head):
    lines = [separator.join(row) for row in (head, *rows())]
    (photos / "labels.csv").write_text("\n".join(lines) + "\n")
    splits = opened(photos / "labels.csv")
    assert (len(splits.train), len(splits.test)) == (9 - 1, 4)
    both = sorted(contents(splits.train) + contents(splits.test))
    assert both == [(i, "cat" if i % 2 else "dog") for i in range(12)]
    assert opened(photos).train.paths == splits.train.paths, "the folder of the table will do"


def test_a_column_of_splits(photos):
    kinds = ["train"] * 6 + ["Val"] * 3 + ["test"] * 3
    lines = [
        {"path": str(photos / file), "target": label, "split": kind}
        for (file, label), kind in zip(rows(), kinds, strict=True)
    ]
    (photos / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    splits = opened(photos / "all.jsonl")
    assert [len(source) for source in splits.sources()] == [6, 3, 3]
    assert [number for number, _ in contents(splits.test)] == [9, 10, 11]
    assert splits.train.class_names == ("cat", "dog")
    text = (photos / "all.jsonl").read_text()
    (photos / "all.jsonl").write_text(text.replace('"Val"', '"extra"'))
    with pytest.raises(UserError, match=r"has 'train' \(6\), 'extra' \(3\), 'test' \(3\); expected train, test"):
        opened(photos / "all.jsonl")
    (photos / "all.jsonl").write_text(text.replace('"test"', '"train"'))
    assert len(opened(photos / "all.jsonl").test) == 3, "val is the test where there is no other"


def test_a_table_for_each_split(photos):
    for name, numbers in (("train", range(8)), ("test", range(8, 12))):
        lines = ["file,label", *(",".join(row) for row in rows(numbers))]
        (photos / f"{name}.csv").write_text("\n".join(lines))
    splits = opened(photos)
    assert (len(splits.train), len(splits.test)) == (8, 4)
    (photos / "test.csv").write_text("file,label\nmy images/0.png,bird\n")
    with pytest.raises(UserError, match="'bird' is a label of the test or the validation, but of no training example"):
        opened(photos)


def test_the_column_that_is_taken_of_several_is_told(photos, caplog):
    lines = ["file,class,label", *(f"{file},{i % 2},{label}" for i, (file, label) in enumerate(rows()))]
    (photos / "a.csv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert opened(photos / "a.csv").train.class_names == ("cat", "dog")
    assert "the labels are in the column 'label'; 'class' could be meant too" in caplog.text


def test_whole_numbers_are_labels(photos):
    lines = [{"file": file, "label": int(label == "cat")} for file, label in rows()]
    (photos / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert opened(photos / "a.jsonl").train.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,label\nmy images/0.png,cat\n",
            "has the columns name, label; a column of files is needed: file, filename",
        ),
        ("file,kind\nmy images/0.png,cat\n", "a column of labels is needed: label, labels, class"),
        ("file,label\nmy images/0.png,\n", "row 1 has \"\" in the column 'label', where a label belongs"),
        ("file,label\nnone.png,cat\n", "row 1 names .*none.png, which is not there"),
        ("file,label\nmy images/0.png,cat,more\n", "row 1 has more fields than the header"),
        ("", "holds no rows"),
    ],
)
def test_what_is_wrong_is_told(photos, text, message):
    (photos / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(photos / "a.csv")


def test_several_tables_are_not_guessed(photos):
    (photos / "a.csv").write_text("file,label\n")
    (photos / "b.csv").write_text("file,label\n")
    with pytest.raises(UserError, match=r"holds no train.csv and test.csv, but a.csv, b.csv: name the splits"):
        opened(photos)
    with pytest.raises(UserError, match="c.csv' does not exist"):
        opened(photos / "c.csv")


def test_the_separator_is_the_one_that_the_header_shows():
    assert [separator_of(head) for head in ("a,b", "a;b", "a\tb", "a|b;c|d", "a")] == [",", ";", "\t", "|", ","]


def test_an_image_in_two_splits_is_refused(tmp_path):
    """Also where a table lists a file twice and a share of the rows is held back."""
    for i in range(4):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    rows = [f"{i % 4}.png,{'ab'[i % 2]}\n" for i in range(40)]
    (tmp_path / "t.csv").write_text("file,label\n" + "".join(rows))
    splits = open_source(
        "table", path=str(tmp_path / "t.csv"), train="train", test="test", test_fraction=0.25, pixels=RGB
    )
    with pytest.raises(UserError, match="are also in the test"):
        validated(splits)
