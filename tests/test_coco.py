"""COCO's captions, in COCO's folders and in one file."""

import json

import numpy as np
import pytest
from PIL import Image

from vitax.data.coco import coco_captions
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
    refused("1 empty captions", annotations=[{"image_id": 1, "caption": " "}])
    refused("has no captions", annotations=[])
    (tmp_path / "mine" / f"{2:012d}.png").unlink()
    refused("1 images that are not in .*mine: 000000000002.png")
    with pytest.raises(UserError, match=r"no captions_learn\*.json .it has captions_mine.json"):
        opened(tmp_path, train="learn")
