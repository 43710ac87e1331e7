"""Texts and translations in the files that people have: compressed, as JSON lines, as pairs in one file."""

import gzip
import json

import pytest

from vitax.data.bitext import open_pairs
from vitax.data.textfile import lines_of, uncompressed
from vitax.data.texts import text_files
from vitax.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(path, text):
    data = text.encode()
    if path.suffix == ".zst":
        data = pytest.importorskip("zstandard", reason="zstandard is not installed").compress(data)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def opened(path, **options):
    return text_files(**(dict(path=str(path), train="train", test="test", test_fraction=0.34) | options))


def documents(source):
    found = {}
    for i in range(len(source)):
        found.setdefault(int(source.document[i]), []).append(source[i])
    return list(found.values())


TEXTS = [["one", "two"], ["thrée"], ["four", "five", "six"]]
PLAIN = "\n\n".join("\n".join(lines) for lines in TEXTS) + "\n"
LINES = "".join(json.dumps({"id": i, "text": "\n\n".join(lines)}) + "\n" for i, lines in enumerate(TEXTS))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", PLAIN), ("a.txt.gz", PLAIN), ("a.txt.zst", PLAIN), ("a.jsonl", LINES), ("a.jsonl.gz", LINES)],
)
def test_documents_of_any_file(tmp_path, name, text):
    packed(tmp_path / name, text)
    splits = opened(tmp_path / name)
    assert sorted(documents(splits.train) + documents(splits.test)) == sorted(TEXTS)
    (tmp_path / "d").mkdir()
    for split in ("train-00", "train-01", "test", "val"):
        packed(tmp_path / "d" / name.replace("a.", f"{split}."), text)
    packed(tmp_path / "d" / "values.md", "no text")
    splits = opened(tmp_path / "d")
    assert documents(splits.train) == TEXTS * 2
    assert [documents(source) for source in splits.sources()[1:]] == [TEXTS, TEXTS]


def test_broken_files_are_told(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(PLAIN.encode() * 50)[:-20])
    with pytest.raises(UserError, match="a.txt.gz cannot be read"):
        opened(tmp_path / "a.txt.gz")
    for line, message in (
        ('{"text": 3}', 'line 1 holds no "text": text'),
        ("[1]", "line 1 holds no .text.: list"),
        ("{", "not valid JSON"),
    ):
        (tmp_path / "b.jsonl").write_text(line + "\n")
        with pytest.raises(UserError, match=message):
            opened(tmp_path / "b.jsonl")
    assert not list((tmp_path / "cache").rglob("*.tmp")), "nothing half-written"


def pairs(path, **options):
    arguments = dict(path=str(path), train="train", test="test", source="en", target="de", test_fraction=0.34)
    return open_pairs("bitext", **(arguments | options))


PAIRS = [(f"word {i}", f"Wort {i}") for i in range(6)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "".join(f"{a}\t{b}\n" for a, b in PAIRS)),
        ("a.txt", "".join(f"{a}\t{b}\r\n" for a, b in PAIRS)),
        ("a.tsv.gz", "EN\tDE\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS)),
        ("a.tsv", "de\ten\n" + "".join(f"{b}\t{a}\n" for a, b in PAIRS)),
        ("a.jsonl", "".join(json.dumps({"en": a, "de": b}) + "\n" for a, b in PAIRS)),
        ("a.jsonl", "".join(json.dumps({"translation": {"de": b, "en": a}}) + "\n" for a, b in PAIRS)),
        ("a.jsonl.gz", "".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in PAIRS)),
    ],
)
def test_pairs_in_one_file(tmp_path, name, text):
    packed(tmp_path / name, text)
    splits = pairs(tmp_path / name)
    assert sorted(splits.train.pairs + splits.test.pairs) == PAIRS
    if name != "a.txt":
        for split in ("train", "test", "val"):
            packed(tmp_path / name.replace("a.", f"{split}."), text)
        (tmp_path / name).unlink()
        splits = pairs(tmp_path)
        assert [source.pairs for source in splits.sources()] == [PAIRS] * 3


def test_what_is_no_pair_is_refused(tmp_path):
    for name, text, message in (
        ("a.tsv", "a\tb\na\n", "line 2 has 1 fields, where SOURCE<TAB>TARGET belongs"),
        ("a.tsv", "a\tb\na\tb\tc\n", "line 2 has 3 fields"),
        ("a.jsonl", '{"fr": "a", "de": "b"}\n', "row 1 has fr, de; texts 'en' and 'de' are needed"),
        ("a.md", "a\tb\n", "is not a table of pairs"),
        ("a.tsv", "a\tb\n", "has 1 pairs; two are needed"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=message):
            pairs(tmp_path / name)


def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    text = "".join(f"line {i} {hash((i, 1))}\n" for i in range(50_000)).encode()
    frames = zstandard.compress(text[:600_000]) + zstandard.compress(text[600_000:])
    (tmp_path / "a.txt.zst").write_bytes(frames)
    with uncompressed(tmp_path / "a.txt.zst") as stream:
        assert stream.read() == text, "several frames"
    for cut in (len(frames) - 3, len(frames) // 2, 7):
        (tmp_path / "a.txt.zst").write_bytes(frames[:cut])
        with pytest.raises(UserError, match=r"a.txt.zst cannot be read: it ends before its end"):
            opened(tmp_path / "a.txt.zst")
    packed(tmp_path / "b.jsonl.zst", LINES)
    splits = opened(tmp_path / "b.jsonl.zst")
    assert sorted(documents(splits.train) + documents(splits.test)) == sorted(TEXTS)
    assert "b.jsonl.zst@" in splits.train.name(0), "the user's name, not that of the copy"


def test_half_a_character_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud83d"}\n')
    with pytest.raises(UserError, match="line 1 contains an unpaired surrogate"):
        opened(tmp_path / "a.jsonl")


def test_a_column_source_is_no_language_where_the_languages_are_there(tmp_path):
    rows = [{"source": "web", "en": f"a {i}", "de": f"b {i}"} for i in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sorted(p for s in pairs(tmp_path / "a.jsonl").sources() for p in s.pairs)[0] == ("a 0", "b 0")
    with pytest.raises(UserError, match="texts 'fr' and 'de' are needed"):
        pairs(tmp_path / "a.jsonl", source="fr")


@pytest.mark.parametrize(
    ("names", "train", "test", "aside"),
    [
        (("wiki.train.txt", "wiki.test.txt", "wiki.valid.txt"), 1, 1, False),
        (("train.txt", "train-2.txt", "test.txt", "extra.txt"), 2, 1, True),
        (("trains.txt", "testament.txt", "genesis.txt", "exodus.txt"), 3, 1, False),  # no splits: one of four held back
    ],
)
def test_names_of_splits_are_words(tmp_path, caplog, names, train, test, aside):
    for name in names:
        (tmp_path / name).write_text(f"a line of {name}\n")
    splits = opened(tmp_path, test_fraction=0.25)
    assert (len(splits.train), len(splits.test)) == (train, test)
    assert ("left aside, as of no split: extra.txt" in caplog.text) == aside
    assert (splits.validation is not None) == ("wiki.valid.txt" in names)


def test_splits_that_are_unclear_are_refused(tmp_path):
    def refused(message, **files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            data = text.encode()
            (folder / name.replace("_", ".")).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        with pytest.raises(UserError, match=message):
            opened(folder)

    refused("seem to be the same text", a_txt="a\nb\n", a_txt_gz="a\nb\n")
    refused("is for the test, but no file", test_txt="a\nb\n", other_txt="c\nd\n")
    refused("could be of two splits", train_test_txt="a\nb\n", test_txt="c\n", train_txt="d\n")
    row = json.dumps({"text": "a", "split": "test"})
    refused("has a key 'split'", a_jsonl=f"{row}\n")


def test_the_splits_and_rows_of_pairs_are_those_of_the_table(tmp_path):
    rows = [{"en": f"a{i}", "de": f"b{i}" if i != 1 else " ", "split": "test" if i > 3 else "train"} for i in range(6)]
    (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    splits = pairs(tmp_path / "p.jsonl")
    with (tmp_path / "q.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in [*rows, {"en": "x", "de": "y", "split": ""}])
    with pytest.raises(UserError, match=r"the column 'split' has .* '' \(1\)"):
        pairs(tmp_path / "q.jsonl")
    assert [splits.train[i][0] for i in range(len(splits.train))] == ["a0", "a2", "a3"]
    assert [splits.test[i][0] for i in range(len(splits.test))] == ["a4", "a5"]
    assert ":3 " in splits.train.name(1), "the row in the table"


def test_headers_of_pairs(tmp_path):
    (tmp_path / "p.tsv").write_text("target\tsource\n" + "".join(f"b{i}\ta{i}\n" for i in range(4)))
    splits = pairs(tmp_path / "p.tsv")
    assert sorted(pair for part in (splits.train.pairs, splits.test.pairs) for pair in part)[0] == ("a0", "b0")
    (tmp_path / "q.tsv").write_text("English\tGerman\na\tb\nc\td\n")
    for head in ("English\tGerman", "de-DE\ten-US", "deu\teng", "Deutsch\tEnglisch", "fr\ten"):
        (tmp_path / "q.tsv").write_text(f"{head}\na\tb\nc\td\n")
        with pytest.raises(UserError, match="seems to be a header"):
            pairs(tmp_path / "q.tsv")


def test_lines_that_end_as_on_old_computers(tmp_path):
    (tmp_path / "p.tsv").write_bytes("\r".join(f"a{i}\tb{i}" for i in range(8)).encode() + b"\r")
    splits = pairs(tmp_path / "p.tsv")
    assert len(splits.train) + len(splits.test) == 8
    assert lines_of("a\rb\n\r\nc") == ["a\rb", "", "c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", b'{"en": "a", "de": null}\n', "row 1 has None as its 'de', which is not a text"),
        ("p.jsonl", b'{"translation": {"en": "a", "EN": "b", "de": "c"}}\n', "row 1 has one language twice"),
        ("p.jsonl", b'{"en": "\\ud800", "de": "a"}\n', "line 1 contains an unpaired surrogate"),
        ("p.jsonl", b"[" * 100_000 + b"\n", "line 1 is not valid JSON"),
        ("p.tsv", "a\tb\n".encode("utf-16-le"), "it holds zero bytes"),
        ("p.tsv", "a\tb\n".encode("utf-32"), "is UTF-32, not UTF-8"),
        ("p.tsv", "a\tb\n".encode("utf-16"), "is UTF-16, not UTF-8"),
    ],
)
def test_pairs_that_are_no_texts_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        pairs(tmp_path / name)


def test_a_document_with_two_texts_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "text": "two"}\n{"text": "three"}\n')
    with pytest.raises(UserError, match="'text' occurs twice"):
        opened(tmp_path / "a.jsonl")


def test_names_of_splits_that_are_not_there_are_refused(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text("one\n\ntwo\n")
    with pytest.raises(UserError, match=r"test.txt is of no split, by its name, and train.txt is"):
        opened(tmp_path, test="tset")
    with pytest.raises(UserError, match=r"has no split 'wiki'; leave out data.train"):
        opened(tmp_path / "train.txt", train="wiki")
    (tmp_path / "test.txt").unlink()
    assert len(opened(tmp_path).test) == 1
    (tmp_path / "heldout.txt").write_text("three\n")
    with pytest.raises(UserError, match=r"heldout.txt is of no split"):
        opened(tmp_path)
    (tmp_path / "pairs.tsv").write_text("a\tb\nc\td\ne\tf\n")
    with pytest.raises(UserError, match="has no split 'dev'"):
        pairs(tmp_path / "pairs.tsv", test="dev")


def test_the_split_of_the_test_is_not_the_validation_too(tmp_path):
    for name in ("train", "val"):
        (tmp_path / f"{name}.tsv").write_text("a\tb\nc\td\n")
    assert pairs(tmp_path, test="val").validation is None
    (tmp_path / "test.tsv").write_text("e\tf\n")
    splits = pairs(tmp_path)
    assert len(splits.validation) == 2
    assert "best checkpoint chosen on" in splits.origin


def test_pairs_keep_the_numbers_of_their_lines(tmp_path):
    for split in ("train", "test"):
        for language, lines in (("en", "a\n\nc\n"), ("de", "A\nB\nC\n")):
            (tmp_path / f"{split}.{language}").write_text(lines)
    train = pairs(tmp_path).train
    assert [train.name(i).split()[0].rpartition(":")[2] for i in range(len(train))] == ["1", "3"]


def test_a_line_of_many_spaces_ends_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("one\n" + " " * 40 + "\ntwo\n\t\t" + " " * 30 + "\nthree\n    four\n")
    splits = opened(tmp_path / "a.txt")
    assert sorted(documents(splits.train) + documents(splits.test)) == [["one"], ["three", "four"], ["two"]]
