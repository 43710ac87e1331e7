"""COCO's captions: a JSON file for each split that lists images and their captions, beside the folders of images."""

from pathlib import Path
from typing import Any

from vitax.data.captions import captioned
from vitax.data.coco_files import coco_files, image_paths, read_coco
from vitax.data.source import Splits
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
    files = coco_files(path, "captions", train, test, LAYOUT)
    learned, *others = (captioned(pairs_of(file), pixels) for file in files if file)
    if others:
        validation = others[1] if files.validation else None
        return Splits(learned, others[0], f"{files.train} and {files.test}", validation)
    try:
        origin = f"{files.train}, {test_fraction:.0%} of the images held back for the test"
        return Splits.of(learned.held_back(test_fraction), origin)
    except ValueError as error:
        raise UserError(f"{path}: {error}; {LAYOUT}") from error


def pairs_of(file: Path) -> list[tuple[str, str]]:
    """The pairs (path of the image, caption) of a file in COCO's form, in the order of its annotations.

    Raises:
        UserError: the file is not in that form, it has no captions, or an image is not there.
    """

    def parse(content: Any) -> tuple[dict[Any, str], list[tuple[Any, str]]]:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        if len(names) < len(content["images"]):
            raise ValueError("two images have the same id")
        return names, [(note["image_id"], note["caption"].strip()) for note in content["annotations"]]

    names, captions = read_coco(file, LAYOUT, parse)
    if not captions:
        raise UserError(f"{file} has no captions; {LAYOUT}")
    if unknown := [image for image, _ in captions if image not in names]:
        raise UserError(f"{file} has a caption of the image {unknown[0]!r}, which it does not list")
    if silent := sum(not text for _, text in captions):
        raise UserError(f"{file} has {silent} empty captions")
    paths = image_paths(file, "captions", [names[image] for image, _ in captions], LAYOUT)
    return list(zip(paths, (text for _, text in captions), strict=True))
