"""COCO's captions and outlines, in COCO's folders and in one file."""

import json

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image

from vitax.data.coco import coco_captions
from vitax.data.coco_masks import coco_masks
from vitax.data.mask_files import IGNORED
from vitax.errors import UserError
from vitax.specs import RGB


def write(file, folder, numbers, each=5):
    folder.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(exist_ok=True)
    for i in numbers:
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(folder / f"{i:012d}.png")
    notes = [{"image_id": i, "id": 10 * i + k, "caption": f" {k} of {i}\n"} for k in range(each) for i in numbers]
    images = [{"id": i, "file_name": f"{i:012d}.png", "height": 4, "width": 4} for i in numbers]
    file.write_text(json.dumps({"info": {}, "images": images, "annotations": notes}))


def opened(path, **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.3, pixels=RGB) | options
    return coco_captions(**arguments)


def contents(source):
    return sorted((int(x["image"][0, 0, 0]), x["caption"]) for x in (source[i] for i in range(len(source))))


def expected(numbers):
    return sorted((i, f"{k} of {i}") for i in numbers for k in range(5))


def test_the_folders_of_coco(tmp_path):
    write(tmp_path / "annotations" / "captions_train2017.json", tmp_path / "train2017", range(6))
    write(tmp_path / "annotations" / "captions_val2017.json", tmp_path / "val2017", range(6, 9))
    splits = opened(tmp_path)
    assert (contents(splits.train), contents(splits.test)) == (expected(range(6)), expected(range(6, 9)))


@pytest.mark.parametrize("folder", ["mine", "images", "images/mine", "."])
def test_one_file_with_its_images(tmp_path, folder):
    write(tmp_path / "captions_mine.json", tmp_path / folder, range(10))
    splits = opened(tmp_path / "captions_mine.json")
    assert sorted(contents(splits.train) + contents(splits.test)) == expected(range(10))
    assert {n for n, _ in contents(splits.train)}.isdisjoint(n for n, _ in contents(splits.test))


def test_what_is_not_in_its_form_is_refused(tmp_path):
    file = tmp_path / "captions_mine.json"
    write(file, tmp_path / "mine", range(4))
    content = json.loads(file.read_text())

    def refused(message, **changes):
        file.write_text(json.dumps(content | changes))
        with pytest.raises(UserError, match=message):
            opened(file)

    refused("is not in COCO's form .KeyError", annotations=[{"image_id": 1, "bbox": []}])
    refused("the image 77, which it does not list", annotations=[{"image_id": 77, "caption": "a"}])
    twice = [*content["images"], {**content["images"][0], "file_name": "other.jpg"}]
    refused("two images have the same id", images=twice)
    refused("1 empty captions", annotations=[{"image_id": 1, "caption": " "}])
    refused("has no captions", annotations=[])
    (tmp_path / "mine" / f"{2:012d}.png").unlink()
    refused("1 images that are not in .*mine: 000000000002.png")
    with pytest.raises(UserError, match=r"no captions_learn\*.json .it has captions_mine.json"):
        opened(tmp_path, train="learn")


def box(left, top, right, bottom):
    """A rectangle as a polygon."""
    return [left, top, right, top, right, bottom, left, bottom]


def outlined(folder, *notes):
    """Two images of 12x10 with the same outlines, in one file."""
    images = [{"id": i, "file_name": f"{i}.png", "height": 10, "width": 12} for i in range(2)]
    for i in range(2):
        Image.fromarray(np.full((10, 12, 3), i, np.uint8)).save(folder / f"{i}.png")
    notes = [
        {"id": k, "image_id": i, "category_id": 3, "area": 50, **note} for i in range(2) for k, note in enumerate(notes)
    ]
    content = {
        "images": images,
        "annotations": notes,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "ant"}],
    }
    (folder / "instances_all.json").write_text(json.dumps(content))
    options = dict(path=str(folder / "instances_all.json"), train="train", test="test", test_fraction=0.5, pixels=RGB)
    return coco_masks(**options)


def test_outlines_become_masks(tmp_path):
    runs = np.zeros((10, 12), np.uint8)
    runs[6:9, 1:4] = 1
    flat = runs.T.ravel()  # down the columns
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, len(flat)]).tolist()
    packed = pycocotools.mask.encode(np.asfortranarray(np.roll(runs, 8, axis=1)))
    splits = outlined(
        tmp_path,
        {"segmentation": [box(1, 1, 9, 5)], "area": 32},
        {"segmentation": [box(3, 2, 5, 4), box(10, 0, 40, 3)], "category_id": 7, "area": 7},
        {"segmentation": {"counts": counts, "size": [10, 12]}, "iscrowd": 1, "area": 9},
        {"segmentation": {"counts": packed["counts"].decode(), "size": [10, 12]}, "category_id": 7, "area": 9},
    )
    assert splits.train.class_names == ("background", "ant", "dog")
    expected = np.zeros((10, 12), int)
    expected[1:5, 1:9] = 1
    expected[2:4, 3:5], expected[0:3, 10:] = 2, 2
    expected[6:9, 1:4], expected[6:9, 9:] = IGNORED, 2
    for source in (splits.train, splits.test):
        assert np.array_equal(source[0]["mask"], expected)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ({"segmentation": [[1, 1, 5, 5]]}, "polygon of fewer than three points"),
        ({"segmentation": []}, "polygon of fewer than three points, or none"),
        ({"segmentation": {"counts": [120], "size": [12, 10]}}, "run lengths for .12, 10., and its image .10, 12."),
        ({"segmentation": [box(1, 1, 4, 4)], "category_id": 5}, "the category 5, which is not listed"),
        ({}, "KeyError: 'segmentation'"),
        ({"segmentation": [box(1, 1, 4, 4)], "area": -1}, "has the area -1"),
        ({"segmentation": [["1", "1", "4", "1", "4", "4"]]}, "not finite numbers"),
        ({"segmentation": [[1, 1, 4, 1, 4, float("nan")]]}, "not finite numbers"),
        ({"segmentation": {"counts": "zzzzz", "size": [10, 12]}}, "not run lengths"),
        ({"segmentation": {"counts": [10, 5], "size": [10, 12]}}, "do not fill its image of 120 pixels"),
        ({"segmentation": {"size": [10, 12]}}, "KeyError: 'counts'"),
        ({"segmentation": [box(1, 1, 4, 4)], "iscrowd": "0"}, "iscrowd='0'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, note, message):
    with pytest.raises(UserError, match=message):
        outlined(tmp_path, note)
