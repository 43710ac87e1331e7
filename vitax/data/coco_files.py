"""Files in COCO's form: the JSON file of each split, and the folder of the images that it lists."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import held_back
from vitax.errors import UserError

ROBOFLOW = "_annotations.coco.json"  # beside the images of a split, as Roboflow exports them


class CocoFiles(NamedTuple):
    """The files of the splits; None = there is none."""

    train: Path
    test: Path | None
    validation: Path | None = None


def coco_files(path: str, kind: str, train: str, test: str, layout: str) -> CocoFiles:
    """The files of the splits in a folder, or a single file.

    Where there are files for both, test is the test, and val the validation; without a test, val is the test, as in COCO.

    Args:
        path: a .json file, or the folder above "annotations".
        kind: how the names of the files begin, such as "captions".
        train, test: names of the splits, with which the names of the files go on.
        layout: what is expected, for messages.

    Raises:
        UserError: there is no such file for the training, or several.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {layout}")
    found = files_below(root, kind)
    if not found and (root / ROBOFLOW).is_file():
        root = root / ROBOFLOW
    if root.is_file():
        if (train, test) != ("train", "test"):
            raise UserError(
                f"{root} is one file, which has no splits {train!r} and {test!r}: a share is held back for the test"
            )
        return CocoFiles(root, None)
    learned = _of_split(found, kind, (train,))
    if learned is None:
        have = ", ".join(str(file.relative_to(root)) for file in found) or "none"
        raise UserError(f"{path} has no {kind}_{train}*.json (it has {have}); {layout}")
    tested = _of_split(found, kind, (test,))
    usual = _of_split(found, kind, VALIDATION) if test == "test" else None
    if tested is None and test != "test":
        have = ", ".join(str(file.relative_to(root)) for file in found)
        raise UserError(f"{path} has no {kind}_{test}*.json (it has {have}); {layout}")
    return CocoFiles(learned, tested or usual, usual if tested else None)


def opened(files: CocoFiles, read: Callable[[Path], Any], test_fraction: float, layout: str) -> Splits:
    """The splits of sources with classes, which have a method ``of`` that gives the images with some numbers.

    Args:
        files: the files of the splits.
        read: function from a file to its source.
        test_fraction: share of the images that is held back if there is no file for the test.
        layout: what is expected, for messages.

    Raises:
        UserError: the splits have other classes, or there are too few images to hold any back.
    """
    learned, *others = (read(file) for file in files if file)
    for other, file in zip(others, (files.test, files.validation), strict=False):
        if other.class_names != learned.class_names:
            raise UserError(f"{file} has other categories than {files.train}")
    if others:
        validation = others[1] if files.validation else None
        return Splits(learned, others[0], f"{files.train} and {files.test}", validation)
    return held_back(learned, test_fraction, str(files.train), layout)


class Listed(NamedTuple):
    """What every file in COCO's form lists.

    Attributes:
        names: names of the images.
        sizes: [n, 2] int, their height and width.
        place: {id of an image: its place}.
        categories: {id of a category: its name}.
    """

    names: list[str]
    sizes: np.ndarray
    place: dict[Any, int]
    categories: dict[int, str]


def listed(content: Any) -> Listed:
    """The images and the categories of the content of a file.

    Raises:
        ValueError, KeyError, TypeError: they are not there, or not in COCO's form.
    """
    images, categories = content["images"], content["categories"]
    place = {image["id"]: i for i, image in enumerate(images)}
    if len(place) < len(images):
        raise ValueError("two images have the same id")
    for image in images:
        if not isinstance(image["file_name"], str):
            raise ValueError(f"the image {image['id']!r} has the file_name {image['file_name']!r}, which is not a text")
        for side in ("height", "width"):
            if not isinstance(image[side], int) or not 1 <= image[side] < 1_000_000:
                raise ValueError(
                    f"the image {image['id']!r} has the {side} {image[side]!r}, which is not a number of pixels"
                )
    found = {}
    for category in categories:
        number = category["id"]
        if not isinstance(number, int) or isinstance(number, bool) or number < 0 or number in found:
            raise ValueError(f"the ids of the categories must be different whole numbers from 0 on, not {number!r}")
        found[number] = str(category["name"])
    sizes = np.array([(image["height"], image["width"]) for image in images], int).reshape(-1, 2)
    return Listed([image["file_name"] for image in images], sizes, place, found)


def _is_set(note: Any, key: str) -> bool:
    """Whether a key of an annotation is 1; an absent one is not.

    Raises:
        ValueError: it is neither 0 nor 1.
    """
    value = note.get(key, 0)
    if value not in (0, 1) or isinstance(value, str):
        raise ValueError(f"the annotation {note.get('id')!r} has {key}={value!r}, which is neither 0 nor 1")
    return bool(value)


def numbers(values: Any, note: Any) -> list[float]:
    """Numbers of an annotation.

    Raises:
        ValueError: they are no list of finite numbers.
    """
    good = isinstance(values, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in values
    )
    if not good:
        raise ValueError(f"the annotation {note.get('id')!r} has {str(values)[:80]}, which are not finite numbers")
    return [float(x) for x in values]


def box_of(note: Any) -> list[float]:
    """The box of an annotation: left, top, width and height.

    Raises:
        ValueError, KeyError: it is not four finite numbers, or there is none.
    """
    box = numbers(note["bbox"], note)
    if len(box) != 4:
        raise ValueError(f"the annotation {note.get('id')!r} has the box {note['bbox']!r}, which is not x, y, w, h")
    return box


def area_of(note: Any) -> float:
    """The area of an annotation in pixels; of its box, if it does not tell its own.

    Raises:
        ValueError, KeyError: it is no number from 0 on, or there is neither.
    """
    if "area" not in note:
        _, _, width, height = box_of(note)
        return abs(width * height)
    (area,) = numbers([note["area"]], note)
    if area < 0:
        raise ValueError(f"the annotation {note.get('id')!r} has the area {area}")
    return area


def counts_nowhere(note: Any) -> bool:
    """Whether an annotation is of a crowd, or of an object that is neither to be found nor to be missed ("ignore").

    Raises:
        ValueError: one of the two keys is neither 0 nor 1.
    """
    return _is_set(note, "iscrowd") or _is_set(note, "ignore")


def image_of(note: Any, known: Listed) -> int:
    """The place of the image that an annotation is about.

    Raises:
        ValueError: its image, or its category, is not listed.
    """
    if note["image_id"] not in known.place:
        raise ValueError(f"an annotation is about the image {note['image_id']!r}, which is not listed")
    if note["category_id"] not in known.categories:
        raise ValueError(f"an annotation has the category {note['category_id']!r}, which is not listed")
    return known.place[note["image_id"]]


def files_below(root: Path, kind: str) -> list[Path]:
    """The files of a folder that are named as files of this kind; those of Roboflow have boxes, and no captions."""
    patterns = [f"{kind}_*.json", f"annotations/{kind}_*.json"]
    patterns += [f"*/{ROBOFLOW}"] if kind == "instances" else []
    return sorted(file for pattern in patterns for file in root.glob(pattern))


def split_of(file: Path, kind: str) -> str:
    """The name of the split of a file: "train2017" for instances_train2017.json, "train" for train/_annotations.coco.json."""
    return file.parent.name if file.name == ROBOFLOW else file.stem.removeprefix(f"{kind}_")


def _of_split(files: Sequence[Path], kind: str, names: Iterable[str]) -> Path | None:
    """The file of the first split that has one; None = there is none.

    Raises:
        UserError: a split has several.
    """
    for name in names:
        exact = [file for file in files if split_of(file, kind) == name]
        if matching := exact or [file for file in files if split_of(file, kind).startswith(name)]:
            if len(matching) > 1:
                raise UserError(
                    f"{', '.join(f'{file.parent.name}/{file.name}' for file in matching)} could all be {name!r}: name one, such as {name}2017, with data.train and data.test"
                )
            return matching[0]
    return None


def read_coco(file: Path, layout: str, parse: Callable[[Any], Any]) -> Any:
    """What a function makes of the content of a file.

    Raises:
        UserError: the file is no JSON, or lacks what the function reads.
    """
    try:
        return parse(json.loads(read_text(file)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{file} is not in COCO's form ({type(error).__name__}: {error}); {layout}") from error


def image_paths(file: Path, kind: str, names: Sequence[str], layout: str) -> list[str]:
    """The paths of images that a file lists.

    Args:
        file: the file.
        kind: as in `coco_files`.
        names: their names in the file, at least one.
        layout: what is expected, for messages.

    Raises:
        UserError: an image is not there.
    """
    split = split_of(file, kind)
    tops = [file.parent, file.parent.parent]
    folders = [*(top / name for top in tops for name in (split, "images", f"images/{split}")), file.parent]
    folder = next((folder for folder in folders if (folder / names[0]).is_file()), None)
    if folder is None:
        places = ", ".join(map(str, folders[:3]))
        raise UserError(f"{file} lists {names[0]}, which is neither in {places} nor beside the file; {layout}")
    missing = sorted({name for name in names if not (folder / name).is_file()})
    if missing:
        raise UserError(f"{file} lists {len(missing)} images that are not in {folder}: {', '.join(missing[:3])}")
    return [str(folder / name) for name in names]
