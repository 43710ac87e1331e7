"""What is recognised: a layout with the flags that open it; and the layouts of images with masks or boxes."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vitax.data import box_table, mask_files, masks, objects, voc, yolo
from vitax.data.source import Splits
from vitax.specs import RGB

FOR_IMAGES: dict[str, Any] = dict(train="train", test="test", test_fraction=0.2, pixels=RGB)
FOR_TEXTS: dict[str, Any] = dict(train="train", test="test", test_fraction=0.2)


def quoted(path: str) -> str:
    """A path as an argument of a shell: in double quotes, as far as a shell changes nothing in them."""
    return shlex.quote(path) if re.search(r'["$`\\!]', path) else f'"{path}"'


class Recognised(NamedTuple):
    """Data with a known layout.

    Attributes:
        what: a description for a person.
        kind: "labelled images", "images", "images with masks", "images with boxes", "captioned images", "texts", "labelled texts", "translations", or images or texts
            "with several labels" or "with numbers".
        flags: what to type after ``vitax train``.
        open: function that opens the splits.
    """

    what: str
    kind: str
    flags: str
    open: Callable[[], Splits]


def with_masks(path: str, root: Path, found: list[str]) -> Recognised:
    """A folder of images and masks; ``found`` = the files of masks."""
    flags = f"--config=configs/upernet_swin_t.py --config.init_from=WEIGHTS --config.data.path={quoted(path)}"
    numbers = mask_files.numbers_in(found)
    count = 0 if (root / "classes.txt").is_file() else max([1, *numbers[numbers != mask_files.MaskRules().ignored]]) + 1
    flags += f" --config.data.num_classes={count}" if count else ""
    listed = ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")
    what = f"images with masks, in {min(len(found), mask_files.SAMPLED)} of which there are the numbers {listed}"
    options: Any = dict(num_classes=count, rules=mask_files.MaskRules(), **FOR_IMAGES)
    return Recognised(what, "images with masks", flags, lambda: masks.mask_files(path=path, **options))


def with_boxes(path: str, name: str = "coco") -> Recognised:
    """Files with boxes in the form of COCO, YOLO or VOC, or in a table; all of them are read, and no image."""
    openers: dict[str, Any] = {
        "coco": partial(objects.coco_objects, raw_ids=False),
        "yolo": yolo.yolo,
        "voc": voc.voc,
        "table": box_table.box_table,
    }
    splits: Splits = openers[name](path=path, **FOR_IMAGES)
    parts: list[Any] = list(splits.sources())
    names, counts, most = splits.train.class_names, parts[0].counts(), max(part.most() for part in parts)
    each = (f"{names[k]!r} ({counts[k]:,})" for k in (int(counts.argmin()), int(counts.argmax())))
    what = (
        f"images with boxes {'in a table' if name == 'table' else f'in the form of {name.upper()}'}: {counts.sum():,} objects of {len(names):,} classes in the training, from "
        f"{' to '.join(each)}, at most {most} in an image"
    )
    flags = f"--config=configs/detr_r50.py --config.init_from=WEIGHTS --config.data.path={quoted(path)}"
    flags += "" if name == "coco" else f" --config.data.name={name}"
    flags += f" --config.data.max_objects={most} --config.model.num_queries={most}" if most > 100 else ""
    return Recognised(what, "images with boxes", flags, lambda: splits)
