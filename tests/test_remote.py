"""Tar and Parquet files at URLs, from a server that also fails, stalls and truncates."""

import io
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from web_server import Web, serving

from vitax.data import captions, open_source, remote, urls
from vitax.data.recognise import recognise
from vitax.errors import UserError
from vitax.specs import RGB

fsspec = pytest.importorskip("fsspec", reason="vitax[remote] is not installed")
pytest.importorskip("aiohttp", reason="vitax[remote] is not installed")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urls, "PAUSE", 0.01)
    urls.known.cache_clear()
    urls._opened.cache_clear()


@pytest.fixture
def web():
    with serving(Web()) as web:
        yield web


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def shard(numbers, **more):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for i in numbers:
            for ending, data in {"png": png(i), "cls": str(i % 3).encode(), **more}.items():
                member = tarfile.TarInfo(f"{i:04d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def opened(path, name="tars"):
    return open_source(name, path=path, train="train", test="test", test_fraction=0.34, pixels=RGB)


def contents(source):
    return [(int(x["image"][0, 0, 0]), int(x["label"])) for x in (source[i] for i in range(len(source)))]


def copies(tmp_path):
    return sorted((tmp_path / "cache/vitax/remote").glob("*"))


def test_shards_of_a_web_server(web, tmp_path):
    for n in range(3):
        web.files[f"d/data-{n:03d}.tar"] = shard(range(4 * n, 4 * n + 4))
    web.files["d/classes.txt"] = b"ant\nbee\ncow\n"
    splits = opened(f"{web.url}/d/data-{{000..002}}.tar")
    assert contents(splits.train) == [(i, i % 3) for i in range(8)]
    assert contents(splits.test) == [(i, i % 3) for i in range(8, 12)]
    assert splits.train.class_names == ("ant", "bee", "cow")
    assert splits.train.name(0) == f"{web.url}/d/data-000.tar:0000"
    asked = len(web.requests)
    assert contents(opened(f"{web.url}/d/data-{{000..002}}.tar").train) == contents(splits.train)
    assert len(web.requests) == asked, "from the cache"
    assert recognise(f"{web.url}/d/data-{{000..002}}.tar").kind == "labelled images"
    for file in copies(tmp_path):
        file.unlink()
    assert contents(splits.train) == [(i, i % 3) for i in range(8)], "a copy that is deleted is read in parts"
    assert all("bytes=" in line for line in web.requests[asked:] if line.startswith("GET"))
    assert copies(tmp_path) == []


@pytest.mark.parametrize("wrong", ["500", "stall", "truncate", "drop"])
def test_what_goes_wrong_is_tried_again(web, wrong, monkeypatch):
    monkeypatch.setattr(urls, "STALL", 0.3)
    monkeypatch.setattr(remote, "PIECE", 1000)
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4))
    web.wrong = ["", wrong, wrong, "", wrong]
    splits = opened(f"{web.url}/{{0..1}}.tar")
    assert contents(splits.train) == [(i, i % 3) for i in range(4)]
    assert not web.wrong
    again = [line for line in web.requests if web.requests.count(line) > 1 and line.startswith("GET /0.tar")]
    assert len(again) == 5, "only the pieces that failed: the second three times, the third twice"


def test_an_end_of_patience_is_told_by_name(web, tmp_path, monkeypatch):
    monkeypatch.setattr(urls, "ATTEMPTS", 3)
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4))
    web.wrong = ["500"] * 3
    with pytest.raises(UserError, match=r"0.tar: bytes from 0: 3 attempts failed, the last with: 500"):
        opened(f"{web.url}/{{0..1}}.tar")
    splits = opened(f"{web.url}/{{0..1}}.tar")
    for file in copies(tmp_path):
        file.unlink()
    web.wrong = ["500"] * 3
    with pytest.raises(OSError, match="3 attempts failed"):
        splits.train[0]  # one example that cannot be read, as a broken file is
    assert contents(splits.train)[0] == (0, 0)


def test_what_a_server_cannot_do_is_refused(web, monkeypatch):
    with pytest.raises(UserError, match=r"/none/0.tar cannot be read: "):
        opened(f"{web.url}/none/{{0..1}}.tar")
    assert len([line for line in web.requests if "0.tar" in line]) < 5, "what is not there is not asked for again"
    with pytest.raises(UserError, match=r"a web server has no list of its files; name them, as NAME-\{000..123\}.tar"):
        opened(f"{web.url}/d")
    web.files |= {"0.tar": shard(range(40)), "1.tar": shard(range(4))}
    web.ranges = False
    monkeypatch.setattr(remote, "PIECE", 1000)
    with pytest.raises(UserError, match="no range requests"):
        opened(f"{web.url}/{{0..1}}.tar")
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(UserError, match="s3:// needs s3fs: pip install"):
        opened("s3://bucket/{0..1}.tar")


def test_an_answer_that_fails_is_no_missing_file(web, monkeypatch):
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4))
    web.files["classes.txt"] = b"ant\nbee\ncow\n"
    web.refused = ["0.tar", "classes.txt", "classes.txt"]
    assert opened(f"{web.url}/{{0..1}}.tar").train.class_names == ("ant", "bee", "cow")
    assert not web.refused
    monkeypatch.setattr(urls, "ATTEMPTS", 2)
    urls.known.cache_clear()
    web.refused = ["classes.txt"] * 4  # twice HEAD, twice GET
    with pytest.raises(UserError, match=r"classes.txt: size: 2 attempts failed"):
        opened(f"{web.url}/{{0..1}}.tar")


def test_a_file_that_changes_under_a_run_is_told(web, tmp_path):
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4))
    splits = opened(f"{web.url}/{{0..1}}.tar")
    for file in copies(tmp_path):
        file.write_bytes(file.read_bytes()[:700])
    assert contents(splits.train)[0] == (0, 0), "a copy that is cut off is not used"
    web.files["0.tar"] = shard(range(40, 44))
    with pytest.raises(UserError, match="0.tar has changed since it was opened"):
        splits.train[2]


def test_a_file_that_changes_is_another_file(web):
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4))
    assert contents(opened(f"{web.url}/{{0..1}}.tar").train)[0] == (0, 0)
    web.files["0.tar"] = shard(range(20, 24))
    urls.known.cache_clear()  # another process
    assert contents(opened(f"{web.url}/{{0..1}}.tar").train)[0] == (20, 2)


def test_the_cache_is_bounded(web, tmp_path, monkeypatch):
    for n in range(4):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4))
    size = len(web.files["0.tar"])
    monkeypatch.setenv("VITAX_REMOTE_CACHE_GB", str(2.5 * size / 1e9))
    splits = opened(f"{web.url}/{{0..3}}.tar")
    assert {file.name.partition("-")[2] for file in copies(tmp_path)} == {"2.tar", "3.tar"}, "the last ones"
    assert contents(splits.train) + contents(splits.test) == [(i, i % 3) for i in range(16)]
    monkeypatch.setenv("VITAX_REMOTE_CACHE_GB", "none")
    web.files["4.tar"] = shard(range(4))
    with pytest.raises(UserError, match="VITAX_REMOTE_CACHE_GB='none' must be a positive number"):
        remote.local(f"{web.url}/4.tar")


def test_captions_and_parquet_of_a_web_server(web, tmp_path, monkeypatch):
    for n in range(2):
        web.files[f"{n}.tar"] = shard(range(4 * n, 4 * n + 4), txt=b"a photo")
    found = captions.tars(path=f"{web.url}/{{0..1}}.tar", train="train", test="test", test_fraction=0.5, pixels=RGB)
    assert [found.train[i]["caption"] for i in range(4)] == ["a photo"] * 4
    for n in range(2):
        numbers = range(4 * n, 4 * n + 4)
        images = [{"bytes": png(i), "path": None} for i in numbers]
        table = pa.table({"image": images, "label": [i % 2 for i in numbers]})
        stream = io.BytesIO()
        pq.write_table(table, stream)
        web.files[f"p/train-{n:05d}-of-00002.parquet"] = stream.getvalue()
    web.files["p/one.parquet"] = web.files["p/train-00000-of-00002.parquet"]
    whole = opened(f"{web.url}/p/train-{{00000..00001}}-of-00002.parquet", "parquet")
    assert sorted(contents(whole.train) + contents(whole.test)) == [(i, i % 2) for i in range(8)]
    kept = len(list((tmp_path / "cache/vitax/copies").iterdir()))
    opened(f"{web.url}/p/train-{{00000..00001}}-of-00002.parquet", "parquet")
    assert len(list((tmp_path / "cache/vitax/copies").iterdir())) == kept, "copied once"
    with pytest.raises(UserError, match="is one of 2 files, and 1 are there"):
        opened(f"{web.url}/p/train-00000-of-00002.parquet", "parquet")
    monkeypatch.setenv("VITAX_REMOTE_CACHE_GB", "0.000001")
    with pytest.raises(UserError, match="set VITAX_REMOTE_CACHE_GB to more"):
        opened(f"{web.url}/p/train-{{00000..00001}}-of-00002.parquet", "parquet")
    monkeypatch.delenv("VITAX_REMOTE_CACHE_GB")
    assert len(opened(f"{web.url}/p/one.parquet?download=true", "parquet").train)
    one = opened(f"{web.url}/p/one.parquet", "parquet")
    assert len(one.train) + len(one.test) == 4
    assert recognise(f"{web.url}/p/one.parquet").kind == "labelled images"


def test_folders_of_an_object_store():
    system = fsspec.filesystem("memory")
    try:
        for n in range(3):
            system.pipe(f"/bucket/d/{'test' if n == 2 else 'train'}/{n}.tar", shard(range(4 * n, 4 * n + 4)))
        splits = opened("memory://bucket/d")
        assert contents(splits.train) == [(i, i % 3) for i in range(8)]
        assert contents(splits.test) == [(i, i % 3) for i in range(8, 12)]
        with pytest.raises(UserError, match="holds no tar files"):
            opened("memory://bucket/none")
        for split, numbers in (("training", range(4)), ("test", range(4, 8)), ("validation", range(8, 12))):
            stream = io.BytesIO()
            images = [{"bytes": png(i), "path": None} for i in numbers]
            pq.write_table(pa.table({"image": images, "label": [i % 2 for i in numbers]}), stream)
            system.pipe(f"/bucket/p/{split}/a.parquet", stream.getvalue())
        splits = opened("memory://bucket/p", "parquet")
        assert [[value for value, _ in contents(source)] for source in splits.sources()] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9, 10, 11],
        ]
    finally:
        system.rm("/bucket", recursive=True)
