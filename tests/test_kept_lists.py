"""Lists of large data that are kept between runs: folders of images, and tar files."""

import os

import numpy as np
import pytest
from test_pipelines import write_tar

from vitax.data import kept_folders, tar_rows
from vitax.data.folder import folder
from vitax.data.holdout import by_class
from vitax.data.identity import identity
from vitax.data.tar_rows import TarRows
from vitax.errors import UserError
from vitax.specs import RGB

OLD = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of three classes that is large enough to be kept, and has not been changed for years."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_folders, "LEAST", 5)
    root = tmp_path / "data"
    for name, count in (("cat", 3), ("dog", 4), ("d\u00f6g", 2)):
        (root / name / "inner").mkdir(parents=True)
        for i in range(count):
            (root / name / ("inner" if i else "") / f"{i}.jpg").touch()
    (root / "cat" / "notes.md").touch()
    age(root)
    return root


def age(root):
    for place, _, _ in os.walk(root):
        os.utime(place, OLD)


def opened(root):
    return folder(path=str(root), train="train", test="test", test_fraction=0.3, pixels=RGB)


def test_a_kept_list_tells_what_the_folder_holds(kept, monkeypatch, caplog):
    first = opened(kept)
    assert len(list((kept.parent / "cache" / "vitax" / "folders").iterdir())) == 1
    monkeypatch.setattr("os.walk", None)  # the second time, nothing is listed
    caplog.clear()
    again = opened(kept)
    for one, other in zip(first.sources(), again.sources(), strict=True):
        assert list(one.paths) == list(other.paths)
        assert [other.name(i) for i in range(len(other))] == list(one.paths)
        assert np.array_equal(one.labels, other.labels)
        assert one.class_names == other.class_names
        assert identity(one) == identity(other)
    assert "left aside, as no images: 1 .md" in caplog.text
    monkeypatch.undo()


@pytest.mark.parametrize("change", ["added", "removed", "deep", "class"])
def test_a_changed_folder_is_listed_again(kept, change):
    before = sorted(path for source in opened(kept).sources() for path in source.paths)
    new = {"added": "cat/new.jpg", "deep": "dog/inner/new.jpg", "class": "emu/1.jpg", "removed": "dog/0.jpg"}[change]
    if change == "removed":
        (kept / new).unlink()
    else:
        (kept / new).parent.mkdir(exist_ok=True)
        (kept / new).touch()
    if change == "class":
        (kept / "emu" / "2.jpg").touch()
    after = sorted(path for source in opened(kept).sources() for path in source.paths)
    assert (str(kept / new) in after) == (change != "removed")
    assert len(after) == len(before) + {"removed": -1, "class": 2}.get(change, 1)


def test_a_folder_that_was_changed_just_now_is_not_kept(kept):
    os.utime(kept / "cat", None)
    opened(kept)
    assert not (kept.parent / "cache" / "vitax" / "folders").exists()


def test_relative_paths_stay_as_they_are(kept, monkeypatch):
    monkeypatch.chdir(kept)
    first, again = opened("."), opened(".")
    assert isinstance(again.train.paths, kept_folders.Paths)
    assert list(first.train.paths) == list(again.train.paths)
    assert all(os.path.exists(path) for path in again.train.paths)


def test_classes_are_grouped_as_by_comparison():
    labels = np.random.default_rng(0).integers(0, 7, 100) * 3
    for label, index in by_class(labels):
        assert np.array_equal(index, np.flatnonzero(labels == label))
    assert sum(len(index) for _, index in by_class(labels)) == 100


def tars(tmp_path, *contents):
    for number, names in enumerate(contents):
        write_tar(tmp_path / f"{number}.tar", [(name, b"12") for name in names])
    return [str(tmp_path / f"{number}.tar") for number in range(len(contents))]


def test_rows_of_tars_come_from_the_kept_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = tars(tmp_path, ["a.jpg", "a.cls", "b.jpg"], [], ["c.jpg", "c.txt", "d.cls", "e.txt", "e.json"])
    labelled, pairs = (TarRows(files, labelled=which) for which in (True, False))
    assert [(row.key, row.label) for row in labelled] == [("a", 12), ("d", 12)]
    assert labelled.labels().tolist() == [12, 12]
    assert labelled.aside == {"image without .cls": 2, ".txt": 2, ".json": 1}
    assert [(row.file, row.key) for row in pairs] == [
        (files[0], "a"),
        (files[0], "b"),
        (files[2], "c"),
        (files[2], "e"),
    ]
    assert pairs.aside == {".cls": 2, ".json": 1}
    assert [row.key for row in pairs.part(1, 3)] == ["b", "c"]
    assert [row.key for row in pairs.part(1, 4).part(1, 3)] == ["c", "e"]
    with pytest.raises(IndexError):
        pairs[4]

    monkeypatch.setattr(tar_rows, "members", None)
    monkeypatch.setattr(tar_rows, "indexed", None)
    assert len(TarRows(files, labelled=True)) == 2  # opening reads no index of a tar file
    monkeypatch.undo()
    tar_rows._mapped.cache_clear()
    monkeypatch.setattr(tar_rows, "members", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [row.key for row in TarRows(files, labelled=False)] == ["a", "b", "c", "e"]


def test_a_tar_that_changes_after_it_was_opened_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = tars(tmp_path, ["a.jpg", "a.txt"])
    rows = TarRows(files, labelled=False)
    tars(tmp_path, ["b.jpg", "b.txt", "c.jpg", "c.txt"])
    tar_rows._mapped.cache_clear()
    assert rows[0].key == "a", "the kept index is that of the file as it was"
    for index in (tmp_path / "cache" / "vitax" / "tars").iterdir():
        index.unlink()
    tar_rows._mapped.cache_clear()
    with pytest.raises(UserError, match=r"0\.tar has changed since this run opened it"):
        rows[0]


def test_without_a_cache_the_headers_are_read(tmp_path, monkeypatch):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = TarRows(tars(tmp_path, ["a.jpg", "a.txt"]), labelled=False)
    assert [row.key for row in rows] == ["a"]
