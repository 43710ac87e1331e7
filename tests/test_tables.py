"""Tables of predictions, which go on after a stop."""

import csv
import json
import threading

import numpy as np
import pytest
from commands import refused
from PIL import Image

from vitax.data import tables
from vitax.errors import UserError
from vitax.prediction.ahead import ahead
from vitax.prediction.tables import Journal, write_table

pytestmark = pytest.mark.usefixtures("quick_compile")
ROWS = [
    {"file": "a, b.png", "label": "ä", "probability": 0.75, "top": [{"label": "ä", "probability": 0.75}, {"label": "c", "probability": 0.25}]},
    {"file": "c.png", "error": 'not an "image"'},
]  # fmt: skip


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "my photos").mkdir()
    for i in range(7):
        Image.fromarray(rng.integers(0, 255, (9, 8), dtype=np.uint8)).save(tmp_path / "my photos" / f"{i}.png")
    (tmp_path / "my photos" / "3.png").write_bytes(b"no image")
    return tmp_path / "my photos"


def test_the_formats(tmp_path):
    write_table(tmp_path / "a.csv", ROWS)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "file": "a, b.png",
        "label": "ä",
        "probability": "0.75",
        "label_2": "c",
        "probability_2": "0.25",
        "error": "",
    }
    assert (second["label"], second["error"]) == ("", 'not an "image"')
    write_table(tmp_path / "a.jsonl", ROWS)
    assert list(read_rows(tmp_path / "a.jsonl")) == ROWS
    several = {"file": "d.png", "labels": ["ä", "c"], "top": ROWS[0]["top"]}  # the first of which is nowhere else
    write_table(tmp_path / "b.csv", [several])
    with (tmp_path / "b.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["label_1"], row["probability_1"], row["label_2"]) == ("ä", "0.75", "c")
    (tmp_path / "b.csv").unlink()
    with pytest.raises(UserError, match="cannot be written"):
        write_table(tmp_path / "none" / "a.csv", ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.jsonl"]


def test_parquet(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="vitax[parquet] is not installed")
    write_table(tmp_path / "a.parquet", ROWS)
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert table[0]["top"] == ROWS[0]["top"]
    assert table[1]["error"] == ROWS[1]["error"]
    assert table[1]["label"] is None


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install .vitax\[parquet\]"):
        write_table(tmp_path / "a.parquet", ROWS)


def test_a_table_goes_on_where_it_stopped(tmp_path):
    table, about = tmp_path / "new" / "a.jsonl", {"step": 3}
    journal = Journal(table, about)
    journal.add(ROWS[0])
    journal.file.write('{"file": "half')  # killed in the middle of a line
    journal.file.close()
    again = Journal(table, about)
    assert again.rows == ROWS[:1]
    again.add(ROWS[1])
    again.finish()
    assert list(read_rows(table)) == ROWS
    assert [path.name for path in table.parent.iterdir()] == ["a.jsonl"]
    with pytest.raises(UserError, match="a.jsonl exists already"):
        Journal(table, about)
    table.unlink()
    Journal(table, about).file.close()
    with pytest.raises(UserError, match="holds rows of {'step': 3}, not of {'step': 4}"):
        Journal(table, {"step": 4})
    with Journal(table, about) as last:
        with pytest.raises(UserError, match="is being written by another process"):
            Journal(table, about)
        last.add({"file": "caf\udce9.jpg"})  # a name that is no text
        last.finish()
    assert list(read_rows(table)) == [{"file": "caf\udce9.jpg"}]


def test_predictions_as_a_table(trained, verb, photos, tmp_path):
    run, out = trained("vit"), tmp_path / "p.jsonl"
    printed = verb("predict", f"--workdir={run}", str(photos))
    done = verb("predict", f"--workdir={run}", f"--out={out}", str(photos))
    assert printed.returncode == done.returncode == 2, "one image is broken"
    assert out.read_text() == printed.stdout
    assert "p.jsonl: 7 rows, 1 of them with an error" in done.stdout
    # The first five rows are there from an earlier start.
    lines = out.read_text().splitlines(keepends=True)
    out.rename(tmp_path / "whole.jsonl")
    step = json.loads((run / "summary.json").read_text())["best"]["step"]
    about = {"run": str(run.resolve()), "checkpoint": str(step), "options": {}}
    (tmp_path / "p.jsonl.partial").write_text(json.dumps(about) + "\n" + "".join(lines[:5]) + '{"fi')
    again = verb("predict", f"--workdir={run}", f"--out={out}", "--batch_size=1", str(photos))
    assert "goes on after 5 rows" in again.stderr
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    out.unlink()
    (tmp_path / "p.jsonl.partial").write_text(json.dumps(about) + "\n" + "".join(lines[:5]))
    (photos / "0.png").unlink()
    changed = verb("predict", f"--workdir={run}", f"--out={out}", str(photos))
    assert changed.returncode == 2
    assert "error: the inputs have changed" in changed.stderr
    refused(
        verb("predict", f"--workdir={run}", f"--out={out}", "--top=2", str(photos)), "p.jsonl.partial holds rows of"
    )
    other = verb("predict", f"--workdir={run}", f"--out={out}", "--checkpoint=average", str(photos))
    refused(other, "p.jsonl.partial holds rows of")
    for path in photos.glob("[1-6].png"):
        path.unlink()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(photos / "0.png")
    fewer = verb("predict", f"--workdir={run}", f"--out={out}", str(photos))
    assert "1.png is done, and nothing is in its place now" in fewer.stderr
    refused(verb("predict", f"--workdir={run}", "--batch_size=-1", str(photos)), "--batch_size=-1")


def test_threads_work_ahead_and_keep_the_order():
    started, release = [], threading.Event()

    def work(i):
        started.append(i)
        if i == 0:
            release.wait(10)
        return i

    results = ahead(work, range(100), 8)
    before = []
    waiting = threading.Thread(target=lambda: (threading.Event().wait(0.2), before.append(len(started)), release.set()))
    waiting.start()
    assert list(results) == list(range(100))
    waiting.join()
    assert 1 < before[0] < 100, "others began while the first was waiting, but not all of them"
    assert len(started) == 100
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda x: 1 / x, [1, 0, 1], 2))


def test_a_carriage_return_in_a_text_is_no_new_row(tmp_path):
    rows = [{"text": "good\rnice", "label": "a"}, {"text": 'x\r\ny, "z"', "label": "b"}]
    write_table(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows


def test_a_number_may_be_called_top(tmp_path):
    write_table(tmp_path / "t.csv", [{"file": "a.png", "top": 1.5}])
    assert (tmp_path / "t.csv").read_text() == "file,top\na.png,1.5\n"


def test_keys_twice_and_fields_in_quotes(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1, "label": 2}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "a", "label": 1, "Label": 2}\n')
    (tmp_path / "c.tsv").write_text('text\tlabel\n"He said ""hi"""\t1\n')
    with pytest.raises(UserError, match="'label' occurs twice"):
        tables.read_rows(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="several columns 'label'"):
        tables.read_rows(tmp_path / "b.jsonl")
    assert tables.read_rows(tmp_path / "c.tsv")[0]["text"] == '"He said ""hi"""'
    assert "is read without quoting" in caplog.text
