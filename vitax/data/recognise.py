"""What the data of a user are: which layout a folder or a file has, and the flags that open it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vitax.data import (
    arrow_rows,
    bitext,
    captions,
    coco,
    coco_files,
    masks,
    remote,
    sentences,
    tables,
    target_columns,
    targets,
    texts,
    urls,
    voc,
)
from vitax.data.arrays import arrays
from vitax.data.box_table import sides_in
from vitax.data.decode import EXTENSIONS
from vitax.data.folder import SPLIT_NAMES, folder
from vitax.data.image_files import images
from vitax.data.image_table import FILES, image_table
from vitax.data.label_tars import label_tars
from vitax.data.parquet import CAPTIONS, IMAGES, captioned_parquet, parquet
from vitax.data.parquet_files import HUB, split_files
from vitax.data.recognised import FOR_IMAGES, FOR_TEXTS, Recognised, quoted, with_boxes, with_masks
from vitax.data.source import Splits
from vitax.data.tar_index import expanded, members
from vitax.data.textfile import kind_of, uncompressed
from vitax.errors import UserError
from vitax.sniff import seems

LOOKED_AT = 100_000  # files of a folder that are looked at


def recognise(path: str) -> Recognised:
    """The layout of a folder, a file, a pattern of tar files, or a dataset on the hub.

    Raises:
        UserError: there is nothing, or nothing that vitax reads.
    """
    root = Path(path).expanduser()
    if path.startswith(HUB):
        first = split_files(path, "train", "test")[0][0]
        return _by_schema(path, arrow_rows.schema_of(first), "a dataset on the hub")
    if len(files := expanded(path)) > 1:
        return _tars(path, files)
    if urls.is_remote(path) and path.endswith(".tar"):
        return _tars(path, files)
    if urls.is_remote(path):
        first = split_files(path, "train", "test")[0][0]
        return _by_schema(path, arrow_rows.schema_of(first), "Parquet or Arrow files at a URL")
    if not root.exists():
        raise UserError(f"{path} does not exist")
    return _file(path, root) if root.is_file() else _folder(path, root)


def _file(path: str, file: Path) -> Recognised:
    kind = kind_of(file)
    if kind == ".npz":
        return _images(path, "arrays", "arrays in an .npz file", arrays)
    if kind == ".tar":
        return _tars(path, [str(file)])
    if kind in arrow_rows.ENDINGS:
        return _by_schema(path, arrow_rows.schema_of(str(file)), f"a {kind} file")
    if kind in tables.PLAIN and not (kind == ".tsv" and _is_pairs(file)):
        rows = tables.read_rows(file)
        return _by_columns(path, rows[0] if rows else (), f"a {kind} table")
    if kind in (".yaml", ".yml"):
        return with_boxes(path, "yolo")
    if kind == ".json" and not file.name.startswith("captions"):
        return with_boxes(path)
    if kind == ".json":
        return _captions(path, "coco", "COCO's captions", coco.coco_captions)
    if kind in (".txt", ".tsv"):
        if _is_pairs(file):
            return _translations(path, "lines of two texts with a tab between them", "en", "de")
        return _texts(path, "running text")
    with file.open("rb") as stream:
        told = seems(stream.read(256))
    archive = (
        " an archive: unpack it" if kind in (".zip", ".gz", ".7z", ".rar", ".zst") else " of no kind that vitax reads"
    )
    raise UserError(f"{path} is{' one image; give its folder' if kind in EXTENSIONS else archive}{told}")


def _folder(path: str, root: Path) -> Recognised:
    files = list(_below(root))
    kinds = Counter(kind_of(file) for file in files)
    if any(kinds[ending] for ending in arrow_rows.ENDINGS):
        first = split_files(path, "train", "test")[0][0]
        return _by_schema(path, arrow_rows.schema_of(first), "Parquet or Arrow files")
    if kinds[".tar"]:
        return _tars(path, sorted(str(file) for file in files if file.suffix == ".tar"))
    if coco_files.files_below(root, "instances"):
        return with_boxes(path)
    if any(kind_of(file) in (".yaml", ".yml") for file in files if file.parent == root):
        return with_boxes(path, "yolo")
    if kinds[".xml"] and voc.is_voc(root):
        return with_boxes(path, "voc")
    if any(file.match("captions_*.json") for file in files):
        return _captions(path, "coco", "COCO's captions", coco.coco_captions)
    on_top = [file for file in files if file.parent == root]
    if languages := bitext.languages_of(on_top):
        return _translations(path, f"parallel files, {' and '.join(languages)}", *languages)
    if table := next((file for file in sorted(on_top) if kind_of(file) in tables.PLAIN), None):
        train = tables.table_of(root, "train")
        rows = tables.read_rows(train or table)
        return _by_columns(path, rows[0] if rows else (), f"tables such as {(train or table).name}")
    if any(kind in EXTENSIONS for kind in kinds):
        return _image_folder(path, root)
    if kinds[".txt"] or kinds[".jsonl"]:
        return _texts(path, "text files")
    listed = ", ".join(f"{count:,} {kind or 'without an ending'}" for kind, count in kinds.most_common(6)) or "nothing"
    raise UserError(f"{path} holds {listed}: neither images, nor tables, nor texts, nor tar, Parquet or Arrow files")


def _below(root: Path) -> Iterable[Path]:
    """Visible files below a folder, LOOKED_AT at most."""
    count = 0
    for at, children, files in os.walk(root):
        children[:] = sorted(child for child in children if child[0] != ".")
        for file in sorted(files):
            if file[0] != "." and (count := count + 1) <= LOOKED_AT:
                yield Path(at) / file


def _image_folder(path: str, root: Path) -> Recognised:
    """A folder with images: with masks, of class folders, below folders of splits or not, or without classes."""
    if found := masks.masks_below(root):
        return with_masks(path, root, found)
    folders = [entry for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."]
    splits = [entry for entry in folders if entry.name.lower() in SPLIT_NAMES]
    inside = [entry for split in splits for entry in split.iterdir() if entry.is_dir()] if splits else folders
    if len(inside) > 1:
        return _images(path, "folder", "one folder of images per class", folder)
    flags = f"--config=configs/mae_b16_pretrain.py --config.data.name=images --config.data.path={quoted(path)}"
    return Recognised("images without classes", "images", flags, lambda: images(path=path, **FOR_IMAGES))


def _tars(path: str, files: list[str]) -> Recognised:
    if missing := [file for file in files if not urls.is_remote(file) and not os.path.isfile(file)]:
        raise UserError(f"{path} names {len(missing)} tar files that are not there, for example {missing[0]}")
    parts = {part for found in members(remote.near(files[0]), Counter())[0].values() for part in found}
    what = f"{len(files):,} tar files of WebDataset"
    if "label" in parts:
        return _images(path, "tars", what, label_tars)
    if {"image", "caption"} <= parts:
        return _captions(path, "tars", what, captions.tars)
    raise UserError(f"{files[0]} holds {', '.join(sorted(parts)) or 'nothing'}: neither images with .cls nor with .txt")


def _by_schema(path: str, schema: Any, what: str) -> Recognised:
    """Data in Parquet or Arrow files, by the columns and their types."""
    kinds = {one.name.lower(): str(one.type) for one in schema}
    numbers = [name for name, kind in kinds.items() if kind in ("float", "double", "halffloat")]
    lists = [name for name, kind in kinds.items() if kind.startswith(("list", "large_list"))]
    return _by_columns(path, schema.names, what, True, numbers, lists)


def _by_columns(
    path: str,
    names: Iterable[str],
    what: str,
    arrow: bool = False,
    numbers: Sequence[str] = (),
    lists: Sequence[str] = (),
) -> Recognised:
    """Data in a table, by its columns; of ``numbers`` and ``lists`` it is known that they are no classes."""
    columns = [str(name).strip().lower() for name in names]
    has = lambda usual: next((name for name in usual if name in columns), "")
    pictures = has(IMAGES if arrow else FILES)
    if pictures and not arrow and sides_in(columns):
        return with_boxes(path, "table")
    label, caption = has(tables.LABELS), has(CAPTIONS if arrow else captions.CAPTION_COLUMNS)
    name = "parquet" if arrow else "table"
    what = f"{what} with the columns {', '.join(columns)}"
    texts_there = has(sentences.TEXTS)
    target = label if label in (*numbers, *lists) else "" if label else has(("tags", "value", "score"))
    if (pictures or texts_there) and target:
        kind = "multilabel" if target == "tags" or target in lists else "regression"
        return _targets(path, name, what, "" if pictures else "text_", kind)
    if pictures and label:
        return _images(path, name, what, parquet if arrow else image_table)
    if pictures and caption:
        return _captions(path, name, what, captioned_parquet if arrow else captions.table)
    if texts_there and label:
        flags = f"--config=configs/finetune.py:text --config.init_from=WEIGHTS --config.data.path={quoted(path)}"
        return Recognised(what, "labelled texts", flags, lambda: sentences.sentence_table(path=path, **FOR_TEXTS))
    languages = [column for column in columns if re.fullmatch(r"[a-z]{2,3}(_[a-z]{2})?|source|target", column)]
    if len(languages) == 2 or "translation" in columns:
        return _translations(path, what, *(languages if len(languages) == 2 else ("en", "de")))
    if "text" in columns and ".jsonl" in what:
        return _texts(path, what)
    raise UserError(
        f"{path} is {what}: neither images with labels or captions, nor texts with labels, nor translations; rename the "
        f"columns, for example to image and label, or text and label"
    )


def _is_pairs(file: Path) -> bool:
    """True if each of the first lines of a file is two texts with a tab between them."""
    with uncompressed(file) as stream:
        lines = [stream.readline() for _ in range(20)]
    lines = [line for line in lines if line.strip()]
    heads = {word.strip().lower() for word in lines[0].decode("utf-8", "replace").split("\t")} if lines else set()
    if heads & {*FILES, *CAPTIONS, *tables.LABELS} - {"target"}:  # a header
        return False
    labels = {line.rstrip().split(b"\t")[-1] for line in lines}
    return bool(lines) and all(line.count(b"\t") == 1 for line in lines) and len(labels) > len(lines) // 2


def _images(path: str, name: str, what: str, opener: Callable[..., Splits]) -> Recognised:
    flags = f"--config=configs/finetune.py --config.init_from=WEIGHTS --config.data.name={name} --config.data.path={quoted(path)}"
    return Recognised(what, "labelled images", flags, lambda: opener(path=path, **FOR_IMAGES))


def _targets(path: str, name: str, what: str, texts: str, kind: str) -> Recognised:
    """Images, or texts, with several labels or with numbers."""
    read = target_columns.labels_of if kind == "multilabel" else target_columns.values_of
    flags = f"--config=configs/finetune.py:{texts}{kind} --config.init_from=WEIGHTS --config.data.path={quoted(path)}"
    flags += "" if name == "table" else f" --config.data.name={name}"
    described = f"{'texts' if texts else 'images'} with {'several labels' if kind == 'multilabel' else 'numbers'}"
    options: Any = dict(path=path, columns=())
    if texts:
        return Recognised(what, described, flags, lambda: targets.text_targets(read, **options, **FOR_TEXTS))
    opener = targets.image_targets if name == "table" else targets.parquet_targets
    return Recognised(what, described, flags, lambda: opener(read, **options, **FOR_IMAGES))


def _captions(path: str, name: str, what: str, opener: Callable[..., Splits]) -> Recognised:
    flags = f"--config=configs/clip_vit_b32.py --config.data.name={name} --config.data.path={quoted(path)}"
    return Recognised(what, "captioned images", flags, lambda: opener(path=path, **FOR_IMAGES))


def _texts(path: str, what: str) -> Recognised:
    flags = f"--config=configs/bert_base.py --config.data.name=text --config.data.path={quoted(path)}"
    options: Any = {**FOR_TEXTS, "test_fraction": 0.05}
    return Recognised(what, "texts", flags, lambda: texts.text_files(path=path, **options))


def _translations(path: str, what: str, source: str, target: str) -> Recognised:
    flags = (
        f"--config=configs/transformer_base.py:small --config.data.source={source} --config.data.target={target} "
        f"--config.data.path={quoted(path)}"
    )
    options: Any = {**FOR_TEXTS, "test_fraction": 0.05, "source": source, "target": target}
    return Recognised(what, "translations", flags, lambda: bitext.bitext_files(path=path, **options))
