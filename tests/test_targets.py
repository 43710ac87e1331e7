"""Images and texts with several labels, or with numbers: their tables, losses, scores, and a run of each."""

import functools
import inspect
import io
import json
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ROOT, run
from PIL import Image
from small import SMALL, variables_of

from vitax import losses, pretrained
from vitax.data.target_columns import labels_of, values_of
from vitax.data.targets import image_targets, parquet_targets, text_targets
from vitax.errors import UserError
from vitax.evals.targets import average_precisions, explained, macro_f1
from vitax.pipelines import KINDS
from vitax.prediction import load_run
from vitax.prediction.images import threshold_of
from vitax.pretrained.preprocessing import Preprocessing
from vitax.specs import RGB, ImageSpec, TargetSpec, TextSpec
from vitax.tasks import TASKS

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture
def photos(tmp_path):
    for i in range(10):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def opened(path, read, columns=(), **options):
    arguments = dict(path=str(path), train="train", test="test", test_fraction=0.3, pixels=RGB) | options
    return image_targets(read, columns=columns, **arguments)


def opened_as(kind, config):
    return KINDS[kind].open(functools.partial(from_values, config))


def from_values(config, function, *args):
    names = function.__kwdefaults__ or {}
    keys = [key for key, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]
    return function(*args, **{key: config[key] for key in keys if key in config or key not in names})


def contents(splits):
    found = [source[i] for source in splits.sources() for i in range(len(source))]
    return sorted((int(x["image"][0, 0, 0]), *x["target"].tolist()) for x in found)


TAGS = ["cat;dog", "dog", "", "cat", "dog;cat", "bird", "bird;cat", "", "dog", "cat"]


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_one_column_lists_the_labels(photos, separator):
    rows = [f'{i}.png\t"{tags.replace(";", separator)}"\n'.replace('"', "") for i, tags in enumerate(TAGS)]
    (photos / "t.tsv").write_text("File\tTags\n" + "".join(rows))
    splits = opened(photos / "t.tsv", labels_of)
    assert splits.train.class_names == ("bird", "cat", "dog")
    expected = [(i, *(float(name in tags) for name in ("bird", "cat", "dog"))) for i, tags in enumerate(TAGS)]
    assert contents(splits) == expected
    assert (len(splits.train), len(splits.test)) == (7, 3)


def test_a_list_of_labels_and_a_column_of_splits(photos):
    kinds = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    lines = [
        json.dumps({"image": f"{i}.png", "labels": [tag for tag in tags.split(";") if tag], "split": kind})
        for i, (tags, kind) in enumerate(zip(TAGS, kinds, strict=True))
    ]
    (photos / "t.jsonl").write_text("\n".join(lines))
    splits = opened(photos / "t.jsonl", labels_of)
    assert [len(source) for source in splits.sources()] == [6, 2, 2]
    assert splits.test.name(0).endswith("8.png")


def test_a_column_for_each_label_may_have_gaps(photos):
    rows = [f"{i}.png,{i % 2},{'' if i == 3 else int(i > 4)}\n" for i in range(10)]
    (photos / "t.csv").write_text("file,Odd,large\n" + "".join(rows))
    found = contents(opened(photos / "t.csv", labels_of, ("Odd", "large")))
    assert [row[1] for row in found] == [i % 2 for i in range(10)]
    assert np.isnan(found[3][2])
    assert found[5][2] == 1


def test_numbers_with_their_units(photos):
    rows = [f"{i}.png,{i * 1.5},{'' if i == 2 else 10 - i}\n" for i in range(10)]
    for split, part in (("train", rows[:7]), ("test", rows[7:])):
        (photos / f"{split}.csv").write_text("file,Age,height\n" + "".join(part))
    splits = opened(photos, values_of, ("Age", "height"))
    assert splits.train.class_names == ("Age", "height")
    found = contents(splits)
    assert [row[1] for row in found] == [i * 1.5 for i in range(10)]
    assert np.isnan(found[2][2])


@pytest.mark.parametrize(
    ("text", "read", "columns", "message"),
    [
        ("file,a,b\n0.png,1,2\n1.png,0,1\n", labels_of, ("a", "b"), "row 1 has '2' in the column 'b', where 0 or 1"),
        ("file,tags\n0.png,x\n1.png,x\n", labels_of, (), "1 different labels in the column 'tags'"),
        ("file,value\n0.png,x\n1.png,1\n", values_of, (), "row 1 has 'x' in the column 'value', where a number"),
        ("file,value\n0.png,inf\n1.png,1\n", values_of, (), "not finite"),
        ("file,value\n0.png,1\n1.png,1\n", values_of, ("age",), "none is 'age'"),
        ("file,number\n0.png,1\n1.png,1\n", values_of, (), "has the columns file, number; a column of values"),
        ("file,value\n0.png,1\nx.png,1\n", values_of, (), "row 2 names .*x.png, which is not there"),
        ("file,value,split\n0.png,1,train\n1.png,1,other\n", values_of, (), "has 'train' .1., 'other' .1."),
    ],
)
def test_what_is_no_target_is_refused(photos, text, read, columns, message):
    (photos / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(photos / "t.csv", read, columns)


def test_a_split_with_another_name_is_not_guessed(photos):
    rows = [f"{i}.png,{i}\n" for i in range(10)]
    for split in ("train", "test", "val"):
        (photos / f"{split}.csv").write_text("file,value\n" + "".join(rows))
    for options in (dict(train="trian"), dict(test="tets")):
        with pytest.raises(UserError, match="holds no "):
            opened(photos, values_of, **options)
    lines = [f"{i}.png,{i},{'train' if i < 5 else 'test'}\n" for i in range(10)]
    (photos / "t.csv").write_text("file,value,split\n" + "".join(lines))
    with pytest.raises(UserError, match="expected train, test and perhaps val"):
        opened(photos / "t.csv", values_of, train="fold1")


def test_labels_that_are_numbers_lists_or_neither(photos):
    def table(values, columns=()):
        lines = [json.dumps({"image": f"{i}.png", "labels": value}) for i, value in enumerate(values)]
        (photos / "t.jsonl").write_text("\n".join(lines))
        return opened(photos / "t.jsonl", labels_of, columns)

    assert table([0, 1, 2, 0]).train.class_names == ("0", "1", "2")
    assert table([0, 1, 1, 0.0, True, None], ("labels",)).train.class_names == ("labels",)
    for values, columns, message in (
        ([0.7, 1, 0, 1], ("labels",), "row 1 has 0.7 .*labels belong"),
        ([{"cat": 1}, "a", "b", "c"], (), "row 1 has .*where labels belong"),
        (["a;b", "a|c", "b", "c"], (), "separated by both ; and"),
    ):
        with pytest.raises(UserError, match=message):
            table(values, columns)


def test_losses_by_hand(rng):
    logits, labels = rng.normal(size=(4, 3)).astype(np.float32) * 5, rng.integers(0, 2, (4, 3)).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    by_hand = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    assert np.allclose(losses.binary_cross_entropy(logits, labels), by_hand, rtol=1e-5, atol=1e-6)
    errors = np.array([-3.0, -0.5, 0, 0.4, 2], np.float32)
    assert np.allclose(losses.huber(errors, 0 * errors, 1.0), [2.5, 0.125, 0, 0.08, 1.5])
    assert np.allclose(losses.half_squared_error(errors, 0 * errors), errors**2 / 2)


SPEC = ImageSpec((16, 24), 3, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("name", "settings"), [("multilabel", {}), ("regression", {"error": "l1"}), ("regression", {"error": "huber"})]
)
def test_what_is_unknown_or_invalid_counts_nowhere(name, settings):
    spec = TargetSpec(SPEC, ("a", "b", "c"), (1.0, 0.0, 5.0), (2.0, 1.0, 0.5))
    model = SMALL["vit"].model
    task = TASKS[name].factory(model, spec, **settings)
    variables = variables_of(model, (np.zeros((1, 16, 24, 3), np.float32),))
    target = np.array([[0, 1, np.nan], [1, np.nan, 1], [1, 1, 1]], np.float32)
    batch = {"image": np.full((3, 16, 24, 3), 99, np.uint8), "target": target, "valid": np.array([True, True, False])}
    value = lambda batch: jax.value_and_grad(lambda v: task.loss(v, batch, jax.random.key(0), True)[0])(variables)
    first, gradient = value(batch)
    other = batch | {"target": np.where(np.isnan(target), np.nan, target) + np.array([[0], [0], [7]], np.float32)}
    assert float(first) == float(value(other)[0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    _, aux = task.loss(variables, batch, jax.random.key(0), False)
    assert {key: float(count) for key, (_, count) in aux.metrics.items()} == dict.fromkeys(aux.metrics, 4.0)
    if name == "regression":
        values = np.asarray(task.predict(variables, batch)["values"])
        known = np.isfinite(target) & batch["valid"][:, None]
        assert float(aux.metrics["mae"][0]) == pytest.approx(np.abs(values - target)[known].sum(), rel=1e-5)


@pytest.mark.parametrize("name", ["text_multilabel", "text_regression"])
def test_targets_of_texts_count_as_those_of_images(name, rng):
    spec = TargetSpec(TextSpec(12, 30, 0, 2, 3, 4), ("a", "b"), (1.0, 0.0), (2.0, 1.0))
    task = TASKS[name].factory(SMALL["fnet-hybrid"].model, spec)
    batch = {"tokens": rng.integers(5, 30, (3, 12)).astype(np.int32), "segments": np.zeros((3, 12), np.int32)}
    batch |= {"target": np.array([[0, 1], [1, np.nan], [1, 1]], np.float32), "valid": np.array([True, True, False])}
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    variables = jax.tree.map(lambda x: (rng.normal(size=x.shape) * 0.1).astype(np.float32), shapes)
    value, aux = task.loss(variables, batch, jax.random.key(0), False)
    out = task.predict(variables, batch)
    known = np.isfinite(batch["target"]) & batch["valid"][:, None]
    assert float(aux.metrics["loss"][1]) == known.sum() == 3
    if name == "text_regression":
        by_hand = ((np.asarray(out["values"]) - batch["target"]) / np.array([2, 1])) ** 2 / 2
    else:
        p = np.asarray(out["probabilities"], np.float64)
        by_hand = -np.where(batch["target"] == 1, np.log(p), np.log(1 - p))
    assert float(value) == pytest.approx(by_hand[known].mean(), rel=1e-4)


def test_scores_by_hand():
    probabilities = np.array([[0.9, 0.2], [0.8, 0.6], [0.3, 0.7], [0.1, 0.4]])
    labels = np.array([[1, 0], [0, 1], [1, np.nan], [0, 1]])
    assert np.allclose(average_precisions(probabilities, labels), [(1 + 2 / 3) / 2, 1.0])
    assert macro_f1(probabilities, labels, 0.5) == pytest.approx((2 * 1 / (2 + 2) + 2 * 1 / (1 + 2)) / 2)
    values, targets = np.array([[1.0, 3], [2, 5], [3, 4]]), np.array([[1.0, 3], [2, np.nan], [4, 5]])
    assert np.allclose(explained(values, targets), [1 - 1 / (14 / 3), 1 - 1 / 2])


def test_runs_of_both(tmp_path, rng):
    for i in range(40):
        picture = np.full((16, 16, 3), 20 + 5 * i, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,{'dark' if i < 20 else 'light'};{'even' if i % 2 == 0 else 'odd'},{100 + i}\n" for i in range(40)]
    (tmp_path / "t.csv").write_text("file,tags,value\n" + "".join(rows))
    model = SMALL["vit"].replaced(image_size=(16, 16))
    images = Preprocessing((0.5,) * 3, (0.25,) * 3, 1.0, "bicubic", image_size=(16, 16))
    variables = variables_of(model, (np.zeros((1, 16, 16, 3), np.float32),))
    pretrained.save(tmp_path / "hub", model, variables, "timm ViT", images=images)
    for name, columns in (("multilabel", "('dark','light')"), ("regression", "()")):
        if name == "multilabel":
            lines = [f"{i}.png,{int(i < 20)},{int(i >= 20)}\n" for i in range(40)]
            (tmp_path / "l.csv").write_text("file,dark,light\n" + "".join(lines))
        table = tmp_path / ("l.csv" if name == "multilabel" else "t.csv")
        done = run(
            "main", f"--config={ROOT}/configs/finetune.py:{name}", f"--config.init_from={tmp_path / 'hub'}",
            f"--config.data.path={table}", f"--config.data.targets={columns}", "--config.duration=4 steps",
            "--config.optim.warmup=1 steps", "--config.evals.every=4 steps", "--config.checkpoint.every=4 steps",
            "--config.data.validation=", "--config.batch_size=8", f"--workdir={tmp_path / name}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        metrics = json.loads((tmp_path / name / "summary.json").read_text())["metrics"]
        assert ("test/map" if name == "multilabel" else "test/mae_value") in metrics
        report = (tmp_path / name / "report.html").read_text()
        assert "could not be made" not in report
        assert ("average precision" if name == "multilabel" else "Predicted and true") in report
    said = run("predict", f"--workdir={tmp_path / 'multilabel'}", str(tmp_path / "3.png"), "--threshold=0.0")
    assert json.loads(said.stdout)["labels"] == ["dark", "light"]
    # A table of other numbers is measured on the scale of the training, and not on its own.
    (tmp_path / "t2.csv").write_text("file,tags,value\n" + "".join(f"{i}.png,dark,{1100 + i}\n" for i in range(40)))
    assert (
        run(
            "main", f"--workdir={tmp_path / 'regression'}", "--mode=eval", f"--config.data.path={tmp_path / 't2.csv'}"
        ).returncode
        == 0
    )
    line = json.loads((tmp_path / "regression" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert line["test/mae_value"] > 900
    said = run("predict", f"--workdir={tmp_path / 'regression'}", str(tmp_path / "3.png"))
    assert 50 < json.loads(said.stdout)["value"] < 200, "in the units of the data"
    said = run(
        "explain", f"--workdir={tmp_path / 'multilabel'}", str(tmp_path / "3.png"), "--class=light", f"--out={tmp_path}"
    )
    assert json.loads(said.stdout)["class"] == "light"
    said = run("predict", f"--workdir={tmp_path / 'regression'}", str(tmp_path / "3.png"))
    predicted = json.loads(said.stdout)["value"]
    said = run("explain", f"--workdir={tmp_path / 'regression'}", str(tmp_path / "3.png"), f"--out={tmp_path}")
    row = json.loads(said.stdout)
    assert (row["target"], row["value"]) == ("value", pytest.approx(predicted, rel=1e-4)), said.stderr
    assert Path(row["output"]).is_file()


def test_labels_and_numbers_of_images_in_parquet(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    each = [[i % 3] if i % 2 else [0, 2] for i in range(10)]
    names = ["red", "green", "blue"]
    about = {"labels": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    (tmp_path / "data").mkdir()
    for split, numbers in (("train", range(6)), ("test", range(6, 10))):
        columns = dict(image=[png(i) for i in numbers], labels=[each[i] for i in numbers], Age=[i / 2 for i in numbers])
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})})
        pq.write_table(table, tmp_path / f"data/{split}-00000-of-00001.parquet")
    options = dict(path=str(tmp_path / "data"), train="train", test="test", test_fraction=0.3, pixels=RGB)
    splits = parquet_targets(labels_of, columns=(), **options)
    assert splits.train.class_names == ("blue", "green", "red"), "names of the schema, not numbers"
    assert contents(splits) == [
        (i, *(float(name in {names[k] for k in each[i]}) for name in ("blue", "green", "red"))) for i in range(10)
    ]
    found = parquet_targets(values_of, columns=("age",), **options)
    assert contents(found) == [(i, i / 2) for i in range(10)]
    assert [len(source) for source in found.sources()] == [6, 4]
    with pytest.raises(UserError, match="none is 'weight'"):
        parquet_targets(values_of, columns=("weight",), **options)


def write(folder, **tables):
    """Tables of a folder, {name: text}, as .csv."""
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)


def test_what_a_test_table_lacks_or_hides_is_refused(tmp_path):
    options = dict(path=str(tmp_path), train="train", test="test", test_fraction=0.3, columns=())
    learned = "text,tags,score\n" + "".join(f"words {i},{'a;b' if i % 2 else 'b'},{i}\n" for i in range(6))
    write(tmp_path, train=learned, test="id,text\n1,one\n2,two\n")
    for read in (labels_of, values_of):
        with pytest.raises(UserError, match=r"test.csv has the columns id, text, and none is '(tags|score)'"):
            text_targets(read, **options)
    write(tmp_path, test="text,score\none,-1.0\ntwo,-1.0\n")
    config = dict(name="table", path=str(tmp_path), length=16, vocab_size=300)
    with pytest.raises(
        UserError, match="'score' is -1 in all examples of a test or validation split, .* seems to be hidden"
    ):
        opened_as("text_values", config)
    (tmp_path / "test.csv").unlink()
    rows = [
        {"text": "one", "tags": ["a"]},
        {"text": "two", "tags": None},
        {"text": "three", "tags": []},
        {"text": "four", "tags": ["b"]},
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = text_targets(labels_of, **options | dict(path=str(tmp_path / "all.jsonl"), test_fraction=0.25))
    each = {
        source[i]["texts"][0]: source[i]["target"].tolist() for source in found.sources() for i in range(len(source))
    }
    assert np.isnan(each.pop("two")).all(), "null is unknown"
    assert each == {"one": [1, 0], "three": [0, 0], "four": [0, 1]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 0, 1], [0, 1, 0]], "lists of 3 zeros and ones, without the names"),
        (["['x', 'y']", "['z']"], "write its labels as a;b"),
        (["x;x", "y"], "a label is named twice"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path, values, message):
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": "a", "tags": value}) for value in values))
    with pytest.raises(UserError, match=message):
        text_targets(
            labels_of, path=str(tmp_path / "t.jsonl"), train="train", test="test", test_fraction=0.5, columns=()
        )


def test_splits_that_are_unclear_are_refused(tmp_path):
    options = dict(path=str(tmp_path), train="train", test="test", test_fraction=0.3, columns=())
    rows = lambda *splits: "text,score,split\n" + "".join(f"words {i},{i},{split}\n" for i, split in enumerate(splits))
    opened = lambda **more: [len(source) for source in text_targets(values_of, **options | more).sources()]
    write(tmp_path, test="text,score\na,1\nb,2\n")
    with pytest.raises(UserError, match=r"holds no train.csv and test.csv, but test.csv"):
        opened()
    write(tmp_path, train=rows("train", "train", "val"))
    with pytest.raises(UserError, match="has a column 'split', and there is a table for each split"):
        opened()
    file = str(tmp_path / "a.csv")
    write(tmp_path, a=rows("train", "training", "test"))
    with pytest.raises(UserError, match="expected train, test and perhaps val"):
        opened(path=file)
    write(tmp_path, a=rows("train", "train", "val", "test"))
    assert opened(path=file) == [2, 1, 1]
    assert opened(path=file, test="val") == [2, 1], "as data.validation=val asks for"
    assert text_targets(values_of, **options | dict(path=file)).test.name(0).startswith(f"{file}:4 "), (
        "the row in its table"
    )
    write(tmp_path, a="text,score,set\na,1,7\nb,2,8\n")
    with pytest.raises(UserError, match="the column 'set' has '7' .1., '8' .1.; .* or rename the column"):
        opened(path=file)
    write(tmp_path, a="text,score\na,1\nb,2\n")
    with pytest.raises(UserError, match="has no column of splits"):
        opened(path=file, train="bar", test="foo")
    with pytest.raises(UserError, match="names a column twice"):
        opened(path=file, columns=("score", "Score"))
    write(tmp_path, a="text,score\na,1_000\nb,2\n")
    with pytest.raises(UserError, match="where a number belongs"):
        opened(path=file)


def test_shards_with_other_classes_and_rows_of_all_splits_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for k, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        about = {"info": {"features": {"labels": {"feature": {"names": names, "_type": "ClassLabel"}}}}}
        table = pa.table({"image": [png(k), png(k)], "labels": [[0], [1]]})
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps(about)}),
            tmp_path / f"train-{k:05d}-of-00002.parquet",
        )
    options = dict(train="train", test="test", test_fraction=0.3, pixels=RGB, columns=())
    with pytest.raises(UserError, match=r"00001-of-00002.parquet has other classes in the column 'labels'"):
        parquet_targets(labels_of, path=str(tmp_path), **options)
    pq.write_table(
        pa.table({"image": [png(0), png(1)], "value": [1.0, 2.0], "split": ["train", "test"]}), tmp_path / "one.parquet"
    )
    with pytest.raises(UserError, match="has a column 'split': write the rows of each split to files of their own"):
        parquet_targets(values_of, path=str(tmp_path / "one.parquet"), **options)


def test_texts_with_numbers_and_with_labels(tmp_path):
    rows = [f"a sentence {i}\tanother {i}\t{i / 2}\t{'x;y' if i % 2 else 'y'}\n" for i in range(10)]
    for split, part in (("train", rows[:5]), ("dev", rows[5:7]), ("test", rows[7:])):
        (tmp_path / f"{split}.tsv").write_text("sentence1\tsentence2\tscore\ttags\n" + "".join(part))
    options = dict(path=str(tmp_path), train="train", test="test", test_fraction=0.3)
    splits = text_targets(values_of, columns=(), **options)
    assert [len(source) for source in splits.sources()] == [5, 3, 2]
    assert splits.test[0]["texts"] == ("a sentence 7", "another 7")
    assert splits.test[0]["target"] == [3.5]
    assert text_targets(labels_of, columns=(), **options).train.targets[:2].tolist() == [[0, 1], [1, 1]]
    (tmp_path / "test.tsv").write_text("sentence1\tscore\tb\tc\nalone\t1\t\t\n")
    with pytest.raises(UserError, match="some of the tables have pairs"):
        text_targets(values_of, columns=(), **options)


def test_runs_of_texts(tmp_path):
    words = ["small", "large", "quiet", "noisy"]
    lines = [f"a {a} house and a {b} street {i}" for i, (a, b) in enumerate([(a, b) for a in words for b in words] * 3)]
    rows = [
        f"{text},{len(text)},{int('small' in text)},{int('noisy' in text)},{'test' if i % 4 == 0 else 'train'}\n"
        for i, text in enumerate(lines)
    ]
    (tmp_path / "t.csv").write_text("text,letters,small,noisy,split\n" + "".join(rows))
    small = [
        f"--config.model.{key}={value}" for key, value in dict(width=32, depth=1, num_heads=2, mlp_width=64).items()
    ]
    for name, columns in (("text_multilabel", "('small','noisy')"), ("text_regression", "('letters',)")):
        done = run(
            "main", f"--config={ROOT}/configs/bert_finetune.py:demo", f"--config.task.name={name}",
            "--config.data.name=table", f"--config.data.path={tmp_path / 't.csv'}", f"--config.data.targets={columns}",
            "--config.data.vocab_size=300", "--config.duration=40 steps", "--config.optim.warmup=5 steps",
            "--config.optim.learning_rate=3e-3", "--config.evals.every=20 steps", "--config.checkpoint.every=20 steps",
            f"--config.data.validation={'20%' if name == 'text_multilabel' else ''}",
            f"--config.evals.best=test/{'map' if name == 'text_multilabel' else 'mae'}",
            f"--config.evals.mode={'max' if name == 'text_multilabel' else 'min'}", "--config.batch_size=32",
            "--config.data.buckets=(16,)", f"--workdir={tmp_path / name}", *small,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        metrics = json.loads((tmp_path / name / "summary.json").read_text())["metrics"]
        assert metrics["test/map"] > 0.9 if name == "text_multilabel" else metrics["test/r2"] > 0
        report = (tmp_path / name / "report.html").read_text()
        assert "could not be made" not in report
        assert lines[0] in report or lines[4] in report, "texts, not pictures"
    (tmp_path / "lines.txt").write_text("a small house and a noisy street\n")
    path = str(tmp_path / "lines.txt")
    said = run("predict", f"--workdir={tmp_path / 'text_multilabel'}", path, "--threshold=0.0")
    assert json.loads(said.stdout)["labels"] == ["small", "noisy"]
    measured = json.loads((tmp_path / "text_multilabel/metrics.jsonl").read_text().splitlines()[-1])[
        "val/best_threshold"
    ]
    assert run("predict", f"--workdir={tmp_path / 'text_multilabel'}", path, "--threshold=val").returncode == 0
    assert threshold_of(load_run(tmp_path / "text_multilabel", "last"), "val") == measured
    said = run("predict", f"--workdir={tmp_path / 'text_multilabel'}", path, "--threshold=high")
    assert "neither a number in 0..1 nor val" in said.stderr
    said = run("predict", f"--workdir={tmp_path / 'text_regression'}", path)
    predicted = json.loads(said.stdout)["letters"]
    assert 25 < predicted < 45, "in the units of the data"
    said = run("explain", f"--workdir={tmp_path / 'text_regression'}", path, f"--out={tmp_path}")
    row = json.loads(said.stdout)
    assert (row["target"], row["value"]) == ("letters", pytest.approx(predicted, rel=1e-4)), said.stderr
    assert len(row["words"]["relevance"]) > 3
    said = run("explain", f"--workdir={tmp_path / 'text_multilabel'}", path, "--class=noisy", f"--out={tmp_path}")
    assert json.loads(said.stdout)["class"] == "noisy", said.stderr
    said = run("export", f"--workdir={tmp_path / 'text_multilabel'}", "--format=hf", f"--out={tmp_path / 'hf'}")
    assert json.loads((tmp_path / "hf/config.json").read_text())["problem_type"] == "multi_label_classification"
    said = run("export", f"--workdir={tmp_path / 'text_regression'}", "--format=stablehlo", f"--out={tmp_path / 'hlo'}")
    assert said.returncode == 0, said.stderr


def test_soft_labels_are_what_a_classification_learns(tmp_path, photos):
    rows = [f"{i}.png,{9 - i % 4},{i % 4},{1 if i == 3 else 0},{'test' if i > 6 else 'train'}\n" for i in range(10)]
    (photos / "t.csv").write_text("file,Cat,dog,bird,split\n" + "".join(rows))
    options = dict(name="table", path=str(photos / "t.csv"), targets=("cat", "dog", "bird"))
    config = dict(image_size=(4, 4), mean=(0.5,) * 3, std=(0.5,) * 3, crop="center", flip=False, **options)
    pipeline = opened_as("images", config)
    example = pipeline.splits.train[3]
    assert np.allclose(example["target"], [0.6, 0.3, 0.1])
    assert example["label"] == 0
    assert pipeline.reader.record["class_names"] == ["cat", "dog", "bird"]
    assert pipeline.reader.blank["target"].shape == (3,)
    for text, message in (
        ("file,a,b\n0.png,1,\n", "which are not shares"),
        ("file,a,b\n0.png,0,0\n", "which are not shares"),
        ("file,a,b\n0.png,-1,3\n", "which are not shares"),
    ):
        (photos / "t.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            opened_as("images", config | dict(targets=("a", "b")))
    with pytest.raises(UserError, match="a column for each class, two or more"):
        opened_as("images", config | dict(targets=("a",)))
    (photos / "t.csv").write_text("file,error\n" + "".join(f"{i}.png,{i}\n" for i in range(8)))
    with pytest.raises(UserError, match="predictions have a column 'error' of their own"):
        opened_as("values", config | dict(targets=("error",)))
    with pytest.raises(UserError, match="soft labels are for a classification with data.name='table'"):
        opened_as("images", config | dict(name="digits", path=""))
    # The loss is the cross entropy with the shares, in training and in the test.
    model = SMALL["vit"].replaced(image_size=(16, 24), num_classes=3)
    task = TASKS["classification"].factory(model, SPEC)
    variables = variables_of(model, (np.zeros((1, 16, 24, 3), np.float32),))
    batch = {
        "image": np.full((2, 16, 24, 3), 99, np.uint8),
        "label": np.array([0, 1], np.int32),
        "valid": np.array([True, True]),
    }
    batch["target"] = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], np.float32)
    logits = np.asarray(task.predict(variables, batch)["logits"], np.float64)
    by_hand = -(batch["target"] * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1)
    loss, _ = task.loss(variables, batch, jax.random.key(0), False)
    assert float(loss) == pytest.approx(by_hand.mean(), rel=1e-5)
