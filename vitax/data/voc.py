"""Images with boxes in the form of Pascal VOC: an XML file for each image."""

import logging
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vitax.data.annotated import Annotated, class_names, source_of
from vitax.data.decode import find_images
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import held_back
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LISTS = "ImageSets"
LAYOUT = (
    "expected DIR/Annotations/NAME.xml, DIR/JPEGImages/NAME.jpg, and DIR/ImageSets/Main/train.txt and val.txt with a name in each "
    "line; or DIR/train/NAME.xml beside the images, and the same in DIR/valid; or one folder of both, of which a share is held back"
)


def voc(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens images with boxes in the form of Pascal VOC (Everingham et al. 2010, International Journal of Computer Vision 88).

    The first pixel has the number 1, and a box includes its last pixels, as in VOC; unless a file has the number 0: then
    all are taken to count from 0. The classes are those of the training, in the order of the alphabet.

    Args:
        path: the folder; that of VOC, a folder of a folder for each split, or one with images and XML files.
        train, test: names of the lists in ImageSets/Main, or of the folders; without a "test", "val" is the test.
        test_fraction: share of the images that is held back if there are neither lists nor folders of splits.
        pixels: how images are decoded.

    Raises:
        UserError: the layout is another, a file is not in that form, or the test has a class that the training lacks.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} is not a folder; {LAYOUT}")
    root = voc_root(root)
    usual = VALIDATION if test == "test" else ()
    found = {name: annotated for name in (train, test, *usual) if (annotated := _split(root, name)) is not None}
    validation = next((name for name in usual if name in found), "")
    alone = not found and (train, test) == ("train", "test")
    if alone:
        found = {train: _in_folder(root)}
    tested = test if test in found else validation
    for name in (train, *([] if alone else [tested or test])):
        if not found.get(name):
            raise UserError(f"{root} has no images of {name!r}; {LAYOUT}")
    classes = class_names(found[train], LAYOUT)
    first = 0 if any((each.boxes[:, :2] == 0).any() for part in found.values() for each in part) else 1
    make = lambda name: source_of(found[name], name, classes, pixels, first)
    if alone:
        return held_back(make(train), test_fraction, str(root), LAYOUT)
    held_out = make(validation) if validation and validation != tested else None
    return Splits(make(train), make(tested), f"{root}, {train} and {tested}", held_out)


def voc_root(root: Path) -> Path:
    """The folder with the lists: this one, or the only one below it that has them, as in VOCdevkit/VOC2012."""
    below = (
        [entry for entry in sorted(root.iterdir()) if (entry / LISTS).is_dir()] if not (root / LISTS).is_dir() else []
    )
    return below[0] if len(below) == 1 else root


def is_voc(root: Path) -> bool:
    """Whether a folder holds files of VOC: with lists, in folders of splits, or beside the images."""
    root = voc_root(root)
    inside = [root, *(root / name for name in ("train", "test", *VALIDATION))]
    first = next((file for folder in inside for file in xml_files(folder)), None)
    return first is not None and b"<annotation" in first.read_bytes()[:1000]


def listed(root: Path, task: str, split: str) -> list[str] | None:
    """The names in ImageSets/TASK/SPLIT.txt; None = there is no such list.

    Raises:
        UserError: a name occurs twice.
    """
    file = root / LISTS / task / f"{split}.txt"
    if not split or not file.is_file():
        return None
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if twice := len(names) - len(set(names)):
        raise UserError(f"{file} lists {twice} names twice, such as {next(x for x in names if names.count(x) > 1)}")
    return names


def xml_files(root: Path) -> list[Path]:
    """The XML files of a folder: beside the images, or in a folder Annotations."""
    inside = root / "Annotations"
    return sorted((inside if inside.is_dir() else root).glob("*.xml"))


def _split(root: Path, name: str) -> list[Annotated] | None:
    """The images of a split, from its list or its folder; None = there is neither."""
    names = listed(root, "Main", name)
    if names is not None:
        return _of(root, [root / "Annotations" / f"{each}.xml" for each in names])
    return _in_folder(root / name) if name and (root / name).is_dir() else None


def _in_folder(folder: Path) -> list[Annotated]:
    """The images of a folder that have an XML file."""
    files = xml_files(folder)
    if not files:
        raise UserError(f"{folder} holds no .xml files; {LAYOUT}")
    found = _of(folder, files)
    if alone := len(_images(folder)[1]) - len(found):
        LOGGER.warning("%s: %d images have no .xml file, and are left out", folder, alone)
    return found


def _images(folder: Path) -> tuple[Path, dict[str, str]]:
    """The folder of the images, and {name without its ending: path}."""
    places = [folder / "JPEGImages", folder / "images", folder]
    inside = next(place for place in places if place.is_dir())
    return inside, {str(Path(image).relative_to(inside).with_suffix("")): image for image in find_images(inside)}


def _of(folder: Path, files: Sequence[Path]) -> list[Annotated]:
    """What some files say about the images of a folder."""
    if missing := [file for file in files if not file.is_file()]:
        raise UserError(
            f"{len(missing)} files are not there, such as {missing[0]}: choose splits with boxes by data.train and data.test"
        )
    inside, images = _images(folder)
    return [_read(file, images, inside) for file in files]


def _read(file: Path, images: dict[str, str], folder: Path) -> Annotated:
    """What a file says; ``images`` = {name without its ending: path}."""
    try:
        root = ElementTree.fromstring(file.read_bytes())
        told = Path(str(root.findtext("filename") or "")).stem
        if file.stem in images and told in images and told != file.stem:
            raise ValueError(f"its filename is {told}, and both {images[told]} and {images[file.stem]} are there")
        image = images.get(file.stem) or images.get(told)
        if image is None:
            raise ValueError(f"{folder} has no image {file.stem}" + (f", nor {told}" if told else ""))
        sides = [int(root.findtext(f"size/{side}") or 0) for side in ("height", "width")]
        if not all(sides):  # some programs do not tell the size, or write 0
            with Image.open(image) as picture:
                sides = [picture.height, picture.width]
        entries = [_object(entry) for entry in root.iterfind("object")]
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise UserError(f"{file} is not in the form of Pascal VOC: {error}; {LAYOUT}") from error
    boxes = np.array([box for _, box, _ in entries], np.float64).reshape(-1, 4)
    difficult = np.array([flag for *_, flag in entries], bool)
    return Annotated(image, (sides[0], sides[1]), [name for name, *_ in entries], boxes, difficult)


def _object(entry: ElementTree.Element) -> tuple[str, list[float], bool]:
    """The name, the box and the difficulty of an object.

    Raises:
        ValueError: it lacks one of them, or has another value.
    """
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    if entry.find("bndbox") is None:
        raise ValueError(f"an object {name!r} has no bndbox, but {', '.join(child.tag for child in entry)}")
    box = [float(entry.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")]
    if not all(map(math.isfinite, box)):
        raise ValueError(f"the bndbox of an object {name!r} is not xmin, ymin, xmax and ymax: {box}")
    difficult = (entry.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"an object {name!r} has difficult={difficult!r}, which is neither 0 nor 1")
    return name, box, difficult == "1"
