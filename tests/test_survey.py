"""``vitax.doctor --data`` names the layout of data and what is wrong with them."""

import gzip
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
from commands import run
from PIL import Image

from vitax.data.recognise import recognise
from vitax.data.survey import deep, difference_hash, survey
from vitax.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = np.kron(RNG.integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def jpeg(image, quality=90):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def photo(seed):
    return np.kron(np.random.default_rng(seed).integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def tar(path, endings):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for i in range(4):
            for ending, data in endings.items():
                data = data(i) if callable(data) else data
                member = tarfile.TarInfo(f"{i}{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def lines(*rows):
    return "".join(f"{row}\n" for row in rows)


def class_folders(root):
    for k in range(12):
        put(root / "train" / "ab"[k % 2] / f"{k}.jpg", jpeg(photo(k)))
        put(root / "test" / "ab"[k % 2] / f"{k}.jpg", jpeg(photo(100 + k)))


def tables(root, head, rows):
    put(root / "train.csv", lines(head, *rows))
    put(root / "test.csv", lines(head, *rows))


def images_beside(root, count=6):
    for k in range(count):
        put(root / f"{k}.jpg", jpeg(photo(k)))


def image_table(root):
    images_beside(root)
    put(root / "labels.csv", lines("File;Label", *(f"{k}.jpg;{'ab'[k % 2]}" for k in range(6))))


def caption_table(root):
    images_beside(root)
    tables(root, "image,caption", [f"{k}.jpg,a photo {k}" for k in range(6)])


def coco(root):
    images_beside(root / "train2017")
    content = {"images": [{"id": k, "file_name": f"{k}.jpg"} for k in range(6)]}
    content["annotations"] = [{"image_id": k, "caption": f"a photo {k}"} for k in range(6)]
    put(root / "annotations" / "captions_train2017.json", json.dumps(content))


def parquet(root):
    pa = pytest.importorskip("pyarrow", reason="vitax[parquet] is not installed")
    import pyarrow.parquet as pq

    root.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"image": [{"bytes": jpeg(photo(k)), "path": None} for k in range(8)], "label": [k % 2 for k in range(8)]}
    )
    for split in ("train", "test"):
        pq.write_table(table, root / f"{split}-00000-of-00001.parquet")


def parquet_of(label):
    """A function that writes texts with labels of another kind than classes, as the hub has them."""

    def write(root):
        pa = pytest.importorskip("pyarrow", reason="vitax[parquet] is not installed")
        import pyarrow.parquet as pq

        root.mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation"):
            table = pa.table(
                {
                    "sentence1": [f"a {k}" for k in range(8)],
                    "sentence2": ["b"] * 8,
                    "label": [label(k) for k in range(8)],
                }
            )
            pq.write_table(table, root / f"{split}-00000-of-00001.parquet")

    return write


LAYOUTS = {
    "likeness": ("texts with numbers", "finetune.py:text_regression", parquet_of(lambda k: k / 2)),
    "emotions": ("texts with several labels", "finetune.py:text_multilabel", parquet_of(lambda k: ["joy", "fear"][k % 2 :])),
    "folder": ("labelled images", "data.name=folder", class_folders),
    "images": ("images", "data.name=images", images_beside),
    "table": ("labelled images", "data.name=table", image_table),
    "tars": ("labelled images", "data.name=tars", lambda root: [tar(root / f"{n}.tar", {".jpg": lambda i: jpeg(photo(i)), ".cls": lambda i: b"01"[i % 2 :][:1]}) for n in "ab"]),
    "parquet": ("labelled images", "data.name=parquet", parquet),
    "caption-table": ("captioned images", "data.name=table", caption_table),
    "caption-tars": ("captioned images", "data.name=tars", lambda root: tar(root / "a.tar", {".jpg": lambda i: jpeg(photo(i)), ".txt": b"a photo"})),
    "coco": ("captioned images", "data.name=coco", coco),
    "sentences": ("labelled texts", "finetune.py:text", lambda root: tables(root, "Sentence1\tsentence2\tlabel".replace("\t", ","), ["a b,c,x", "d,e,y", "f,g,x", "h,i,y"])),
    "numbers": ("texts with numbers", "finetune.py:text_regression", lambda root: tables(root, "Sentence1,sentence2,score", ["a b,c,1.5", "d,e,2", "f,g,3"])),
    "tags": ("images with several labels", "finetune.py:multilabel", lambda root: [images_beside(root), put(root / "t.csv", lines("image,tags", *(f"{k}.jpg,{'a;b' if k % 2 else 'b'}" for k in range(6))))]),
    "texts": ("texts", "data.name=text", lambda root: put(root / "a.txt.gz", gzip.compress(b"one\ntwo\n\nthree\n"))),
    "jsonl": ("texts", "data.name=text", lambda root: put(root / "a.jsonl", lines('{"text": "one two"}', '{"text": "three"}'))),
    "bitext": ("translations", "data.source=en --config.data.target=de", lambda root: [put(root / f"{split}.{language}", lines("a", "b", "c")) for split in ("train", "test") for language in ("en", "de")]),
    "pairs": ("translations", "data.source=en --config.data.target=fr", lambda root: [put(root / f"{split}.jsonl", lines('{"en": "a", "fr": "b"}', '{"en": "c", "fr": "d"}')) for split in ("train", "test")]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_recognised_and_its_flags_open_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kind, flags, make = LAYOUTS[name]
    root = tmp_path / "my data"
    make(root)
    found = recognise(str(root))
    assert found.kind == kind
    assert flags in found.flags
    assert f'--config.data.path="{root}"' in found.flags
    splits = found.open()
    assert len(splits.train), "it opens"
    notes = list(survey(splits, 100))
    assert not [note.text for note in notes if "cannot be read" in note.text]


def test_what_is_wrong_is_named(tmp_path):
    class_folders(tmp_path)
    put(tmp_path / "test" / "a" / "copy.jpg", jpeg(photo(2)))
    put(tmp_path / "test" / "a" / "like.jpg", jpeg(photo(4), quality=30))
    put(tmp_path / "test" / "b" / "broken.jpg", b"no image")
    for k in range(40):
        put(tmp_path / "train" / "a" / f"more{k}.jpg", jpeg(photo(1000 + k)))
    done = run("doctor", f"--data={tmp_path}")
    assert done.returncode == 1
    wrong = "\n".join(line for line in done.stdout.splitlines() if line.startswith("WRONG"))
    assert "1 classes have fewer than 10 training examples: 'b' (6)" in wrong
    assert "always predicting 'a' would be right 88% of the time" in wrong
    assert f"1 of the 15 test examples are among the training examples: {tmp_path}/test/a/copy.jpg" in wrong
    assert f"1 more test examples look like a training example: {tmp_path}/test/a/like.jpg" in wrong
    assert f"1 cannot be read: {tmp_path}/test/b/broken.jpg: not an image" in wrong
    assert "sizes" not in wrong
    assert "all 60x80" in done.stdout


def test_images_of_more_than_8_bits_are_told(tmp_path):
    for split in ("train", "test"):
        for k, name in enumerate(("a", "b")):
            deep = Image.fromarray((1000 * photo(k)[..., 0].astype(np.uint16)).astype(np.uint16))
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(2):
                deep.transpose(Image.Transpose(i)).save(tmp_path / split / name / f"{split}{i}.png")
    notes = [note.text for note in survey(recognise(str(tmp_path)).open(), 10) if not note.good]
    assert any("4 of 4 image files have more than 8 bits" in text and "pixel_range" in text for text in notes)


def test_what_is_unknown_is_said_to_be(tmp_path):
    for name, data, message in (
        ("a.zip", b"PK", "an archive: unpack it"),
        ("a.jpg", jpeg(PHOTO), "is one image; give its folder"),
        ("a.csv", "x,y\n1,2\n", "neither images with labels or captions, nor texts"),
        ("a.npy", b"1", "of no kind that vitax reads"),
    ):
        put(tmp_path / name, data)
        with pytest.raises(UserError, match=message):
            recognise(str(tmp_path / name))
    put(tmp_path / "other" / "a.py", "")
    with pytest.raises(UserError, match=r"holds 1 .py: neither images"):
        recognise(str(tmp_path / "other"))
    done = run("doctor", "--data=nowhere", "--config=configs/vit_b16.py:demo")
    assert done.returncode == 2
    assert "leave out --config" in done.stderr


def test_a_picture_looks_like_its_copies_and_like_no_other():
    bits = [difference_hash(photo(k)) for k in range(30)]
    apart = [(a ^ b).bit_count() for i, a in enumerate(bits) for b in bits[:i]]
    assert min(apart) > 8
    with Image.open(io.BytesIO(jpeg(PHOTO, 20))) as copy:
        smaller = np.asarray(copy.resize((60, 45)))
    assert (difference_hash(smaller) ^ difference_hash(PHOTO)).bit_count() <= 3
    assert difference_hash(PHOTO[..., :1]) >= 0


def test_colours_of_16_bits_are_told(tmp_path):
    """Pillow reads them as 8 bits, and writes none."""

    def part(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    for k, name in enumerate("ab"):
        row = b"\0" + struct.pack(">6H", *range(60_000 * k, 60_000 * k + 6))
        content = header + part(b"IDAT", zlib.compress(row)) + part(b"IEND", b"")
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    (note,) = deep([str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    assert "2 of 2 image files have more than 8 bits" in note.text
