"""The XML files of Pascal VOC: the objects in one image."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitax.data.decode import EXTENSIONS

Element = ElementTree.Element


class Told(NamedTuple):
    """What a file says about its image.

    Attributes:
        image: name of the image, without its ending; "" = it does not say.
        size: height and width in pixels; None = it does not say.
        names: names of the classes of the objects.
        boxes: [n, 4] xmin, ymin, xmax and ymax.
        difficult: [n] bool, True = an object that is not evaluated.
    """

    image: str
    size: tuple[int, int] | None
    names: list[str]
    boxes: np.ndarray
    difficult: np.ndarray


def read_xml(file: Path) -> Told:
    """Reads a file; the boxes of parts of an object, such as the head of a person, are left out.

    Raises:
        ValueError: it is not in the form of Pascal VOC, or holds boxes or objects where VOC has none.
    """
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(str(error)) from error
    if root.tag != "annotation":
        raise ValueError(f"it begins with {root.tag}, and not with annotation")
    entries = root.findall("object")
    boxes, objects = (sum(_local(each) == name for each in root.iter()) for name in ("bndbox", "object"))
    in_parts = sum(_local(each) == "bndbox" for part in root.iterfind("object/part") for each in part.iter())
    if objects != len(entries) or boxes - in_parts != len(entries):
        raise ValueError(
            f"it has {len(entries)} objects on top, {objects} in all, and {boxes - in_parts} boxes (bndbox) of objects"
        )
    name = (root.findtext("filename") or "").strip()
    ending = Path(name).suffix
    return Told(
        image=name.removesuffix(ending) if ending.lower() in EXTENSIONS else name,
        size=_size(root),
        names=[_text(entry, "name") for entry in entries],
        boxes=np.array([_box(entry) for entry in entries], np.float64).reshape(-1, 4),
        difficult=np.array([_difficult(entry) for entry in entries], bool),
    )


def _local(element: Element) -> str:
    """The name of an element in small letters, without its namespace."""
    return str(element.tag).rpartition("}")[2].lower()


def _text(entry: Element, name: str) -> str:
    """The text of the only child with a name; ValueError if there is none, or several."""
    found = entry.findall(name)
    text = (found[0].text or "").strip() if len(found) == 1 else ""
    if not text:
        raise ValueError(f"an object has {len(found)} elements {name!r}, or an empty one, where one is needed")
    return text


def _box(entry: Element) -> list[float]:
    box = entry.find("bndbox")
    if box is None:
        raise ValueError(f"an object has no bndbox, but {', '.join(child.tag for child in entry)}")
    sides = [float(_text(box, side)) for side in ("xmin", "ymin", "xmax", "ymax")]
    if not all(map(math.isfinite, sides)) or sides[0] > sides[2] or sides[1] > sides[3]:
        raise ValueError(f"the box {sides} is not xmin, ymin, xmax and ymax")
    return sides


def _difficult(entry: Element) -> bool:
    value = (entry.findtext("difficult") or "0").strip()
    if value not in ("0", "1"):
        raise ValueError(f"an object has difficult={value!r}, which is neither 0 nor 1")
    return value == "1"


def _size(root: Element) -> tuple[int, int] | None:
    """Height and width; None = the file has none, or 0, as some programs write."""
    height, width = (int(root.findtext(f"size/{side}") or 0) for side in ("height", "width"))
    if min(height, width) < 0:
        raise ValueError(f"its size is {width} x {height}")
    return (height, width) if height and width else None
