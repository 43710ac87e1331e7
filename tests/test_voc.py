"""Images with boxes or masks in the folders of Pascal VOC, and every reader of boxes and masks in batches."""

import json

import numpy as np
import pytest
from PIL import Image

from vitax.data.box_table import box_table
from vitax.data.coco_masks import coco_masks
from vitax.data.loader import Loader
from vitax.data.mask_files import MaskRules
from vitax.data.masks import mask_files
from vitax.data.objects import coco_objects
from vitax.data.recognise import recognise
from vitax.data.voc import voc
from vitax.data.yolo import yolo
from vitax.errors import UserError
from vitax.specs import RGB

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
PART = "<part><name>head</name>" + BOX.format(9, 9, 9, 9) + "</part>"  # a part is no object


def xml(*objects, size=(20, 40), filename=""):
    """The content of a file: objects are (name, box) or (name, box, difficult)."""
    text = "<annotation>" + (f"<filename>{filename}</filename>" if filename else "")
    text += f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>" if size else ""
    for name, box, *difficult in objects:
        text += f"<object><name>{name}</name>" + "".join(f"<difficult>{x}</difficult>" for x in difficult)
        text += PART + BOX.format(*box) + "</object>"
    return text + "</annotation>"


def image(path, value=0, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


OBJECTS = (("dog", (1, 1, 40, 20)), ("cat", (11, 6, 20, 10.5), 1))


def devkit(folder, **lists):
    """The folders of VOC; ``lists`` = {split: names}."""
    for i, name in enumerate(name for names in lists.values() for name in names):
        image(folder / "JPEGImages" / f"{name}.jpg", 10 * i)
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(xml(*OBJECTS))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in lists.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def split_folders(folder, *splits, content=None):
    """Images with their files beside them, in a folder for each split."""
    for split in splits:
        for i in range(3):
            image(folder / split / f"{i}.png", 10 * i)
            (folder / split / f"{i}.xml").write_text(content or xml(*OBJECTS))
    return folder


def opened(path, **options):
    return voc(**dict(path=str(path), train="train", test="test", test_fraction=0.4, pixels=RGB) | options)


def test_the_folders_of_voc(tmp_path):
    devkit(tmp_path / "VOCdevkit" / "VOC2012", train=["a", "b"], val=["c"])
    splits = opened(tmp_path / "VOCdevkit")
    assert (len(splits.train), len(splits.test), splits.validation) == (2, 1, None)
    assert splits.train.class_names == ("cat", "dog")
    example = splits.train[0]
    assert example["boxes"].tolist() == [[0, 0, 40, 20], [10, 5, 20, 10.5]], "from pixel 1, the last one included"
    assert example["label"].tolist() == [1, 0]
    assert example["ignored"].tolist() == [False, True], "what is difficult is ignored"
    assert example["area"].tolist() == [800, 55]
    assert splits.test.name(0).endswith("c.jpg")
    found = recognise(str(tmp_path / "VOCdevkit"))
    assert (found.kind, len(found.open().train)) == ("images with boxes", 2)
    assert "--config.data.name=voc" in found.flags
    three = opened(devkit(tmp_path / "all", train=["a"], val=["b"], test=["c"]))
    assert [part.name(0)[-5] for part in three.sources()] == ["a", "c", "b"]
    assert [part.name(0)[-5] for part in opened(tmp_path / "all", train="val", test="train").sources()] == ["b", "a"]
    # The usual protocol: val is a part of trainval, and no validation.
    lists = tmp_path / "all" / "ImageSets" / "Main"
    (lists / "trainval.txt").write_text("a\nb\n")
    assert [len(part) for part in opened(tmp_path / "all", train="trainval").sources()] == [2, 1]
    with pytest.raises(UserError, match="trainval and train share 1 images, such as .*a.jpg"):
        opened(tmp_path / "all", train="trainval", test="train")
    (lists / "test.txt").unlink()
    with pytest.raises(UserError, match="no images of 'test', or only images that are in 'trainval' too"):
        opened(tmp_path / "all", train="trainval")
    (lists / "test.txt").write_text("\n")
    with pytest.raises(UserError, match="test.txt lists nothing"):
        opened(tmp_path / "all")
    devkit(tmp_path / "VOCdevkit" / "VOC2007", train=["a"], val=["c"])
    with pytest.raises(UserError, match="holds VOC2007, VOC2012: name one of them"):
        opened(tmp_path / "VOCdevkit")


def test_files_beside_the_images(tmp_path, caplog):
    splits = opened(split_folders(tmp_path / "splits", "train", "valid", "test"))
    assert [len(part) for part in splits.sources()] == [3, 3, 3]
    assert recognise(str(tmp_path / "splits")).kind == "images with boxes"
    alone = opened(split_folders(tmp_path, "one") / "one")
    assert (len(alone.train), len(alone.test)) == (2, 1)
    # A name that the file does not have any more, an image that nobody annotated, no size, a first pixel 0.
    (tmp_path / "one" / "0.xml").write_text(xml(("cat", (0, 2, 9, 9)), size=None))
    (tmp_path / "one" / "1.xml").rename(tmp_path / "one" / "renamed.XML")
    (tmp_path / "one" / "renamed.XML").write_text(xml(*OBJECTS, filename="1.png"))
    image(tmp_path / "one" / "new.png")
    with pytest.raises(
        UserError, match=r"0.xml .* begins at 0, and the first pixel is 1: give config.data.first_pixel=0"
    ):
        opened(tmp_path / "one")
    splits = opened(tmp_path / "one", first_pixel=0)
    assert "1 images have no .xml file" in caplog.text
    parts = (splits.train, splits.test)
    boxes = {part.name(i)[-5]: part[i]["boxes"].tolist() for part in parts for i in range(len(part))}
    both = [[1, 1, 40, 20], [11, 6, 20, 10.5]]
    assert boxes == {"0": [[0, 2, 9, 9]], "1": both, "2": both}
    (tmp_path / "one" / "again.xml").write_text(xml(*OBJECTS, filename="1.png"))
    with pytest.raises(UserError, match=r"two .xml files in .* are about .*1.png"):
        opened(tmp_path / "one", first_pixel=0)
    image(tmp_path / "one" / "1.jpg")
    with pytest.raises(UserError, match="1.jpg and .*1.png have the same name"):
        opened(tmp_path / "one", first_pixel=0)


def test_a_size_that_is_not_told_is_that_of_the_upright_image(tmp_path):
    split_folders(tmp_path, "train", "test", content=xml(*OBJECTS, size=None))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 40)).save(tmp_path / "train" / "0.png", exif=exif)
    assert opened(tmp_path).train[0]["image"].shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (xml(("", (1, 1, 2, 2))), "1 elements 'name', or an empty one"),
        (xml(("dog", (1, 1, "x", 2))), "could not convert string to float: 'x'"),
        (xml(("dog", (1, 1, "", 2))), "1 elements 'xmax', or an empty one"),
        (xml(("dog", (1, 1, "inf", 2))), "is not xmin, ymin, xmax and ymax"),
        (xml(("dog", (1, 1, 2, 2), "yes")), "difficult='yes', which is neither 0 nor 1"),
        (
            "<annotation><object><name>dog</name><robndbox/></object></annotation>",
            "1 objects on top, 1 in all, and 0 boxes",
        ),
        (xml(*OBJECTS, filename="1.png"), "its filename is 1, and both"),
        (xml(("dog", (3, 1, 2, 2))), "is not xmin, ymin, xmax and ymax"),
        (xml(("dog", (1, 1, 2, 2))).replace("</object>", BOX.format(1, 1, 3, 3) + "</object>"), "and 2 boxes"),
        (xml(("dog", (1, 1, 2, 2))).replace("object>", "Object>"), "0 objects on top, 1 in all"),
        ("<annotations><image><box/></image></annotations>", "it begins with annotations"),
        (xml(*OBJECTS).replace("<annotation>", '<annotation xmlns="http://a">'), "it begins with {http://a}annotation"),
        ('<?xml version="1.0" encoding="foo"?>' + xml(*OBJECTS), "encoding"),
        (xml(*OBJECTS, size=(-20, 40)), "its size is 40 x -20|its size is -20 x 40"),
        ("<annotation>", "no element found|mismatched"),
        (xml(*OBJECTS, size=("a", "b")), "invalid literal for int"),
    ],
)
def test_what_is_not_in_its_form_is_refused(content, message, tmp_path):
    folder = split_folders(tmp_path, "train", "test")
    (folder / "train" / "0.xml").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        opened(folder)
    assert "0.xml" in str(caught.value)


def test_layouts_that_are_refused(tmp_path, caplog):
    folder = devkit(tmp_path / "a", train=["a", "b"], val=["c"])
    with pytest.raises(UserError, match="no images of 'minival'"):
        opened(folder, test="minival")
    (folder / "Annotations" / "b.xml").unlink()
    with pytest.raises(UserError, match="no .xml file for 1 names in the list of 'train', such as 'b'"):
        opened(folder)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a\na\n")
    with pytest.raises(UserError, match="train.txt lists a several times"):
        opened(folder)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (folder / "Annotations" / "c.xml").write_text(xml(("cow", (1, 1, 2, 2))))
    with pytest.raises(UserError, match="c.jpg has an object 'cow', which no training image has"):
        opened(folder)
    (folder / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(UserError, match="there is no image c"):
        opened(folder)
    with pytest.raises(UserError, match="holds no .xml files"):
        opened(tmp_path / "a" / "ImageSets")
    far = split_folders(tmp_path / "b", "train", "test", content=xml(("dog", (1, 1, 60, 20)), ("dog", (50, 1, 60, 20))))
    assert opened(far).train[0]["boxes"].tolist() == [[0, 0, 40, 20]]
    assert "train: 3 boxes have no pixel of their image and are left out, 3 exceed it and are cut" in caplog.text
    (far / "train" / "0.xml").write_text(xml(*OBJECTS, size=(30, 40)))
    with pytest.raises(ValueError, match="has 40x20 pixels, and its annotations are for 40x30"):
        opened(far).train[0]


# Masks: two columns of class 1 in images of 40x20.
MASK = np.zeros((20, 40), np.uint8)
MASK[:, :2] = 1


def masked(folder, images, masks, names=("a", "b"), ending=""):
    for name in names:
        image(folder / images / f"{name}.jpg")
        (folder / masks).mkdir(parents=True, exist_ok=True)
        Image.fromarray(MASK).save(folder / masks / f"{name}{ending}.png")


def with_masks(path, **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.5, num_classes=2, pixels=RGB)
    return mask_files(**arguments | dict(rules=MaskRules()) | options)


def test_the_masks_of_voc(tmp_path):
    masked(tmp_path, "JPEGImages", "SegmentationClass", ("a", "b", "c"))
    for i in range(3):
        image(tmp_path / "JPEGImages" / f"{i}.jpg")  # most images have no mask
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in (("train", "a\nb\n"), ("val", "c\n")):
        (lists / f"{split}.txt").write_text(names)
    splits = with_masks(tmp_path)
    assert [[part.name(i)[-5] for i in range(len(part))] for part in splits.sources()] == [["a", "b"], ["c"]]
    assert np.array_equal(splits.test[0]["mask"], MASK)
    assert str(tmp_path) in splits.origin
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    (lists / "test.txt").write_text("0\n")
    masked(tmp_path, "JPEGImages", "SegmentationClass", ("0",))
    assert [len(part) for part in with_masks(tmp_path, train="trainval").sources()] == [3, 1], "val is a part of it"
    with pytest.raises(UserError, match="trainval and .*train share 2 images"):
        with_masks(tmp_path, train="trainval", test="train")
    (lists / "test.txt").unlink()
    (lists / "val.txt").write_text("d\n")
    with pytest.raises(UserError, match="val lists 1 names that are not in .*JPEGImages, such as d"):
        with_masks(tmp_path)


@pytest.mark.parametrize(("beside", "ending"), [("annot", ""), ("_masks", "_mask"), ("_labels", "_L")])
def test_masks_in_a_folder_beside_that_of_the_images(beside, ending, tmp_path):
    for split in ("train", "val", "test"):
        masked(tmp_path, split, split + beside, ending=ending)
    splits = with_masks(tmp_path)
    assert [len(part) for part in splits.sources()] == [2, 2, 2]
    assert np.array_equal(splits.validation[1]["mask"], MASK)
    assert recognise(str(tmp_path)).kind == "images with masks"
    (tmp_path / f"train{beside}" / f"b{ending}.png").rename(tmp_path / f"train{beside}" / "c.png")
    with pytest.raises(UserError, match="1 files have no mask|2 files have no mask"):
        with_masks(tmp_path)


TABLE = "filename,width,height,class,xmin,ymin,xmax,ymax\n{0}.png,40,20,dog,0,0,10,20\n{0}.png,40,20,cat,5,5.5,60,10\n"


def tables(folder, *splits, text=TABLE, ending=""):
    for split in splits:
        image(folder / split / f"{split}.png")
        image(folder / split / "empty.png")
        (folder / f"{split}{ending}.csv").write_text(text.format(split) + "empty.png,40,20,,,,,\n")
    return folder


def in_table(path, **options):
    return box_table(**dict(path=str(path), train="train", test="test", test_fraction=0.5, pixels=RGB) | options)


def test_boxes_in_a_table(tmp_path, caplog):
    splits = in_table(tables(tmp_path / "a", "train", "test"))
    assert (len(splits.train), len(splits.test), splits.train.class_names) == (2, 2, ("cat", "dog"))
    first, empty = splits.test[0], splits.test[1]
    assert first["boxes"].tolist() == [[0, 0, 10, 20], [5, 5.5, 40, 10]]
    assert first["label"].tolist() == [1, 0]
    assert empty["boxes"].shape == (0, 4)
    assert "test.csv: 0 boxes have no pixel of their image and are left out, 1 exceed it and are cut" in caplog.text
    assert recognise(str(tmp_path / "a")).flags.endswith("--config.data.name=table")
    # As the tutorials of TensorFlow name them; and one table, whose images beside it tell their size.
    named = in_table(
        tables(tmp_path / "b", "train", "test", ending="_labels"), train="train_labels", test="test_labels"
    )
    assert [len(part) for part in named.sources()] == [2, 2]
    image(tmp_path / "c" / "x.png", size=(30, 10))
    image(tmp_path / "c" / "y.png")
    rows = [dict(image=f"{name}.png", label=7, x1=1, y1=2, x2=50, y2=5, split=split) for name, split in ("xa", "yb")]
    table = tmp_path / "c" / "all.jsonl"
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = in_table(table, train="a", test="b")
    assert found.train[0]["boxes"].tolist() == [[1, 2, 30, 5]]
    assert found.test[0]["boxes"].tolist() == [[1, 2, 40, 5]]
    table.write_text(table.read_text().replace('"split"', '"remark"'))
    assert [len(part) for part in in_table(tmp_path / "c").sources()] == [1, 1]
    rows = [row | {"ignore": i, "split": ""} for i, row in enumerate(rows)]
    table.write_text("".join(f"{json.dumps({k: x for k, x in row.items() if k != 'split'})}\n" for row in rows))
    splits = in_table(tmp_path / "c")
    ignored = {part.name(0)[-5]: part[0]["ignored"].tolist() for part in splits.sources()}
    assert ignored == {"x": [False], "y": [True]}
    rows = [dict(image="x.png", label=7, x1=1, y1=2, x2=50, y2=5, split=split) for split in ("train", "test")]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UserError, match="training and test, share 1 images, such as .*x.png"):
        in_table(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("5.5", "high"), "row 2 has 'high' in the column 'ymin', where a number of pixels belongs"),
        (TABLE.replace("5.5", ""), "row 2 has '' in the column 'ymin'"),
        (TABLE.replace("cat,", ","), "row 2 has \"\" in the column 'class', where a label belongs"),
        (TABLE.replace("40,20,cat", "41,20,cat"), "row 2 has another width or height"),
        (TABLE.replace("40,20,cat", "40.5,20,cat"), "row 2 has a width and height of 40.5 x 20 pixels"),
        (TABLE.replace("5,5.5,60,10", "60,5.5,5,10"), "has a box whose right or bottom side lies before its left"),
        (
            TABLE.replace("ymax\n", "ymax,difficult\n").replace("20\n", "20,0\n").replace("10\n", "10,yes\n"),
            "'yes' in the column 'difficult'",
        ),
        (
            TABLE.replace("ymax\n", "ymax,x1,y1,x2,y2\n")
            .replace("20\n", "20,1,1,2,2\n")
            .replace("10\n", "10,1,1,2,2\n"),
            "which of them holds the boxes is not known",
        ),
        (TABLE.replace("{0}.png", "no.png"), "row 1 names no.png, which is not in"),
        (TABLE.replace("0,0,10,20", "0,0,1,1").replace("5,5.5,60,10", "0.1,0.2,0.5,1.0001"), "shares of their images"),
        (TABLE.replace("xmin", "left"), "no columns xmin, ymin, xmax and ymax, but filename, width"),
        (TABLE.replace("class", "kind"), "a column of labels is needed"),
    ],
)
def test_tables_that_are_refused(text, message, tmp_path):
    commas = text.splitlines()[0].count(",")
    folder = tables(tmp_path, "train", "test", text=text)
    for split in ("train", "test"):  # the last row of an image without objects has as many fields
        file = folder / f"{split}.csv"
        file.write_text(file.read_text().replace("empty.png,40,20,,,,,", "empty.png,40,20" + "," * (commas - 2)))
    with pytest.raises(UserError, match=message):
        in_table(folder)


def coco(folder):
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        image(folder / split / "a.png")
        images = [{"id": 1, "file_name": "a.png", "height": 20, "width": 40}]
        outline = [[0, 0, 2, 0, 2, 20, 0, 20]]
        notes = [dict(id=1, image_id=1, category_id=3, bbox=[0, 0, 2, 20], segmentation=outline, iscrowd=0, area=40)]
        content = {"images": images, "annotations": notes, "categories": [{"id": 3, "name": "dog"}]}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def yolos(folder):
    for split in ("train", "val"):
        image(folder / "images" / split / "a.png")
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [dog]\ntrain: images/train\nval: images/val\n")


READERS = {
    "coco": (coco, lambda path: coco_objects(path=path, train="train", test="test", test_fraction=0.5, raw_ids=False, pixels=RGB)),
    "coco masks": (coco, lambda path: coco_masks(path=path, train="train", test="test", test_fraction=0.5, pixels=RGB)),
    "yolo": (yolos, lambda path: yolo(path=path, train="train", test="test", test_fraction=0.5, pixels=RGB)),
    "table": (lambda folder: tables(folder, "train", "test"), in_table),
    "voc": (lambda folder: devkit(folder, train=["a"], val=["b"]), opened),
    "masks": (lambda folder: [masked(folder, split, f"{split}annot") for split in ("train", "val")], with_masks),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_batches_of_each_split(name, tmp_path):
    """Those of a test too, which are in an order of their own."""
    write, read = READERS[name]
    write(tmp_path)
    splits = read(str(tmp_path))
    for part in (splits.train, splits.test):
        loader = Loader(part, lambda example, _: {"image": example["image"]}, 2)
        seen = np.concatenate([batch["index"] for batch in loader.once()])
        assert sorted(seen[seen >= 0]) == list(range(len(part)))
        assert next(loader.train())["image"].shape == (2, 20, 40, 3)
