"""Images with masks, in which every pixel is the number of a class: folders of pictures of both."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vitax.data.decode import decode_image, find_images, header_of
from vitax.data.mask_files import MaskRules, numbers_in, read_mask
from vitax.data.mask_transforms import Window
from vitax.data.source import Splits
from vitax.data.textfile import read_text
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.data.voc import LISTS, listed, voc_root
from vitax.errors import UserError
from vitax.specs import Pixels

IMAGES = ("images", "image", "img", "imgs", "jpegimages")
MASKS = ("masks", "mask", "segmentationclass", "annotations", "labels")
BESIDE = ("annot", "_masks", "_mask", "_labels")  # a folder of images and one of masks: train and trainannot
TRAIN, TEST = ("train", "training"), ("test", "testing", *VALIDATION)
LAYOUT = (
    "expected DIR/train/images/NAME.jpg and DIR/train/masks/NAME.png, and the same in DIR/val; or DIR/images/train and "
    "DIR/masks/train; or DIR/train and DIR/trainannot; or DIR/images and DIR/masks, of which a share is held back; or VOC's "
    "DIR/JPEGImages, DIR/SegmentationClass and DIR/ImageSets/Segmentation/train.txt; the masks may be in a folder annotations"
)


class MaskedFiles:
    """Image files with masks, which are read on demand.

    An image whose mask has another size, or a class that does not exist, is an unreadable example.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], class_names: Sequence[str], pixels: Pixels, rules: MaskRules):
        self.pairs, self.class_names = list(pairs), tuple(class_names)
        self.pixels, self.rules, self.labels = pixels, rules, None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image_file, mask_file = self.pairs[i]
        image = decode_image(Path(image_file).read_bytes(), self.pixels)
        try:
            mask = read_mask(Path(mask_file).read_bytes(), len(self.class_names), self.rules)
        except (ValueError, OSError) as error:
            raise ValueError(f"its mask {mask_file}: {error}") from error
        return {"image": image, "mask": fitted(mask, image, image_file, self.pixels)}

    def name(self, i: int) -> str:
        return self.pairs[i][0]


def fitted(mask: np.ndarray, image: np.ndarray, name: str, pixels: Pixels) -> np.ndarray:
    """A mask at the size of its image, which was reduced if its file has too many pixels.

    Raises:
        ValueError: they have other sizes.
    """
    if mask.shape == image.shape[:2]:
        return mask
    with header_of(name) as picture:
        sides = picture.size
    reduced = sides[0] * sides[1] > pixels.max_pixels and sorted(sides) == sorted(mask.shape)
    if reduced and abs(mask.shape[0] * image.shape[1] - mask.shape[1] * image.shape[0]) <= max(mask.shape):
        size = (image.shape[0], image.shape[1])
        return Window(size, 0, 0, size).mask(mask)
    raise ValueError(
        f"the image has {image.shape[1]}x{image.shape[0]} pixels and its mask {mask.shape[1]}x{mask.shape[0]} (an image that "
        "its EXIF data rotate is rotated first)"
    )


def mask_files(
    *,
    path: str,
    train: str,
    test: str,
    test_fraction: float,
    num_classes: int,
    rules: MaskRules,
    pixels: Pixels,
) -> Splits:
    """Images and masks in folders; see `LAYOUT`.

    An image and its mask have the same name, but for the ending, and for words that all masks have at the end, as in
    NAME_mask.png.

    Args:
        path: the folder. Its classes.txt, if there is one, names a class in each line.
        train, test: names of the folders of the splits.
        test_fraction: share of the images that is held back where there is no folder for the test.
        num_classes: number of classes; 0 = as many as there are names.
        rules: what the numbers in the masks mean.
        pixels: how images are decoded.

    Raises:
        UserError: the folder has another layout, an image or a mask has no counterpart, or the number of the classes is not
            known.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} is not a folder; {LAYOUT}")
    names = class_names(root, num_classes)
    root = root if _holds_masks(root, train, test) else voc_root(root)
    learned, tested, validation = (_split(root, name, usual) for name, usual in _splits(root, train, test))
    named = train.lower() in TRAIN and test.lower() in TEST
    if learned is None and tested is None and named and (folders := _folders(root)):
        learned = Part(*folders)
    if learned is None or (tested is None and not named):
        seen = ", ".join(sorted(entry.name for entry in root.iterdir() if entry.is_dir())[:8]) or "no folders"
        raise UserError(f"{root} holds {seen}, and not what {train!r} and {test!r} name; {LAYOUT}")
    if tested is None and (root / LISTS).is_dir():
        raise UserError(
            f"{root / LISTS} has no Segmentation/{train}.txt and Segmentation/{test}.txt, the lists of images with masks"
        )
    make = lambda pairs: MaskedFiles(pairs, names, pixels, rules)
    pairs = _pairs(learned)
    _check_numbers([mask for _, mask in pairs], len(names), rules)
    if tested is None:
        if len(pairs) < 2:
            raise UserError(f"{learned} holds {len(pairs)} images, but at least two are needed; {LAYOUT}")
        parts = [make([pairs[i] for i in index]) for index in drawn(len(pairs), test_fraction)]
        return Splits.of(parts, f"{learned}, {test_fraction:.0%} of the images held back for the test")
    tests, held_out = _pairs(tested), _pairs(validation) if validation else []
    if shared := sorted(set(pairs) & set(tests)):
        raise UserError(f"{learned} and {tested} share {len(shared)} images, such as {shared[0][0]}")
    if set(pairs) & set(held_out):  # as VOC's trainval, whose parts are train and val
        held_out = []
    origin = f"{learned} and {tested}" + (f", best checkpoint chosen on {validation}" if held_out else "")
    return Splits(make(pairs), make(tests), origin, make(held_out) if held_out else None)


def _check_numbers(files: Sequence[str], count: int, rules: MaskRules) -> None:
    """Raises UserError if the number that is ignored would be that of a class."""
    if rules.ignored == MaskRules().ignored < count + rules.reduce_zero_label:
        raise UserError(
            f"of {count} classes, one has the number 255, which is ignored: give data.ignored, or -1 for none"
        )
    if rules.ignored == MaskRules().ignored and numbers_in(files).tolist() == [0, 255]:
        raise UserError(
            f"the masks hold the numbers 0 and 255 only, such as {files[0]}, and 255 is ignored (data.ignored): write 1 for "
            "the class"
        )


def class_names(root: Path, count: int) -> list[str]:
    """The names in DIR/classes.txt, or the numbers of the classes.

    Raises:
        UserError: there are none, and no number is given; or it differs from the number of the names.
    """
    file = root / "classes.txt"
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()] if file.is_file() else []
    if names and count not in (0, len(names)):
        raise UserError(f"{file} has {len(names)} names, and data.num_classes={count}")
    if not names and not count:
        raise UserError(
            f"{root} has no classes.txt with a name in each line: write one, or give data.num_classes, the number of classes"
        )
    if len(names or range(count)) < 2:
        raise UserError(f"{root} has one class, but at least two are needed (the background is one)")
    return names or [str(k) for k in range(count)]


Folders = tuple[Path, Path]  # of images, and of their masks


class Part(NamedTuple):
    """The images and masks of a split.

    Attributes:
        images, masks: their folders.
        names: names of the images, without their endings; None = all in the folder.
        list_file: what lists them, for messages.
    """

    images: Path
    masks: Path
    names: Sequence[str] | None = None
    list_file: str = ""

    def __str__(self) -> str:
        return self.list_file or str(self.images)


def _splits(root: Path, train: str, test: str) -> list[tuple[str, tuple[str, ...]]]:
    """The names of the folders for training, test and validation, each with the usual names that stand for it.

    Where there are folders for both, test is the test, and val the validation.
    """
    has = lambda usual: any(_split(root, name, (name,)) for name in usual)
    both = test.lower() in ("test", "testing") and has(("test", "testing")) and has(VALIDATION)
    return [
        (train, TRAIN if train.lower() in TRAIN else (train,)),
        (test, ("test", "testing") if both else TEST if test.lower() in TEST else (test,)),
        ("", VALIDATION if both else ()),
    ]


def _split(root: Path, name: str, usual: tuple[str, ...]) -> Part | None:
    """A split: a list of VOC, root/split/images and masks, root/images/split and root/masks/split, or root/split and root/splitannot."""
    for split in (name, *usual):
        if not split:
            continue
        whole, lower = _folders(root), split.lower()
        if whole and (names := listed(root, "Segmentation", split)) is not None:
            return Part(*whole, names, f"{root}, {split}")
        inside = _named(root, (lower,))
        if inside and (found := _folders(inside)):
            return Part(*found)
        if whole:
            images, masks = (_named(part, (lower,)) for part in whole)
            if images and masks:
                return Part(images, masks)
        if inside and (beside := _named(root, tuple(lower + ending for ending in BESIDE))):
            return Part(inside, beside)
    return None


def _holds_masks(root: Path, *names: str) -> bool:
    """Whether a folder itself holds images with masks, whole or in splits."""
    return bool(_folders(root)) or any(_split(root, name, ()) for name in (*names, *TRAIN, *TEST))


def masks_below(root: Path) -> list[str]:
    """The files of masks in a folder of images and masks; [] = it is another one."""
    root = root if _holds_masks(root) else voc_root(root)
    parts = [root, *(entry for name in (*TRAIN, *TEST) if (entry := _named(root, (name,))))]
    if found := next((found for part in parts if (found := _folders(part))), None):
        return find_images(found[1])
    beside = next((part for name in (*TRAIN, *TEST) if (part := _split(root, name, ()))), None)
    return find_images(beside.masks) if beside else []


def _folders(root: Path) -> Folders | None:
    """The folders of images and of masks inside a folder."""
    images, masks = _named(root, IMAGES), _named(root, MASKS)
    return (images, masks) if images and masks else None


def _named(root: Path, names: tuple[str, ...]) -> Path | None:
    """The folder with the first of these names, whatever its capitals."""
    found = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    return next((found[name] for name in names if name in found), None)


def _pairs(part: Part) -> list[tuple[str, str]]:
    """The images of a split and their masks, by their names without the ending.

    Raises:
        UserError: there are none, two have the same name, or one has no counterpart.
    """
    images = _named_files(part.images)
    masks = _without_common_ending(_named_files(part.masks), images)
    if part.names is not None:
        for found, folder in ((images, part.images), (masks, part.masks)):
            if missing := [name for name in part.names if name not in found]:
                raise UserError(f"{part} lists {len(missing)} names that are not in {folder}, such as {missing[0]}")
        return [(images[name], masks[name]) for name in part.names]
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        if alone := sorted(one.keys() - other.keys()):
            raise UserError(
                f"{len(alone)} files have no {what}, for example {one[alone[0]]}; names must be equal but for the ending: add "
                "what is missing, or move them away"
            )
    return [(images[name], masks[name]) for name in sorted(images)]


def _named_files(folder: Path) -> dict[str, str]:
    """The image files of a folder: {name without the ending: path}."""
    files = find_images(folder)
    named = {str(Path(file).relative_to(folder).with_suffix("")): file for file in files}
    if not files:
        raise UserError(f"{folder} holds no images; {LAYOUT}")
    if len(named) < len(files):
        twice = next(file for file in files if file not in named.values())
        raise UserError(f"{folder} holds several files of the name of {twice}, with other endings")
    return named


def _without_common_ending(masks: dict[str, str], images: Iterable[str]) -> dict[str, str]:
    """The masks by the names of their images: without "_mask", or what else ends the names of all of them and of no image."""
    first = min(masks)
    whose = max((name for name in images if first.startswith(name)), key=len, default=first)
    ending = first[len(whose) :]
    common = ending and not ending[0].isdigit() and all(name.endswith(ending) for name in masks)
    if not common or any(name.endswith(ending) for name in images):
        return masks
    return {name.removesuffix(ending): file for name, file in masks.items()}
