"""Random datasets, written in every layout by other libraries, and read back: nothing is lost, added or mixed up."""

import csv
import gzip
import io
import json
import pickle
import tarfile
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vitax.data import captions, open_source
from vitax.data.coco import coco_captions
from vitax.data.folder import SPLIT_NAMES
from vitax.data.sentences import sentence_table
from vitax.data.target_columns import labels_of, values_of
from vitax.data.targets import image_targets, text_targets
from vitax.specs import RGB

OPTIONS = dict(train="train", test="test", test_fraction=0.3)
SEPARATORS = st.sampled_from(",;\t|")
quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def words(more=""):
    """Names that a person could type: no control characters, and no spaces around them."""
    letters = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=more)
    return st.text(letters | st.just(" "), min_size=1, max_size=10).map(str.strip).filter(bool)


class_names = words("/").filter(lambda name: name[0] not in ".@#$" and name.lower() not in {*SPLIT_NAMES, "__macosx"})


@st.composite
def labelled(draw, names=class_names):
    """Examples of each split: [(value of its pixels, class), ...]; every class occurs in the training."""
    classes = draw(st.lists(names, min_size=2, max_size=4, unique_by=str.casefold))
    count = draw(st.integers(len(classes), 9))
    train = [classes[i % len(classes)] for i in range(count)]
    others = [draw(st.lists(st.sampled_from(classes), min_size=1, max_size=4)) for _ in range(draw(st.integers(1, 2)))]
    found, value = {}, 0
    for split, labels in zip(("train", "test", "val"), (train, *others), strict=False):
        found[split] = [(value + i, label) for i, label in enumerate(labels)]
        value += len(labels)
    return found


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def pictures(root, splits, folder="pictures"):
    for rows in splits.values():
        for value, *_ in rows:
            put(root / folder / f"{value}.png", png(value))


def table(path, columns, rows, separator=","):
    """A table of any kind, by the ending of its name."""
    ending = path.name.partition(".")[2]
    if ending.startswith("jsonl"):
        text = "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    elif ending.startswith("tsv"):
        text = "".join("\t".join(map(str, row)) + "\n" for row in [columns, *rows])
    else:
        stream = io.StringIO()
        csv.writer(stream, delimiter=separator).writerows([columns, *rows])
        text = stream.getvalue()
    data = text.encode()
    if ending.endswith("gz"):
        data = gzip.compress(data)
    if ending.endswith("zst"):
        import zstandard

        data = zstandard.compress(data)
    put(path, data)


def read_back(splits):
    """{split: [(pixels, class)]} of opened images, each source also as a worker process gets it."""
    found = {}
    for name, source in zip(("train", "test", "val"), splits.sources(), strict=False):
        again = pickle.loads(pickle.dumps(source))
        assert [again.name(i) for i in range(len(again))] == [source.name(i) for i in range(len(source))]
        assert len({source.name(i) for i in range(len(source))}) == len(source), "names tell examples apart"
        examples = [again[i] for i in range(len(again))]
        found[name] = [(int(x["image"][0, 0, 0]), source.class_names[x["label"]]) for x in examples]
        if source.labels is not None:
            assert [int(x["label"]) for x in examples] == list(source.labels)
    return found


def in_order(splits):
    return {name: sorted(rows) for name, rows in splits.items()}


@quick
@given(labelled(), st.sampled_from(["csv", "tsv", "jsonl", "csv.gz", "jsonl.zst"]), SEPARATORS, st.booleans())
def test_tables_of_images(tmp_path, data, ending, separator, column):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    pictures(root, data)
    if column:
        rows = [(f"pictures/{v}.png", label, split) for split, part in data.items() for v, label in part]
        table(root / f"all.{ending}", ("file", "label", "split"), rows, separator)
    else:
        for split, part in data.items():
            table(root / f"{split}.{ending}", ("file", "label"), [(f"pictures/{v}.png", x) for v, x in part], separator)
    splits = open_source("table", path=str(root / f"all.{ending}" if column else root), pixels=RGB, **OPTIONS)
    assert read_back(splits) == data


@quick
@given(labelled())
def test_folders_of_images(tmp_path, data):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    for split, part in data.items():
        for value, label in part:
            put(root / split / label / f"{value}.png", png(value))
    splits = open_source("folder", path=str(root), pixels=RGB, **OPTIONS)
    composed = {s: [(v, unicodedata.normalize("NFC", label)) for v, label in part] for s, part in data.items()}
    assert in_order(read_back(splits)) == in_order(composed), "macOS decomposes names of files"


@quick
@given(labelled(), st.integers(1, 3))
def test_tars_of_images(tmp_path, data, size):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    names = sorted({label for _, label in data["train"]})
    put(root / "classes.txt", "\n".join(names))
    for split, part in data.items():
        for start in range(0, len(part), size):
            (root / split).mkdir(exist_ok=True)
            with tarfile.open(root / split / f"{start:03d}.tar", "w") as archive:
                for value, label in part[start : start + size]:
                    for ending, content in ((".png", png(value)), (".cls", str(names.index(label)).encode())):
                        member = tarfile.TarInfo(f"a b/{value:04d}{ending}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
    assert read_back(open_source("tars", path=str(root), pixels=RGB, **OPTIONS)) == data


@quick
@given(labelled(), st.sampled_from(["numbers", "names", "ClassLabel"]), st.integers(1, 3), st.booleans())
def test_parquet_and_arrow_of_images(tmp_path, data, kind, shards, arrow):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    names = sorted({label for _, label in data["train"]})
    for split, part in data.items():
        for k in range(shards):
            rows = part[k::shards]
            labels = [label if kind == "names" else names.index(label) for _, label in rows]
            images = pa.array(
                [{"bytes": png(v), "path": None} for v, _ in rows],
                pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            )
            content = pa.table(
                {"image": images, "label": pa.array(labels, pa.string() if kind == "names" else pa.int64())}
            )
            if kind == "ClassLabel":
                about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
                content = content.replace_schema_metadata({"huggingface": json.dumps(about)})
            file = root / f"{split}-{k:05d}-of-{shards:05d}.{'arrow' if arrow else 'parquet'}"
            if arrow:
                with pa.ipc.new_stream(str(file), content.schema) as stream:
                    stream.write_table(content)
            else:
                pq.write_table(content, file, row_group_size=2)
    found = read_back(open_source("parquet", path=str(root), pixels=RGB, **OPTIONS))
    expected = {s: [row for k in range(shards) for row in part[k::shards]] for s, part in data.items()}
    if kind == "numbers":  # there are no names
        expected = {s: [(v, str(names.index(label))) for v, label in part] for s, part in expected.items()}
    assert found == expected


@quick
@given(
    labelled(words()),
    st.sampled_from(["csv", "tsv", "jsonl", "csv.gz", "jsonl.zst", "parquet"]),
    SEPARATORS,
    st.booleans(),
    st.data(),
)
def test_tables_of_texts(tmp_path, data, ending, separator, pairs, more):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    columns = ("sentence1", "sentence2", "label") if pairs else ("text", "label")
    expected = {}
    for split, part in data.items():
        rows = [(*(more.draw(words()) for _ in columns[1:]), label) for _, label in part]
        expected[split] = rows
        if ending == "parquet":
            pq.write_table(
                pa.table({c: [row[i] for row in rows] for i, c in enumerate(columns)}), root / f"{split}.parquet"
            )
        else:
            table(root / f"{split}.{ending}", columns, rows, separator)
    splits = sentence_table(path=str(root), **OPTIONS)
    for split, source in zip(expected, splits.sources(), strict=True):
        found = [(*source[i]["texts"], source.class_names[source[i]["label"]]) for i in range(len(source))]
        assert found == expected[split]


@quick
@given(labelled(), st.sampled_from(["csv", "tsv", "jsonl"]), SEPARATORS, st.data())
def test_targets_of_images_and_texts(tmp_path, data, ending, separator, more):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    pictures(root, data)
    tags = st.lists(words(",;|[]'").filter(lambda tag: tag != "nan"), max_size=3, unique=True)
    marks = ";" if separator != ";" or ending != "csv" else "|"
    expected, known = {}, set()
    for split, part in data.items():
        rows = [(more.draw(tags), more.draw(st.floats(-1e6, 1e6, width=32))) for _ in part]
        rows[0] = ([*rows[0][0], "one", "two"], rows[0][1])  # a text is divided at the mark that occurs
        expected[split] = rows
        known |= {tag for row in rows for tag in row[0]}
        written = [
            (f"pictures/{v}.png", f"text {v}", labels if ending == "jsonl" else marks.join(labels), repr(number))
            for (v, _), (labels, number) in zip(part, rows, strict=True)
        ]
        table(root / f"{split}.{ending}", ("file", "text", "tags", "value"), written, separator)
    options = dict(path=str(root), columns=(), **OPTIONS)
    for opened in (
        (image_targets(labels_of, pixels=RGB, **options), image_targets(values_of, pixels=RGB, **options)),
        (text_targets(labels_of, **options), text_targets(values_of, **options)),
    ):
        names = opened[0].train.class_names
        assert set(names) == known
        for split, labels, numbers in zip(expected, opened[0].sources(), opened[1].sources(), strict=True):
            for i, (tagged, number) in enumerate(expected[split]):
                assert {name for name, has in zip(names, labels[i]["target"], strict=True) if has} == set(tagged)
                assert numbers[i]["target"].tolist() == [np.float32(number)]


@quick
@given(labelled(words()), st.sampled_from(["rows", "lists", "tars", "coco"]), st.data())
def test_captions(tmp_path, data, layout, more):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    data = {"train": data["train"], "test": data["test"]}
    texts = {
        value: more.draw(st.lists(words(), min_size=1, max_size=1 if layout == "tars" else 3))
        for part in data.values()
        for value, _ in part
    }
    for split, part in data.items():
        pictures(
            root / f"{split}2017" if layout == "coco" else root, {split: part}, "" if layout == "coco" else "pictures"
        )
        if layout == "rows":
            rows = [(f"pictures/{v}.png", text) for v, _ in part for text in texts[v]]
            table(root / f"{split}.csv", ("image", "caption"), rows)
        elif layout == "lists":
            table(root / f"{split}.jsonl", ("image", "caption"), [(f"pictures/{v}.png", texts[v]) for v, _ in part])
        elif layout == "coco":
            content = {"images": [{"id": 7 * v, "file_name": f"{v}.png"} for v, _ in part]}
            content["annotations"] = [{"image_id": 7 * v, "caption": text} for v, _ in part for text in texts[v]]
            put(root / "annotations" / f"captions_{split}2017.json", json.dumps(content))
        else:
            (root / split).mkdir()
            with tarfile.open(root / split / "0.tar", "w") as archive:
                for value, _ in part:
                    for ending, written in ((".png", png(value)), (".txt", texts[value][0].encode())):
                        member = tarfile.TarInfo(f"{value:04d}{ending}")
                        member.size = len(written)
                        archive.addfile(member, io.BytesIO(written))
    opener = {"tars": captions.tars, "coco": coco_captions}.get(layout, captions.table)
    splits = opener(path=str(root), pixels=RGB, **OPTIONS)
    for split, source in zip(data, splits.sources(), strict=True):
        found = sorted((int(x["image"][0, 0, 0]), x["caption"]) for x in (source[i] for i in range(len(source))))
        assert found == sorted((value, text) for value, _ in data[split] for text in texts[value])
