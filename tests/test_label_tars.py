"""Labelled images in tar files, as WebDataset writes them."""

import io
import logging
import shutil
import subprocess
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vitax.data import open_source
from vitax.data.tar_index import expanded, members
from vitax.errors import UserError
from vitax.specs import RGB


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def image(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def shard(path, numbers, label=lambda i: i % 3, more=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for i in numbers:
            add(archive, f"train/{i:04d}.png", image(i))
            add(archive, f"train/{i:04d}.cls", str(label(i)).encode())
            add(archive, f"train/{i:04d}.json", b"{}")
        for name, data in more:
            add(archive, name, data)


def opened(path):
    return open_source("tars", path=str(path), train="train", test="test", test_fraction=0.34, pixels=RGB)


def contents(source):
    return [(int(x["image"][0, 0, 0]), int(x["label"])) for x in (source[i] for i in range(len(source)))]


def test_shards_in_order_with_their_labels(tmp_path):
    for n in range(3):
        shard(tmp_path / "d" / f"data-{n:03d}.tar", range(4 * n, 4 * n + 4))
    splits = opened(tmp_path / "d")
    assert contents(splits.train) == [(i, i % 3) for i in range(8)]
    assert contents(splits.test) == [(i, i % 3) for i in range(8, 12)]
    assert splits.train.class_names == ("0", "1", "2")
    pattern = opened(f"{tmp_path}/d/data-{{000..002}}.tar")
    assert contents(pattern.train) == contents(splits.train)
    assert [splits.train.name(i) for i in range(2)] == [f"{tmp_path}/d/data-000.tar:train/000{i}" for i in range(2)]
    again = opened(tmp_path / "d")  # from the index
    assert contents(again.test) == contents(splits.test)
    with pytest.raises(UserError, match=r"names 2 tar files that are not there, for example .*data-003.tar"):
        opened(f"{tmp_path}/d/data-{{000..004}}.tar")


def test_keys_with_dots(tmp_path):
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for i in range(3):
                add(archive, f"photo.{i}.png", image(i))
                add(archive, f"photo.{i}.cls", str(i).encode())
    assert contents(opened(tmp_path).train) == [(i, i) for i in range(3)]


def test_folders_of_splits_and_names_of_classes(tmp_path):
    for split, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        shard(tmp_path / "d" / split / "0.tar", numbers)
    (tmp_path / "d" / "classes.txt").write_text("ant\nbee\ncow\n")
    splits = opened(tmp_path / "d")
    assert [len(source) for source in splits.sources()] == [6, 3, 3]
    assert splits.test.class_names == ("ant", "bee", "cow")
    (tmp_path / "d" / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(UserError, match="has 2 names, and the tar files have 3 classes"):
        opened(tmp_path / "d")


def test_what_has_no_label_is_told_and_what_has_no_image_is_unreadable(tmp_path, caplog):
    more = [("train/lone.png", image(9)), ("train/only.cls", b"1"), ("train/0000.txt", b"a caption")]
    shard(tmp_path / "0.tar", range(3), more=more)
    shard(tmp_path / "1.tar", range(3))
    with caplog.at_level(logging.WARNING):
        splits = opened(tmp_path)
    assert "image without .cls" in caplog.text
    assert len(splits.train) == 4
    with pytest.raises(ValueError, match="a label without an image"):
        splits.train[3]


@pytest.mark.parametrize("label", ["cat", "-1", "", "1.5"])
def test_a_label_that_is_no_number_is_refused(tmp_path, label):
    shard(tmp_path / "0.tar", range(3), label=lambda i: label)
    shard(tmp_path / "1.tar", range(3))
    with pytest.raises(UserError, match=f"0000.cls holds '{label}', not the number of a class"):
        opened(tmp_path)


def test_other_wrong_tars(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        opened(tmp_path / "none")
    shard(tmp_path / "one" / "0.tar", range(3))
    with pytest.raises(UserError, match="a test needs another one"):
        opened(tmp_path / "one" / "0.tar")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "0.png", image(1))
        add(archive, "0.txt", b"a caption")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        add(archive, "1.png", image(1))
    with pytest.raises(UserError, match="have no labels; expected tar files with pairs KEY.jpg"):
        opened(tmp_path)


def test_a_pattern_stands_for_its_files():
    assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expanded("a.tar") == ["a.tar"]


def test_what_would_be_left_out_is_refused_or_told(tmp_path, caplog):
    shard(tmp_path / "a.tar", range(6))
    shard(tmp_path / "b.tar", range(6, 12))
    joined = tmp_path / "joined"
    joined.mkdir()
    (joined / "ab.tar").write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    with pytest.raises(UserError, match="another tar file follows"):
        members(str(joined / "ab.tar"), Counter())
    with tarfile.open(joined / "c.tar", "w") as archive:
        add(archive, "1.cls", b"0")
        link = tarfile.TarInfo("2.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "1.jpg"
        archive.addfile(link)
    with pytest.raises(UserError, match=r"2.jpg is a link to 1.jpg"):
        members(str(joined / "c.tar"), Counter())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.tar").write_bytes((tmp_path / "a.tar").read_bytes())
    (tmp_path / "e.tar.gz").write_bytes(b"")
    for file in joined.iterdir():
        file.unlink()
    with caplog.at_level(logging.WARNING):
        opened(tmp_path)
    assert "left aside, 2 further tar files, such as e.tar.gz, more/d.tar" in caplog.text


@pytest.mark.parametrize(("fraction", "tested"), [(0.75, 1), (0.2, 1), (0.0, 0), (1.5, 0)])
def test_any_share_leaves_a_file_to_learn_from(tmp_path, fraction, tested):
    for n in range(2):
        shard(tmp_path / f"data-{n}.tar", range(3))
    given = dict(path=str(tmp_path), train="train", test="test", test_fraction=fraction, pixels=RGB)
    if tested:
        assert len(open_source("tars", **given).test) == 3 * tested
        return
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        open_source("tars", **given)


def test_numbers_that_are_no_classes_are_refused(tmp_path):
    shard(tmp_path / "a.tar", range(2), label=lambda i: 4294967297)
    with pytest.raises(UserError, match="'4294967297', not the number of a class"):
        members(str(tmp_path / "a.tar"), Counter())


def test_a_sparse_file_is_refused(tmp_path):
    with (tmp_path / "a.bmp").open("wb") as file:
        Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(file, "bmp")
        file.truncate(1 << 20)
        file.seek(1 << 20)
        file.write(b"x" * 4096)
    (tmp_path / "a.cls").write_text("1")
    line = ["tar", "--format=gnu", "--sparse", "-cf", "a.tar", "a.bmp", "a.cls"]
    made = subprocess.run(line, cwd=tmp_path, capture_output=True, check=False) if shutil.which("tar") else None
    if made is None or made.returncode or (tmp_path / "a.tar").stat().st_size > 1 << 19:
        pytest.skip("this machine writes no sparse tar files")
    with pytest.raises(UserError, match="stored as a sparse file"):
        members(str(tmp_path / "a.tar"), Counter())
