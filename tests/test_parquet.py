"""Data sets in Parquet and Arrow files, as ``datasets`` writes them."""

import gzip
import io
import json
import pickle

import numpy as np
import pytest
from hub_server import Hub, serving, use
from huggingface_hub import constants
from PIL import Image

from vitax.data import open_source
from vitax.data.parquet import captioned_parquet
from vitax.data.sentences import sentence_table
from vitax.errors import UserError
from vitax.specs import RGB

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def table_of(numbers, label=lambda i: i % 3, names=("ant", "bee", "cow"), key="label", struct=True):
    numbers = list(numbers)
    images = [{"bytes": png(i), "path": f"{i}.png"} if struct else png(i) for i in numbers]
    table = pa.table({"id": numbers, "image": images, key: [label(i) for i in numbers]})
    if names:
        features = {"image": {"_type": "Image"}, key: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return table


def write(path, table, rows=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        return pq.write_table(table, path, row_group_size=rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, rows)


def opened(path, opener=None, **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.34, pixels=RGB) | options
    return opener(**arguments) if opener else open_source("parquet", **arguments)


def contents(source):
    return [(int(x["image"][0, 0, 0]), source.class_names[x["label"]]) for x in (source[i] for i in range(len(source)))]


def expected(numbers):
    return [(i, ("ant", "bee", "cow")[i % 3]) for i in numbers]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("layout", ["data/{split}-{k:05d}-of-00002.{ending}", "{split}/{k:04d}.{ending}"])
def test_the_layouts_of_datasets(tmp_path, layout, ending):
    for split, numbers in (("train", range(12)), ("validation", range(12, 18)), ("test", range(18, 24))):
        for k in (0, 1):
            half = list(numbers)[k * len(numbers) // 2 : (k + 1) * len(numbers) // 2]
            write(tmp_path / "d" / layout.format(split=split, k=k, ending=ending), table_of(half))
    splits = opened(tmp_path / "d")
    assert contents(splits.train) == expected(range(12))
    assert contents(splits.validation) == expected(range(12, 18))
    assert contents(splits.test) == expected(range(18, 24))
    assert splits.train.name(7).endswith(("00001-of-00002." + ending + "[1]", "0001." + ending + "[1]"))
    again = pickle.loads(pickle.dumps(splits.train))  # what a worker gets
    assert contents(again) == expected(range(12))


def test_a_data_set_saved_to_disk(tmp_path):
    for split, numbers in (("train", range(9)), ("test", range(9, 12))):
        folder = tmp_path / "saved" / split
        write(folder / "b.arrow", table_of(numbers[:2]))
        write(folder / "a.arrow", table_of(numbers[2:]))
        write(folder / "cache-123.arrow", table_of([99]))
        (folder / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]})
        )
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    splits = opened(tmp_path / "saved")
    assert contents(splits.train) == expected(range(9))
    (tmp_path / "saved" / "train" / "a.arrow").unlink()
    with pytest.raises(UserError, match="lists a.arrow, which is not there"):
        opened(tmp_path / "saved")


@pytest.mark.parametrize("struct", [True, False])
def test_one_file_names_as_labels_and_bare_bytes(tmp_path, struct):
    write(tmp_path / "all.parquet", table_of(range(12), lambda i: "xyz"[i % 3], (), "Category", struct))
    splits = opened(tmp_path / "all.parquet")
    assert splits.train.class_names == ("x", "y", "z")
    both = sorted(contents(splits.train) + contents(splits.test))
    assert both == [(i, "xyz"[i % 3]) for i in range(12)]
    write(tmp_path / "numbers.parquet", table_of(range(12), lambda i: (i % 3) * 10, ()))
    assert opened(tmp_path / "numbers.parquet").train.class_names == ("0", "10", "20")


def test_captions_of_an_image_stay_together(tmp_path):
    table = table_of(range(10), lambda i: [f"a {i}", f"one {i}"], (), "caption")
    write(tmp_path / "c.parquet", table)
    splits = opened(tmp_path / "c.parquet", captioned_parquet)
    assert len(splits.train) + len(splits.test) == 20
    for source in (splits.train, splits.test, *splits.train.held_back(0.3)):
        for i in range(len(source)):
            value = int(source[i]["image"][0, 0, 0])
            assert source[i]["caption"] == source.caption(i) == f"{('a', 'one')[i % 2]} {value}"
    names = [source.name(i) for source in (splits.train, splits.test) for i in range(len(source))]
    assert len(set(names)) == 20


def test_what_cannot_be_understood_is_refused(tmp_path):
    def refused(message, table, name="x.parquet", **options):
        write(tmp_path / "r" / name, table)
        with pytest.raises(UserError, match=message):
            opened(tmp_path / "r" / name, **options)

    refused("has the columns id, image, quality; one of label", table_of(range(6), key="quality"))
    refused("row 1 of its split has -1 .*choose another split", table_of(range(6), lambda i: -1))
    refused("row 2 of its split has None", table_of(range(6), lambda i: None if i == 1 else 0, ()))
    (tmp_path / "r" / "broken.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(UserError, match="broken.parquet cannot be read"):
        opened(tmp_path / "r" / "broken.parquet")
    write(tmp_path / "two" / "small" / "train-0.parquet", table_of(range(6)))
    write(tmp_path / "two" / "large" / "train-0.parquet", table_of(range(6)))
    with pytest.raises(UserError, match="several sets of files for 'train', in .*set data.path to one of them"):
        opened(tmp_path / "two")
    write(tmp_path / "odd" / "learn-0.parquet", table_of(range(6)))
    write(tmp_path / "odd" / "test-0.parquet", table_of(range(6)))
    with pytest.raises(UserError, match="learn-0.parquet, which is for no split, beside files of test"):
        opened(tmp_path / "odd")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds neither .parquet nor .arrow files"):
        opened(tmp_path / "none")


def test_an_unreadable_image_is_one_example(tmp_path):
    table = pa.table(
        {
            "image": [
                {"bytes": png(1), "path": None},
                {"bytes": b"no", "path": None},
                {"bytes": None, "path": "a.jpg"},
            ],
            "label": [0, 1, 1],
        }
    )
    write(tmp_path / "d" / "train.parquet", table)
    write(tmp_path / "d" / "test.parquet", table)
    source = opened(tmp_path / "d").train
    assert source[0]["label"] == 0
    for i, message in ((1, "not an image"), (2, "file a.jpg, which is not in the row")):
        with pytest.raises(ValueError, match=message):
            source[i]


def test_the_copy_is_made_once_and_again_if_the_file_changes(tmp_path):
    write(tmp_path / "a.parquet", table_of(range(12)))
    opened(tmp_path / "a.parquet")
    (copy,) = (tmp_path / "cache" / "vitax" / "copies").iterdir()
    stamp = copy.stat().st_mtime_ns
    opened(tmp_path / "a.parquet")
    assert copy.stat().st_mtime_ns == stamp
    write(tmp_path / "a.parquet", table_of(range(12, 30)))
    assert min(number for number, _ in contents(opened(tmp_path / "a.parquet").train)) >= 12


def test_labelled_texts(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["bad", "good"]}}
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for k in (0, 1):
            half = range(k * count // 2, (k + 1) * count // 2)
            table = pa.table(
                {
                    "sentence1": [f"{split} {i}" for i in half],
                    "sentence2": ["b"] * len(half),
                    "label": [i % 2 for i in half],
                }
            )
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
            write(tmp_path / "glue" / f"{split}-{k:05d}-of-00002.parquet", table)
    options = dict(path=str(tmp_path / "glue"), train="train", test="test", test_fraction=0.2)
    splits = sentence_table(**options)
    assert splits.train.class_names == ("bad", "good")
    assert splits.train.texts == [(f"train {i}", "b") for i in range(6)]
    assert splits.train.labels.tolist() == [0, 1] * 3
    assert (len(splits.test), len(splits.validation)) == (2, 2)
    (tmp_path / "glue" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="is one of 2 files, and 1 are there: fetch the others"):
        sentence_table(**options)


def test_a_compressed_table_with_capitals(tmp_path):
    rows = [{"Text": f"text {i}", "LABEL": "ab"[i % 2]} for i in range(6)]
    with gzip.open(tmp_path / "all.jsonl.gz", "wt") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows))
    splits = sentence_table(path=str(tmp_path / "all.jsonl.gz"), train="train", test="test", test_fraction=0.34)
    assert sorted(splits.train.texts + splits.test.texts) == [(f"text {i}",) for i in range(6)]
    for text, message in (
        ("text,TEXT,label\na,b,c\n", "several columns 'text'"),
        ("text,label,label\na,b,c\n", "several columns 'label'"),
        ("text,label\na,b\nc\n", "row 2 has fewer fields than the header, text, label"),
    ):
        (tmp_path / "twice.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            sentence_table(path=str(tmp_path / "twice.csv"), train="train", test="test", test_fraction=0.34)


def test_a_data_set_on_the_hub(tmp_path, monkeypatch):
    hub = Hub()
    files = {}
    for folder, split, numbers in (
        ("small", "train", range(9)),
        ("small", "test", range(9, 12)),
        ("large", "train", [77] * 3),
    ):
        write(tmp_path / "x.parquet", table_of(numbers))
        files[f"{folder}/{split}-00000-of-00001.parquet"] = (tmp_path / "x.parquet").read_bytes()
    hub.files = {"peer/ants": files, "peer/csv": {"all.csv": b"text,label"}}
    with serving(hub):
        use(hub, monkeypatch, tmp_path / "hub")
        splits = opened("hf-dataset:peer/ants:small")
        assert contents(splits.train) == expected(range(9))
        assert contents(splits.test) == expected(range(9, 12))
        assert not any("large" in line for line in hub.downloads()), "only the files that are needed"
        with pytest.raises(
            UserError, match="several sets of files for 'train', in large, small: .*hf-dataset:peer/ants:large"
        ):
            opened("hf-dataset:peer/ants")
        with pytest.raises(UserError, match="has no dataset peer/none"):
            opened("hf-dataset:peer/none")
        with pytest.raises(UserError, match="no .parquet files.*peer/csv@refs/convert/parquet"):
            opened("hf-dataset:peer/csv")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert contents(opened("hf-dataset:peer/ants:small").test) == expected(range(9, 12))
    with pytest.raises(UserError, match="is not hf-dataset:OWNER/NAME"):
        opened("hf-dataset:a/b/c")


def test_splits_are_told_apart_or_refused(tmp_path):
    for name in ("cifar10-train.arrow", "cifar10-test.arrow"):
        write(tmp_path / "a" / name, table_of(range(6)))
    splits = opened(tmp_path / "a")
    assert (len(splits.train), len(splits.test)) == (6, 6)
    write(tmp_path / "a" / "train2.arrow", table_of(range(6)))
    with pytest.raises(UserError, match="train2.arrow, which is for no split, beside files of"):
        opened(tmp_path / "a")
    for name in ("train.parquet", "test.parquet"):
        write(tmp_path / "b" / name, table_of(range(6)))
    with pytest.raises(UserError, match="none for 'tets': set data.test"):
        opened(tmp_path / "b", test="tets")


def test_classes_in_another_order_are_refused(tmp_path):
    write(tmp_path / "train.parquet", table_of(range(6)))
    write(tmp_path / "test.parquet", table_of(range(6), names=("bee", "ant", "cow")))
    with pytest.raises(UserError, match="test.parquet has other classes in the column 'label'"):
        opened(tmp_path)


def test_an_arrow_file_that_is_cut_off_is_refused(tmp_path):
    write(tmp_path / "train.arrow", table_of(range(40)), rows=4)
    data = (tmp_path / "train.arrow").read_bytes()
    for cut in (len(data) - 8, len(data) // 2):
        (tmp_path / "train.arrow").write_bytes(data[:cut])
        with pytest.raises(UserError, match="train.arrow cannot be read: it ends before its end"):
            opened(tmp_path / "train.arrow")


def test_all_files_of_a_folder_and_no_hidden_labels(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["neg", "pos"]}}

    def put(path, labels):
        table = pa.table({"text": [f"{path.stem} {i}" for i in range(len(labels))], "label": labels})
        write(path, table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}))

    for split in ("train", "test"):
        for k in (0, 1):
            put(tmp_path / split / f"{k:04d}.parquet", [0, 1, 1, 0])
    splits = sentence_table(path=str(tmp_path), train="train", test="test", test_fraction=0.2)
    assert (len(splits.train), len(splits.test)) == (8, 8)
    put(tmp_path / "train" / "0001.parquet", [0, -1])
    with pytest.raises(UserError, match="row 2 has -1 in the column 'label', and there are 2 classes .-1 stands for"):
        sentence_table(path=str(tmp_path), train="train", test="test", test_fraction=0.2)


def test_columns_of_splits_and_empty_labels_are_refused(tmp_path):
    for name in ("split", "subset"):
        table = table_of(range(9)).append_column(name, pa.array(["train"] * 6 + ["test"] * 3))
        write(tmp_path / name / "a.parquet", table)
        with pytest.raises(UserError, match=f"has a column '{name}'"):
            opened(tmp_path / name)
    write(tmp_path / "c" / "a.parquet", table_of(range(9)).append_column("set", pa.array(["red", "blue", "red"] * 3)))
    assert len(opened(tmp_path / "c").train) + len(opened(tmp_path / "c").test) == 9
    write(tmp_path / "d" / "a.parquet", table_of(range(9), label=lambda i: "ab"[i % 2] if i else "", names=()))
    with pytest.raises(UserError, match="row 1 of its split has ''"):
        opened(tmp_path / "d")


def test_an_image_that_is_only_a_path_is_told(tmp_path):
    table = pa.table({"image": [f"{i}.png" for i in range(6)], "label": [i % 2 for i in range(6)]})
    write(tmp_path / "a.parquet", table)
    with pytest.raises(ValueError, match="its image is the file 0.png, which is not in the row"):
        opened(tmp_path).train[0]
