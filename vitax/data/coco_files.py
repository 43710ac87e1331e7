"""Files in COCO's form: the JSON file of each split, and the folder of the images that it lists."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
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
    if root.is_file():
        return CocoFiles(root, None)
    found = files_below(root, kind)
    learned = _of_split(found, kind, (train,))
    if learned is None:
        have = ", ".join(str(file.relative_to(root)) for file in found) or "none"
        raise UserError(f"{path} has no {kind}_{train}*.json (it has {have}); {layout}")
    tested = _of_split(found, kind, (test,))
    usual = _of_split(found, kind, VALIDATION) if test == "test" else None
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
    if len(learned) < 2:
        raise UserError(f"{files.train} lists {len(learned)} images, but at least two are needed; {layout}")
    parts = [learned.of(index) for index in drawn(len(learned), test_fraction)]
    return Splits.of(parts, f"{files.train}, {test_fraction:.0%} of the images held back for the test")


def files_below(root: Path, kind: str) -> list[Path]:
    """The files of a folder that are named as files of this kind; those of Roboflow have boxes, and no captions."""
    patterns = [f"{kind}_*.json", f"annotations/{kind}_*.json"]
    patterns += [f"*/{ROBOFLOW}", ROBOFLOW] if kind == "instances" else []
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
        if matching := [file for file in files if split_of(file, kind).startswith(name)]:
            if len(matching) > 1:
                listed = ", ".join(file.name for file in matching)
                raise UserError(
                    f"{listed} could all be {name!r}: name one, such as {name}2017, with data.train and data.test"
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
