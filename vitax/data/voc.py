"""Images with boxes in the form of Pascal VOC: an XML file for each image."""

import logging
from collections.abc import Iterable
from pathlib import Path

from vitax.data.annotated import Annotated, check_apart, class_names, image_size, source_of
from vitax.data.decode import EXTENSIONS, find_images, visible
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import held_back
from vitax.data.voc_xml import read_xml
from vitax.errors import UserError
from vitax.specs import Pixels

LOGGER = logging.getLogger("vitax")
LISTS = "ImageSets"
LAYOUT = (
    "expected DIR/Annotations/NAME.xml, DIR/JPEGImages/NAME.jpg, and DIR/ImageSets/Main/train.txt and val.txt with a name in each "
    "line; or DIR/train/NAME.xml beside the images, and the same in DIR/valid; or one folder of both, of which a share is held back"
)


def voc(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels, first_pixel: int = 1) -> Splits:
    """Opens images with boxes in the form of Pascal VOC (Everingham et al. 2010, International Journal of Computer Vision 88).

    The classes are those of the training, in the order of the alphabet. A validation split with a usual name is used if it
    shares no image with the training.

    Args:
        path: the folder; that of VOC, a folder with one folder for each split, or one with images and XML files.
        train, test: names of the lists in ImageSets/Main, or of the folders; without a "test", "val" is the test.
        test_fraction: share of the images that is held back if there are neither lists nor folders of splits.
        pixels: how images are decoded.
        first_pixel: 1 = the first pixel has the number 1, and a box includes its last pixels, as in VOC; 0 = the sides of a
            box are counted from 0.

    Raises:
        UserError: the layout is another, a file is not in that form or counts from another pixel, the test has a class that
            the training lacks, or an image is in two splits.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} is not a folder; {LAYOUT}")
    if first_pixel not in (0, 1):
        raise UserError(f"config.data.first_pixel={first_pixel} must be 0 or 1")
    root = voc_root(root)
    usual = VALIDATION if test == "test" else ()
    found = {name: part for name in (train, test, *usual) if (part := _split(root, name, first_pixel)) is not None}
    learned = {each.image for each in found.get(train, ())}
    validation = next((name for name in usual if name in found and learned.isdisjoint(_images_of(found[name]))), "")
    alone = not found and (train, test) == ("train", "test")
    if alone:
        found = {train: _in_folder(root, first_pixel)}
    tested = test if test in found else validation
    for name in (train, *([] if alone else [tested or test])):
        if not found.get(name):
            raise UserError(f"{root} has no images of {name!r}, or only images that are in {train!r} too; {LAYOUT}")
    classes = class_names(found[train], LAYOUT)
    make = lambda name: source_of(found[name], name, classes, pixels, first_pixel)
    if alone:
        return held_back(make(train), test_fraction, str(root), LAYOUT)
    check_apart(found[train], found[tested], f"{root}, {train} and {tested}")
    held_out = make(validation) if validation and validation != tested else None
    return Splits(make(train), make(tested), f"{root}, {train} and {tested}", held_out)


def _images_of(part: Iterable[Annotated]) -> set[str]:
    return {each.image for each in part}


def voc_root(root: Path) -> Path:
    """The folder of VOC: this one or, if it holds nothing else, the only one below it that has lists, as in VOCdevkit/VOC2012.

    Raises:
        UserError: several folders below it have lists.
    """
    own = any((root / name).is_dir() for name in (LISTS, "Annotations", "train", "test", *VALIDATION))
    if own or any(entry.suffix.lower() in (".xml", *EXTENSIONS) for entry in root.iterdir()):
        return root
    below = [entry for entry in sorted(root.iterdir()) if (entry / LISTS).is_dir()]
    if len(below) > 1:
        raise UserError(f"{root} holds {', '.join(entry.name for entry in below)}: name one of them with data.path")
    return below[0] if below else root


def is_voc(root: Path) -> bool:
    """Whether a folder holds files of VOC: with lists, in folders of splits, or beside the images."""
    root = voc_root(root)
    inside = [root, *(root / name for name in ("train", "test", *VALIDATION))]
    first = next((file for folder in inside if folder.is_dir() for file in xml_files(folder)), None)
    return first is not None and b"<annotation>" in first.read_bytes()[:1000]


def listed(root: Path, task: str, split: str) -> list[str] | None:
    """The names in ImageSets/TASK/SPLIT.txt; None = there is no such list.

    Raises:
        UserError: it lists nothing, or a name twice.
    """
    file = root / LISTS / task / f"{split}.txt"
    if not split or not file.is_file():
        return None
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} lists nothing")
    if len(set(names)) < len(names):
        raise UserError(f"{file} lists {next(x for x in names if names.count(x) > 1)} several times")
    return names


def xml_files(root: Path) -> list[Path]:
    """The XML files of a folder: beside the images, or in a folder Annotations, at any depth."""
    inside = root / "Annotations"
    inside = inside if inside.is_dir() else root
    return sorted(file for file in inside.rglob("*") if file.suffix.lower() == ".xml" and visible(file.name))


def _split(root: Path, name: str, first_pixel: int) -> list[Annotated] | None:
    """The images of a split, from its list or its folder; None = there is neither."""
    names = listed(root, "Main", name)
    if names is None:
        return _in_folder(root / name, first_pixel) if name and (root / name).is_dir() else None
    files = {str(file.relative_to(root / "Annotations").with_suffix("")): file for file in xml_files(root)}
    if missing := [each for each in names if each not in files]:
        raise UserError(
            f"{root / 'Annotations'} has no .xml file for {len(missing)} names in the list of {name!r}, such as {missing[0]!r}: "
            "choose splits with boxes with data.train and data.test"
        )
    return _annotated(root, [files[each] for each in names], first_pixel)


def _in_folder(folder: Path, first_pixel: int) -> list[Annotated]:
    """The images of a folder that have an XML file."""
    files = xml_files(folder)
    if not files:
        raise UserError(f"{folder} holds no .xml files; {LAYOUT}")
    found = _annotated(folder, files, first_pixel)
    if alone := len(_images(folder)) - len(found):
        LOGGER.warning("%s: %d images have no .xml file, and are left out", folder, alone)
    return found


def _place(folder: Path) -> Path:
    """The folder of the images."""
    return next(place for place in (folder / "JPEGImages", folder / "images", folder) if place.is_dir())


def _images(folder: Path) -> dict[str, str]:
    """The images of a folder: {name without its ending: path}."""
    found: dict[str, str] = {}
    for image in find_images(_place(folder)):
        name = str(Path(image).relative_to(_place(folder)).with_suffix(""))
        if name in found:
            raise UserError(f"{found[name]} and {image} have the same name: which one the boxes are for is not known")
        found[name] = image
    return found


def _annotated(folder: Path, files: Iterable[Path], first_pixel: int) -> list[Annotated]:
    """What some files say about the images of a folder."""
    images, found = _images(folder), []
    top = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    for file in files:
        try:
            told = read_xml(file)
            if first_pixel and len(told.boxes) and told.boxes.min() < 1:
                raise ValueError(
                    f"a box begins at {told.boxes.min():g}, and the first pixel is 1: give config.data.first_pixel=0 if these "
                    "files count from 0"
                )
            image = _image_of(str(file.relative_to(top).with_suffix("")), told.image, images)
            found.append(Annotated(image, told.size or image_size(image), told.names, told.boxes, told.difficult))
        except (ValueError, OSError) as error:
            raise UserError(f"{file} is not in the form of Pascal VOC: {error}; {LAYOUT}") from error
    seen: set[str] = set()
    for each in found:
        if each.image in seen:
            raise UserError(f"two .xml files in {top} are about {each.image}")
        seen.add(each.image)
    return found


def _image_of(name: str, told: str, images: dict[str, str]) -> str:
    """The image of a file, by its own name or by the filename in it; ValueError if there is none, or two."""
    if told in images and name in images and told != Path(name).name and images[told] != images[name]:
        raise ValueError(f"its filename is {told}, and both {images[told]} and {images[name]} are there")
    found = images.get(name) or images.get(told)
    if found is None:
        raise ValueError(f"there is no image {name}" + (f", nor {told}" if told else ""))
    return found
