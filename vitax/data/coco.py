"""COCO's captions: a JSON file for each split that lists images and their captions, beside the folders of images."""

import json
from pathlib import Path
from typing import Any

from vitax.data.captions import captioned
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError
from vitax.specs import Pixels

LAYOUT = (
    "expected DIR/annotations/captions_train2017.json, DIR/annotations/captions_val2017.json and the images in "
    "DIR/train2017 and DIR/val2017; or one captions_NAME.json with the images beside it, in NAME, or in images"
)


def coco_captions(*, path: str, train: str, test: str, test_fraction: float, pixels: Pixels) -> Splits:
    """Opens COCO's captions; every caption is an example, and the captions of an image stay in one split.

    Args:
        path: a .json file, or the folder above "annotations".
        train, test: names of the splits, with which the names of files go on after "captions_"; without a "test" that has
            captions, "val" is the test, as in COCO.
        test_fraction: share of the images that is held back for the test if there is no file for it.
        pixels: how images are decoded.

    Raises:
        UserError: there is no such file, it is not in COCO's form, or an image is not there.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    if root.is_file():
        files = [root]
    else:
        found = sorted([*root.glob("captions_*.json"), *root.glob("annotations/captions_*.json")])
        learned = _of_split(found, (train,))
        tested = _of_split(found, (test, *(VALIDATION if test == "test" else ())))
        if learned is None:
            have = ", ".join(file.name for file in found) or "none"
            raise UserError(f"{path} has no captions_{train}*.json (it has {have}); {LAYOUT}")
        files = [file for file in (learned, tested) if file]
    sources = [captioned(pairs_of(file), pixels) for file in files]
    if len(sources) == 2:
        return Splits.of(sources, f"{files[0]} and {files[1]}")
    try:
        origin = f"{files[0]}, {test_fraction:.0%} of the images held back for the test"
        return Splits.of(sources[0].held_back(test_fraction), origin)
    except ValueError as error:
        raise UserError(f"{path}: {error}; {LAYOUT}") from error


def _of_split(files: list[Path], names: tuple[str, ...]) -> Path | None:
    """The file of captions of the first split that has one; None = there is none.

    Raises:
        UserError: a split has several.
    """
    for name in names:
        if matching := [file for file in files if file.stem.startswith(f"captions_{name}")]:
            if len(matching) > 1:
                listed = ", ".join(file.name for file in matching)
                raise UserError(
                    f"{listed} could all be {name!r}: name one, such as {name}2017, with data.train and data.test"
                )
            return matching[0]
    return None


def pairs_of(file: Path) -> list[tuple[str, str]]:
    """The pairs (path of the image, caption) of a file in COCO's form, in the order of its annotations.

    Raises:
        UserError: the file is not in that form, it has no captions, or an image is not there.
    """
    try:
        content: Any = json.loads(read_text(file))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        captions = [(note["image_id"], note["caption"].strip()) for note in content["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is not in COCO's form of captions ({type(error).__name__}: {error}); {LAYOUT}"
        ) from error
    if not captions:
        raise UserError(f"{file} has no captions; {LAYOUT}")
    if unknown := [image for image, _ in captions if image not in names]:
        raise UserError(f"{file} has a caption of the image {unknown[0]!r}, which it does not list")
    if silent := sum(not text for _, text in captions):
        raise UserError(f"{file} has {silent} empty captions")
    split = file.stem.removeprefix("captions_")
    tops = [file.parent, file.parent.parent]
    folders = [*(top / name for top in tops for name in (split, "images", f"images/{split}")), file.parent]
    first = names[captions[0][0]]
    folder = next((folder for folder in folders if (folder / first).is_file()), None)
    if folder is None:
        places = ", ".join(map(str, folders[:3]))
        raise UserError(f"{file} lists {first}, which is neither in {places} nor beside the file; {LAYOUT}")
    missing = sorted({names[image] for image, _ in captions if not (folder / names[image]).is_file()})
    if missing:
        raise UserError(f"{file} lists {len(missing)} images that are not in {folder}: {', '.join(missing[:3])}")
    return [(str(folder / names[image]), text) for image, text in captions]
