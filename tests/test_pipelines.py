"""Own data of every kind: what comes out, and what is said where it cannot be used."""

import csv
import functools
import io
import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import ROOT
from PIL import Image

from vitax import build, config_file
from vitax.config import call, complete
from vitax.data.loader import Loader
from vitax.data.source import folded, reduced
from vitax.data.tokens import from_json, train_bpe
from vitax.errors import UserError
from vitax.models.fnet import FNet
from vitax.models.transformer import LanguageModel
from vitax.pipelines import KINDS
from vitax.resolve import resolve
from vitax.specs import RGB
from vitax.tasks import TASKS

IMAGE = dict(image_size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3, crop="center")


def opened(kind, **values):
    """The pipeline of a config.data with these values, defaults filled in."""
    functions = KINDS[kind].functions
    section = complete("data", values, functions)
    return KINDS[kind].open(functools.partial(take, section))


def take(section, function, *given):
    return call(function, "data", section, *given)


def first(pipeline, n=8, **options):
    loader = Loader(pipeline.splits.train, pipeline.augment, n, **options)
    return next(loader.train())


def jpeg(shade, size=(12, 10)):
    return grey(shade, (*size, 3))


def grey(shade, size):
    buffer = io.BytesIO()
    Image.fromarray(np.full(size, shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_table(folder, rows, name="pairs.csv", images=True):
    folder.mkdir(exist_ok=True)
    with open(folder / name, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for i, row in enumerate(rows):
        if images and "image" in row:
            (folder / row["image"]).write_bytes(jpeg(i * 10 % 256))
    return folder / name


def pair_rows(n=10):
    return [{"image": f"{i}.png", "caption": f"picture number {i}"} for i in range(n)]


def write_tar(path, pairs):
    with tarfile.open(path, "w") as archive:
        for name, data in pairs:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_table_of_captions(tmp_path):
    file = write_table(tmp_path / "t", pair_rows())
    pipeline = opened("captions", name="table", path=str(file), length=24, vocab_size=300, **IMAGE)
    assert (len(pipeline.splits.train), len(pipeline.splits.test)) == (8, 2)
    batch = first(pipeline)
    assert batch["image"].shape == (8, 8, 8, 3)
    assert batch["tokens"].shape == (8, 24)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    texts = {vocab.decode(row[1:]) for row in batch["tokens"]}
    assert texts == {pipeline.splits.train.caption(i) for i in range(8)}  # begin is in front, the end is found
    assert (batch["tokens"][:, 0] == vocab.begin).all()
    lines = tmp_path / "t" / "pairs.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in pair_rows()))
    same = opened("captions", name="table", path=str(lines), length=24, vocab_size=300, **IMAGE)
    assert same.reader.record == pipeline.reader.record


def test_a_table_of_captions_with_a_column_of_splits(tmp_path):
    rows = [{**row, "split": "test" if i in (6, 7) else "train"} for i, row in enumerate(pair_rows())]
    file = write_table(tmp_path / "t", rows)
    splits = opened("captions", name="table", path=str(file), length=24, vocab_size=300, **IMAGE).splits
    assert [splits.test.caption(i) for i in range(2)] == ["picture number 6", "picture number 7"]
    assert len(splits.train) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].update(image="none.png"), "names 1 images that do not exist: .*none.png"),
        (lambda rows: rows[3].update(caption=" "), "row 4 has .* in the column .caption., where a text belongs"),
        (lambda rows: rows[3].update(caption="long " * 40), "of 8 captions .* more than data.length=24"),
        (lambda rows: [row.pop("caption") for row in rows], "has the columns image; a column of captions is needed"),
    ],
)
def test_bad_tables_are_refused_with_the_remedy(tmp_path, change, message):
    rows = pair_rows()
    change(rows)
    file = write_table(tmp_path / "t", rows, images=False)
    for i in range(10):
        (tmp_path / "t" / f"{i}.png").write_bytes(jpeg(i))
    with pytest.raises(UserError, match=message):
        opened("captions", name="table", path=str(file), length=24, vocab_size=300, test_fraction=0.2, **IMAGE)


def test_tars_are_read_in_order_within_a_window_and_resume(tmp_path):
    for shard in range(3):
        pairs = []
        for i in range(10):
            n = shard * 10 + i
            pairs += [(f"{n:03}.png", jpeg(n)), (f"{n:03}.txt", f"picture number {n}".encode())]
        write_tar(tmp_path / f"{shard}.tar", pairs)
    data = dict(name="tars", path=str(tmp_path), length=24, vocab_size=300, **IMAGE)
    pipeline = opened("captions", **data)
    assert (len(pipeline.splits.train), len(pipeline.splits.test)) == (20, 10)
    loader = Loader(pipeline.splits.train, pipeline.augment, 5, shuffle_window=5)
    batches = [batch for batch, _ in zip(loader.train(), range(8), strict=False)]
    order = [batch["index"].tolist() for batch in batches]
    assert [sorted(part) for part in order[:4]] == [[*range(n, n + 5)] for n in (0, 5, 10, 15)]
    assert order[:4] != order[4:]
    assert any(part != sorted(part) for part in order)
    later = next(loader.train(6))
    assert np.array_equal(later["tokens"], batches[6]["tokens"])
    brightness = batches[0]["image"].mean((1, 2, 3))
    assert np.allclose(brightness, batches[0]["index"], atol=1.5)  # each image with its own caption
    vocab = from_json(pipeline.reader.record["tokenizer"])
    assert [vocab.decode(row[1:]) for row in batches[0]["tokens"]] == [f"picture number {i}" for i in order[0]]
    write_tar(tmp_path / "3.tar", [("x.png", jpeg(1)), ("y.png", jpeg(1)), ("y.txt", b"y")])
    lone = opened("captions", **data).splits.test.source
    assert [lone.name(i).rpartition(":")[2] for i in (len(lone) - 2, len(lone) - 1)] == ["x", "y"]
    with pytest.raises(ValueError, match="an image without a caption"):  # which counts as a broken one
        lone[len(lone) - 2]
    (tmp_path / "3.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="3.tar cannot be read as a tar file"):
        opened("captions", **data)


def test_class_names_become_captions(image_folder):
    data = dict(name="folder", path=str(image_folder), length=24, vocab_size=300, **IMAGE)
    data |= dict(templates=("it is {}", "a photo of the {}"))
    pipeline = opened("captions", **data)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    batch = first(pipeline, 24)
    texts = {vocab.decode(row[1:]) for row in batch["tokens"]}
    assert texts == {f"{t}{name}" for t in ("it is ", "a photo of the ") for name in ("day", "night")}
    for label, row in zip(batch["label"], batch["tokens"], strict=True):
        assert vocab.decode(row[1:]).endswith(("day", "night")[label])
    test = next(Loader(pipeline.splits.test, pipeline.reader.transform, 10).once())
    assert {vocab.decode(row[1:]) for row in test["tokens"]} == {"it is day", "it is night"}
    with pytest.raises(UserError, match="must have '{}' where the class name goes"):
        opened("captions", **data | dict(templates=("a photo",)))


TEXT = "\n\n".join("\n".join(f"document {d} says sentence {s} of its own" for s in range(12)) for d in range(10))


def passages(tmp_path, **values):
    (tmp_path / "t.txt").write_text(TEXT)
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=40, vocab_size=300) | values
    return opened("texts", **data, test_fraction=0.2)


def test_passages_follow_or_do_not_as_they_say(tmp_path):
    pipeline = passages(tmp_path)
    lines = pipeline.splits.train.lines
    assert len(lines) == 96
    vocab = from_json(pipeline.reader.record["tokenizer"])
    batch = first(pipeline, 96)
    assert batch["tokens"].shape == batch["segments"].shape == (96, 40)
    assert 0.3 < batch["next"].mean() < 0.7
    for tokens, segments, elsewhere in zip(batch["tokens"], batch["segments"], batch["next"], strict=True):
        size = int((tokens != vocab.pad).sum())
        assert tokens[0] == vocab.begin
        assert (tokens == vocab.end).sum() == 2
        assert tokens[size - 1] == vocab.end
        middle = int(np.flatnonzero(tokens == vocab.end)[0])
        assert not segments[: middle + 1].any()
        assert segments[middle + 1 : size].all()
        a, b = vocab.decode(tokens[1:middle]), vocab.decode(tokens[middle + 1 : size - 1])
        from_a, from_b = ({w for w in x.split() if w.isdigit()} for x in (a, b))
        assert from_a
        assert from_b
        names_a = [w for w, before in zip(a.split()[1:], a.split(), strict=False) if before == "document"]
        names_b = [w for w, before in zip(b.split()[1:], b.split(), strict=False) if before == "document"]
        if names_a and names_b:
            assert (names_a[0] != names_b[0]) == bool(elsewhere)
    loader = Loader(pipeline.splits.test, pipeline.reader.transform, 8)
    one, two = next(loader.once()), next(loader.once())
    assert np.array_equal(one["tokens"], two["tokens"])  # tests draw the same each time


def test_single_passages_end_where_their_document_ends(tmp_path):
    pipeline = passages(tmp_path, sentence_pairs=False)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    lines = pipeline.splits.train.lines
    rng = np.random.default_rng(0)
    last = pipeline.augment(pipeline.splits.train[11], rng)["tokens"]
    assert vocab.decode(last[1:]) == lines[11]
    assert (last == vocab.end).sum() == 1
    full = pipeline.augment(pipeline.splits.train[0], rng)["tokens"]
    assert (full != vocab.pad).all()
    assert (full == vocab.end).sum() == 0


def test_text_files_of_any_shape(tmp_path):
    from vitax.data.lines import Lines

    (tmp_path / "a.txt").write_bytes(b"one\r\n\r\ntwo\nthree")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.txt").write_bytes("\n\n  \nvier f\u00fcnf\n".encode())
    lines = Lines([str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")])
    assert [lines[i] for i in range(3)] == ["one", "two", "three"]
    assert lines.document[0] != lines.document[1] == lines.document[2] != lines.document[3]
    assert len(lines) == len(lines.document)
    with pytest.raises(UserError, match="does not exist; expected text files"):
        opened("texts", name="text", path=str(tmp_path / "none"), length=40)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no .txt files"):
        opened("texts", name="text", path=str(tmp_path / "empty"), length=40)
    with pytest.raises(UserError, match="holds 0 lines, but at least two"):
        opened("texts", name="text", path=str(tmp_path / "b.txt"), length=40)


def test_labelled_pairs_of_texts(tmp_path):
    rows = [{"text": f"left {i}", "text_pair": f"right {i}", "label": "yes" if i % 2 else "no"} for i in range(20)]
    write_table(tmp_path / "s", rows, "train.csv")
    write_table(tmp_path / "s", rows[:6], "test.csv")
    data = dict(name="table", path=str(tmp_path / "s"), length=16, vocab_size=300)
    pipeline = opened("sentences", **data)
    assert pipeline.splits.train.class_names == ("no", "yes")
    batch = first(pipeline, 20)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    for tokens, segments, i in zip(batch["tokens"], batch["segments"], batch["index"], strict=True):
        assert vocab.decode(tokens[segments == 1]) == f"right {i}"
    write_table(tmp_path / "s", [{**rows[0], "label": "maybe"}], "test.csv")
    with pytest.raises(UserError, match="holds classes that .* does not: maybe"):
        opened("sentences", **data)
    write_table(tmp_path / "s", [{**row, "label": "no"} for row in rows], "one.csv")
    with pytest.raises(UserError, match="has only one class, 'no'"):
        opened("sentences", **data | dict(path=str(tmp_path / "s" / "one.csv")))
    write_table(tmp_path / "s", rows[:6], "test.csv")
    with pytest.raises(UserError, match="26 of 26 texts .*more than data.length=4"):
        opened("sentences", **data | dict(length=4, truncate=False))


def write_bitext(folder, sizes=(20, 20, 5, 5)):
    folder.mkdir(exist_ok=True)
    for name, size in zip(("train.en", "train.de", "test.en", "test.de"), sizes, strict=True):
        word = "the number one" if name.endswith("en") else "die Zahl eins"
        (folder / name).write_text("".join(f"{word} {i}\n" for i in range(size)))
    return str(folder)


def test_bitext_files(tmp_path):
    path = write_bitext(tmp_path / "p")
    data = dict(name="bitext", path=path, length=16, vocab_size=300)
    pipeline = opened("bitext", **data)
    batch = first(pipeline, 20)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    for source, target, i in zip(batch["source"], batch["target"], batch["index"], strict=True):
        assert (vocab.decode(source[1:]), vocab.decode(target[1:])) == (f"the number one {i}", f"die Zahl eins {i}")
    assert pipeline.splits.test.reference(3) == "die Zahl eins 3"
    other = opened("bitext", **data | dict(source="de", target="en"))
    assert other.splits.test.reference(3) == "the number one 3"
    write_bitext(tmp_path / "p", (20, 19, 5, 5))
    with pytest.raises(UserError, match="train.en has 20 lines but .*train.de has 19, so they are not par"):
        opened("bitext", **data)
    with pytest.raises(UserError, match=r"holds no train.fr \(it holds test.de, test.en, train.de"):
        opened("bitext", **data | dict(target="fr"))
    write_bitext(tmp_path / "p")
    with pytest.raises(UserError, match="training texts .* have more than data.length=4 tokens"):
        opened("bitext", **data | dict(length=4))


def test_number_names_of_the_test_are_new():
    pipeline = opened("bitext", name="number_names", length=20, vocab_size=400)
    train, test = (set(split.source.pairs) for split in pipeline.splits[:2])
    assert len(test) == 400
    assert not train & test
    assert ("two hundred and seventeen", "zweihundertsiebzehn") in train | test


def test_pictures_are_damaged_in_pieces(tmp_path, rng):
    for i in range(4):
        pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    data = dict(name="images", path=str(tmp_path), patch=8, scale=2, patches_per_image=5)
    pipeline = opened("restoration", **data)
    assert (len(pipeline.splits.train), len(pipeline.splits.test)) == (15, 1)
    batch = first(pipeline, 15)
    assert batch["damaged"].shape == (15, 8, 8, 3)
    assert batch["image"].shape == (15, 16, 16, 3)
    assert len({row.tobytes() for row in batch["image"]}) == 15
    difference = batch["image"].reshape(15, 8, 2, 8, 2, 3).mean((2, 4)) - batch["damaged"]
    assert abs(difference.mean()) < 2  # the small one is of the same place, turned alike
    assert (
        np.corrcoef(batch["image"].reshape(15, 8, 2, 8, 2, 3).mean((2, 4)).ravel(), batch["damaged"].ravel())[0, 1]
        > 0.9
    )
    with pytest.raises(UserError, match="40x30 pixels is smaller than the pieces of 64x64"):
        first(opened("restoration", **data | dict(patch=32)), 15)
    with pytest.raises(UserError, match="degradation 'noise' needs scale=1, not 2, and a strength"):
        opened("restoration", **data | dict(degradation="noise"))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds 0 images: there is 0"):
        opened("restoration", **data | dict(path=str(tmp_path / "none")))


def test_folds_test_each_example_once_and_keep_the_shares():
    pipeline = opened("images", name="digits", channels=1, **IMAGE | dict(mean=(0.5,), std=(0.5,)))
    whole = pipeline.splits
    seen = []
    for fold in range(5):
        part = folded(whole, fold=fold, num_folds=5)
        assert len(part.train) + len(part.test) == len(whole.train)
        counts = np.bincount(part.test.labels)
        assert counts.max() - counts.min() <= 3
        seen += [part.test.name(i) for i in range(len(part.test))]
    assert sorted(seen) == sorted(whole.train.name(i) for i in range(len(whole.train)))
    few = reduced(whole, train_examples=100)
    assert len(few.train) == pytest.approx(100, abs=5)
    assert np.bincount(few.train.labels).min() >= 9
    assert few.test is whole.test
    with pytest.raises(ValueError, match=r"fold=5 must lie in 0..4"):
        folded(whole, fold=5, num_folds=5)


def test_ignored_classes_are_left_out_of_every_split(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for value, name in enumerate(("ant", "unknown", "bee", "cow")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (10 * value, i, 0)).save(tmp_path / split / name / f"{i}.png")

    def pipeline(**data):
        config = config_file.load_config(f"{ROOT}/configs/vit_b16.py:demo")
        config["data"] |= dict(name="folder", path=str(tmp_path), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3) | data
        return build.open_pipeline(resolve(config))

    found = pipeline(ignored_classes=("unknown",))
    splits = found.splits
    assert tuple(splits.train.class_names) == ("ant", "bee", "cow")
    assert found.reader.fields["num_classes"] == 3
    assert "5 examples of 1 ignored classes left out" in splits.origin
    for source, count in ((splits.train, 3), (splits.test, 2)):
        assert source.labels.tolist() == sorted([0, 1, 2] * count)
        for i in range(len(source)):
            example = source[i]
            assert example["label"] == source.labels[i]
            assert example["image"][0, 0, 0] == (0, 20, 30)[example["label"]]
            assert (Path(source.name(i)).parent.name) == splits.train.class_names[example["label"]]
    for wrong, message in (
        (("dog",), "'dog' is none of the classes, such as 'ant', 'bee'"),
        (("ant", "bee", "cow"), "leaves 1 classes"),
    ):
        with pytest.raises(UserError, match=message):
            pipeline(ignored_classes=wrong)
    with pytest.raises(UserError, match="needs labels"):
        pipeline(name="images", ignored_classes=("ant",))


def test_bpe_is_the_same_each_time_and_gives_back_every_text():
    texts = ["a caf\u00e9, zwei \u4e2d\u6587 words", "  spaces  and CAPITALS", "typed [SEP] and [MASK] are text"]
    one, two = (train_bpe(texts, 300) for _ in range(2))
    assert one.to_json() == two.to_json()
    for text in texts:
        assert " ".join(one.decode(one.encode(text)).split()) == " ".join(text.split())
    assert one.encode_masked("[MASK]") == [one.mask]
    assert one.mask not in one.encode("[MASK]")
    assert one.pad == 0
    assert (
        train_bpe(texts, 300, lowercase=True).decode(train_bpe(texts, 300, lowercase=True).encode("A caf\u00c9"))
        == "a caf\u00e9"
    )
    with pytest.raises(UserError, match="vocab_size=100 must be at least 261"):
        train_bpe(texts, 100)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nhi, there,a\n", "row 1 has more fields than the header, text, label"),
        ("a.csv", "text,label\nhi\n", "row 1 has fewer fields than the header, text, label"),
        ("a.jsonl", "3\n", "line 1 holds a int, not an object"),
        ("a.jsonl", '{"text": "a"', "line 1 is not valid JSON"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", "words,label\na,b\n", "has the columns words, label; a column of texts is needed"),
    ],
)
def test_odd_tables_are_refused_in_a_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        opened("sentences", name="table", path=str(tmp_path / name), length=16, vocab_size=300)


def test_tables_of_spreadsheets_and_of_glue_are_read_as_they_are(tmp_path):
    rows = [("plain", "a"), ('he said "yes', "b"), ("more", "a"), ("\u00fcber", "b")] * 3
    (tmp_path / "glue.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{label}\n" for t, label in rows))
    (tmp_path / "excel.csv").write_bytes(
        "\ufefftext,label\r\n".encode() + "".join(f"{t},{label}\r\n" for t, label in rows if '"' not in t).encode()
    )
    for name, count in (("glue.tsv", 12), ("excel.csv", 9)):
        pipeline = opened("sentences", name="table", path=str(tmp_path / name), length=32, vocab_size=300)
        texts = [
            s[i]["texts"][0] for s in (pipeline.splits.train.source, pipeline.splits.test.source) for i in range(len(s))
        ]
        assert len(texts) == count
        assert set(texts) <= {t for t, _ in rows}


def test_paragraphs_make_pairs_of_both_kinds(tmp_path):
    """A line that fills a passage alone is cut in two: or every second passage would be from elsewhere."""
    words = [" ".join(f"w{i}x{j}" for j in range(60)) for i in range(60)]
    (tmp_path / "p.txt").write_text("\n\n".join(words))
    pipeline = opened("texts", name="text", path=str(tmp_path / "p.txt"), length=40, vocab_size=300)
    assert 0.3 < first(pipeline, 57)["next"].mean() < 0.7


def test_text_of_another_encoding_is_refused(tmp_path):
    (tmp_path / "t.txt").write_bytes("some words\n\nmore\n".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16, not UTF-8; convert it: iconv"):
        opened("texts", name="text", path=str(tmp_path / "t.txt"), length=40)


def test_tokenizers_from_elsewhere(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "two"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "t.txt").write_text(TEXT)
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=40, tokenizer=str(tmp_path / "vocab.txt"))
    pipeline = opened("texts", **data)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    assert max(vocab.encode("one two three")) < pipeline.reader.fields["vocab_size"]
    (tmp_path / "vocab.txt").write_text("\n".join(words[:1] + words[2:]))
    with pytest.raises(UserError, match=r"cannot be read: it has no \[UNK\]"):
        opened("texts", **data)
    nameless = json.loads(pipeline.reader.record["tokenizer"].replace("[SEP]", "[EMPTY]"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(nameless))
    with pytest.raises(UserError, match=r"no end-of-text token \(\[SEP\], </s>"):
        opened("texts", **data | dict(tokenizer=str(tmp_path / "tokenizer.json")))


def test_a_tokenizer_without_a_token_for_padding_gives_the_numbers_of_one_that_has_it(tmp_path):
    """GPT-2's way: one token begins and ends a text, and none fills it up. The end is learned, padding is not."""
    (tmp_path / "t.txt").write_text(TEXT)
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=200, vocab_size=300, sentence_pairs=False)
    own = json.loads(opened("texts", **data).reader.record["tokenizer"])
    losses = []
    for names in (
        {"[CLS]": "<|endoftext|>", "[SEP]": "[SEP2]"},
        {"[CLS]": "<|endoftext|>", "[SEP]": "[SEP2]", "[PAD]": "[EMPTY]"},
    ):
        text = json.dumps(own)
        for old, new in names.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        (tmp_path / "tokenizer.json").write_text(text)
        pipeline = opened("texts", **data | dict(tokenizer=str(tmp_path / "tokenizer.json")))
        spec = pipeline.reader.spec
        assert spec.begin == spec.end == 2
        model = LanguageModel(vocab_size=spec.vocab_size, width=16, depth=1, num_heads=2, mlp_width=16)
        task = TASKS["language"].factory(model, spec)
        batch = next(Loader(pipeline.splits.train, pipeline.augment, 4).train())
        assert (batch["tokens"] == spec.pad).any()
        variables = task.init(jax.random.key(0), batch)
        loss, aux = task.loss(variables, batch, jax.random.key(0), False)
        losses.append((float(loss), float(aux.metrics["loss"][1])))
    assert losses[0] == losses[1]
    fnet = FNet(heads="classes", vocab_size=300, width=16, depth=1, mlp_width=16)
    with pytest.raises(ValueError, match="FNet mixes padding into the text, and the tokenizer has no token for it"):
        TASKS["text_classification"].factory(fnet, spec)


def test_a_mask_stands_for_a_word_with_its_space():
    vocab = train_bpe(["the capital of france is paris"] * 3, 300)
    around, word = (vocab.encode_masked(f"capital of{x} is") for x in (" [MASK]", " france"))
    place = around.index(vocab.mask)
    assert around[:place] == vocab.encode("capital of")
    assert vocab.decode([*around[:place], *vocab.encode("france"), *around[place + 1 :]]) == vocab.decode(word)


def test_a_test_folder_alone_is_not_learned_from(tmp_path):
    (tmp_path / "test").mkdir()
    for place in ("a.png", "b.png", "test/c.png"):
        (tmp_path / place).write_bytes(jpeg(9, (40, 40)))
    with pytest.raises(UserError, match="holds 'test' but no training folder"):
        opened("restoration", name="images", path=str(tmp_path), patch=8, scale=2)


def test_pieces_of_jpeg_begin_anywhere_in_its_blocks(tmp_path, rng):
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((80, 80)).save(tmp_path / f"{i}.png")
    pipeline = opened(
        "restoration",
        name="images",
        path=str(tmp_path),
        patch=16,
        degradation="jpeg",
        strength=(5.0,),
        patches_per_image=60,
    )
    batch = first(pipeline, 60)
    assert batch["damaged"].shape == batch["image"].shape == (60, 16, 16, 3)
    edges = np.abs(np.diff(batch["damaged"].mean(-1), axis=2)).mean((0, 1))
    assert edges.max() < 2 * edges.mean()  # blocks that always begin at 0 would stand out at 8


def test_tars_with_dots_lone_members_and_a_truncated_end(tmp_path, caplog, monkeypatch):

    from vitax.data.captions import CaptionedTars
    from vitax.data.tar_rows import TarRows

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tar(
        tmp_path / "a.tar",
        [("photo.1.png", jpeg(1)), ("photo.1.txt", b"one"), ("b.png", jpeg(2)), ("b.txt", b"two")]
        + [("b.seg.png", jpeg(3)), ("b.json", b"{}"), ("c.txt", "caf\u00e9".encode("latin-1")), ("c.png", jpeg(4))],
    )
    opened = lambda: TarRows([str(tmp_path / "a.tar")], labelled=False)
    first = opened()
    rows = [first[i] for i in range(len(first))]
    assert {row.key for row in rows} == {"photo.1", "b", "c"}
    assert all(row.image[0] > 0 and row.caption[0] > 0 for row in rows)
    assert first.aside == {".png": 1, ".json": 1}
    monkeypatch.setattr("tarfile.open", None)  # the second time, the index tells the same
    again = opened()
    assert [again[i] for i in range(len(again))] == rows
    assert again.aside == first.aside
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = CaptionedTars.opened([str(tmp_path / "a.tar")], RGB)
    with pytest.raises(ValueError, match="its caption is not UTF-8 text"):
        source[[row.key for row in rows].index("c")]
    assert source[[row.key for row in rows].index("photo.1")]["caption"] == "one"
    whole = (tmp_path / "a.tar").read_bytes()
    last = [row.key for row in rows].index("c")
    (tmp_path / "a.tar").write_bytes(whole[: rows[last].image[0] + 9])
    cut = CaptionedTars.opened([str(tmp_path / "a.tar")], RGB)
    assert "is truncated" in caplog.text
    with pytest.raises(ValueError, match="an image without a caption|a caption without an image"):
        cut[last]


def test_rows_of_jsonl_may_have_keys_in_any_order_and_further_ones(tmp_path):
    rows = [
        '{"text": " one ", "label": 1, "extra": null}',
        '{"label": "1 ", "text": "two"}',
        '{"text": "three", "label": 2.0, "more": [1]}',
        '{"text": "four", "label": 2}',
    ] * 3
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    pipeline = opened("sentences", name="table", path=str(tmp_path / "t.jsonl"), length=16, vocab_size=300)
    assert pipeline.splits.train.class_names == ("1", "2")
    for bad, message in (
        ('{"text": ["a"], "label": 1}', r"row 13 has \[.a.\] in the column 'text', where a text belongs"),
        ('{"text": NaN, "label": 1}', "row 13 has NaN in the column 'text'"),
        ('{"text": "a", "label": null}', "row 13 has null in the column 'label', where a label belongs"),
        ('{"label": 1}', "row 13 has null in the column 'text'"),
    ):
        (tmp_path / "t.jsonl").write_text("\n".join([*rows, bad]))
        with pytest.raises(UserError, match=message):
            opened("sentences", name="table", path=str(tmp_path / "t.jsonl"), length=16, vocab_size=300)


def test_every_token_of_a_long_line_is_in_reach(tmp_path):
    """A paragraph a line: examples begin inside of it, and none reads the line whole."""
    words = [f"w{i:04d}" for i in range(600)]
    (tmp_path / "t.txt").write_text(" ".join(words[:400]) + "\n\n" + " ".join(words[400:]) + "\n\nlast line\n")
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=24, vocab_size=400, test_fraction=0.3)
    pipeline = opened("texts", **data, sentence_pairs=False)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    seen = set()
    for epoch in range(40):
        for transform, split in (
            (pipeline.augment, pipeline.splits.train),
            (pipeline.reader.transform, pipeline.splits.test),
        ):
            for i in range(len(split)):
                row = transform(split[i], np.random.default_rng(1000 * epoch + i))["tokens"]
                seen |= set(vocab.tokenizer.decode(row.tolist(), skip_special_tokens=True).split())
    assert set(words) <= seen
    longest = max(len(pipeline.splits.train.lines[i]) for i in range(len(pipeline.splits.train)))
    assert longest <= 4 * 24


@pytest.mark.parametrize("newlines", [True, False])
def test_the_tokens_of_a_line_do_not_depend_on_its_pieces(tmp_path, newlines):
    text = " ".join(f"word{i % 7} and{i}" for i in range(300))
    (tmp_path / "t.txt").write_text(f"{text}\n\n{text[:900]}\n")
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=24, vocab_size=400, test_fraction=0.5)
    pipeline = opened("texts", **data, sentence_pairs=False, newlines=newlines)
    vocab = from_json(pipeline.reader.record["tokenizer"])
    for split in (pipeline.splits.train, pipeline.splits.test):
        read = split.lines.raw if newlines else split.lines.__getitem__
        pieces = [read(i) for i in range(len(split.lines))]
        assert len(pieces) > 5
        joined = "".join(pieces) if newlines else " ".join(pieces)
        assert [token for piece in pieces for token in vocab.encode(piece)] == vocab.encode(joined)


def test_a_language_model_keeps_newlines_and_indentation(tmp_path):
    code = "def f(x):\n    return x\n\ndef g():\n    pass\n"
    (tmp_path / "t.txt").write_text(code)
    data = dict(name="text", path=str(tmp_path / "t.txt"), length=40, vocab_size=300, test_fraction=0.5)
    for newlines, expected in ((True, "    return x\n"), (False, "def f(x): return x")):
        pipeline = opened("texts", **data, sentence_pairs=False, newlines=newlines)
        vocab = from_json(pipeline.reader.record["tokenizer"])
        texts = []
        for split in (pipeline.splits.train, pipeline.splits.test):
            transform = pipeline.reader.transform
            texts += [vocab.tokenizer.decode(transform(split[i], None)["tokens"].tolist()) for i in range(len(split))]
        assert any(expected in text for text in texts), texts


@pytest.mark.parametrize(
    ("template", "name", "caption"),
    [
        ("a photo of a {}.", "a dog", "a photo of a dog."),
        ("a photo of a {}.", "golden_retriever", "a photo of a golden retriever."),
        ("a photo of {}.", "a dog", "a photo of a dog."),
        ("{} in the snow", "the_cat", "the cat in the snow"),
        ("a photo of the {}.", "An apple", "a photo of the apple."),
        ("a photo of a {}.", "aardvark", "a photo of a aardvark."),
    ],
)
def test_captions_of_class_names(template, name, caption):
    from vitax.pipelines.captions import caption_of

    assert caption_of(template, name) == caption


def test_special_tokens_that_a_user_types_are_text():
    vocab = train_bpe(["a text with [SEP] in it"], 300)
    ids = vocab.encode("a [SEP] b [PAD] c [CLS] [MASK]")
    assert not {vocab.pad, vocab.begin, vocab.end, vocab.mask} & set(ids)
    assert vocab.decode(ids) == "a [SEP] b [PAD] c [CLS] [MASK]"


def test_a_pair_with_an_empty_side_is_told(tmp_path, caplog):
    for split in ("train", "test"):
        (tmp_path / f"{split}.en").write_text("one\n\nthree\n")
        (tmp_path / f"{split}.de").write_text("eins\nzwei\ndrei\n")
    opened("bitext", name="bitext", path=str(tmp_path), length=16, vocab_size=300)
    assert caplog.text.count("1 of 3 pairs are left out because a side is empty (line 2)") == 2


def test_names_of_classes_in_captions_come_from_a_file(tmp_path):
    from vitax.pipelines.captions import names_in_captions

    (tmp_path / "names.txt").write_text("n02123045\ttabby cat\n")
    assert names_in_captions(["n02123045", "dog"], str(tmp_path / "names.txt")) == ["tabby cat", "dog"]
    (tmp_path / "names.txt").write_text("n02123045 tabby cat\n")
    with pytest.raises(UserError, match="line 1 is not CLASS<TAB>NAME"):
        names_in_captions(["n02123045", "dog"], str(tmp_path / "names.txt"))


def names_of(source):
    return [source.name(i) for i in range(len(source))]


def write_texts(root, split, n):
    (root / f"{split}.en").write_text("".join(f"{split} number {i}\n" for i in range(n)))
    (root / f"{split}.de").write_text("".join(f"{split} Zahl {i}\n" for i in range(n)))
    rows = [f"{split} text {i},{'ab'[i % 2]}\n" for i in range(n)]
    (root / f"{split}.csv").write_text("text,label\n" + "".join(rows))
    lines = "\n\n".join(f"{split} says {i}" for i in range(n))
    (root / f"{split}.txt").write_text(lines + "\n")
    for i in range(n):
        (root / split).mkdir(exist_ok=True)
        (root / split / f"{i}.png").write_bytes(jpeg(3 * i, (40, 40)))


KINDS_OF_TEXT = {
    "bitext": dict(name="bitext", length=32, vocab_size=400),
    "sentences": dict(name="table", length=32, vocab_size=400),
    "texts": dict(name="text", length=32, vocab_size=400, sentence_pairs=False),
    "restoration": dict(name="images", patch=16, scale=2),
}


@pytest.mark.parametrize("kind", KINDS_OF_TEXT)
def test_every_kind_of_data_holds_out_a_validation_part(kind, tmp_path):
    """A share of the training split, the same each time; what is learned from and what is tested stay apart."""
    for split, n in (("train", 40), ("test", 6)):
        write_texts(tmp_path, split, n)
    data = dict(path=str(tmp_path), **KINDS_OF_TEXT[kind])
    plain, held = (opened(kind, **data, validation=share).splits for share in ("", "25%"))
    assert plain.validation is None
    assert "25" in held.origin
    assert names_of(held.test) == names_of(plain.test)
    assert len(held.validation) == 10
    assert sorted(names_of(held.train) + names_of(held.validation)) == sorted(names_of(plain.train))
    assert names_of(opened(kind, **data, validation="25%").splits.validation) == names_of(held.validation)
    for share in ("0%", "100%"):
        with pytest.raises(UserError, match="must lie between 0% and 100%"):
            opened(kind, **data, validation=share)


@pytest.mark.parametrize("kind", KINDS_OF_TEXT)
def test_a_validation_split_beside_the_others_is_found_by_its_name(kind, tmp_path):
    for split, n in (("train", 20), ("test", 6), ("extra", 5)):
        write_texts(tmp_path, split, n)
    data = dict(path=str(tmp_path), **KINDS_OF_TEXT[kind])
    named = opened(kind, **data, validation="extra").splits
    assert len(named.validation) == 5
    assert (len(named.train), len(named.test)) == (20, 6)
    with pytest.raises(UserError, match=r"no |does not have|holds no"):
        opened(kind, **data, validation="elsewhere")
    if kind == "restoration":
        return
    write_texts(tmp_path, "dev", 4)
    found = opened(kind, **data).splits
    assert len(found.validation) == 4
    assert "dev" in found.origin
    with pytest.raises(UserError, match="has a validation split; leave it empty"):
        opened(kind, **data, validation="10%")


def test_a_validation_part_of_captions_shares_no_image(tmp_path):
    rows = [{"image": f"{i // 5}.png", "caption": f"caption {i}"} for i in range(50)]
    write_table(tmp_path, rows, "train.csv")
    write_table(tmp_path, [{"image": "x.png", "caption": "one"}], "test.csv")
    data = dict(name="table", path=str(tmp_path), length=32, vocab_size=400, **IMAGE)
    splits = opened("captions", **data, validation="20%").splits
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (40, 10, 1)
    assert not set(names_of(splits.train)) & set(names_of(splits.validation))


def test_passages_of_a_validation_part_are_its_own(tmp_path):
    """A text that is one document is cut: its beginning is learned from, its end chooses the best."""
    (tmp_path / "train.txt").write_text("".join(f"line {i} of the training\n" for i in range(100)))
    (tmp_path / "test.txt").write_text("".join(f"line {i} of the test\n" for i in range(9)))
    data = dict(name="text", path=str(tmp_path), length=64, vocab_size=300, sentence_pairs=False)
    pipeline = opened("texts", **data, validation="10%")
    splits, vocab = pipeline.splits, from_json(pipeline.reader.record["tokenizer"])
    batch = next(Loader(splits.validation, pipeline.reader.transform, 10).once())
    text = vocab.tokenizer.decode(batch["tokens"][0].tolist())
    assert text.startswith(" line 90 of the training\n line 91")
    learned = [pipeline.augment(splits.train[i], np.random.default_rng(0))["tokens"] for i in range(90)]
    assert not any("line 9" in vocab.tokenizer.decode(row.tolist())[3:] for row in learned[20:])


def test_what_is_cut_off_is_said(tmp_path):
    rows = "".join(f"{'word ' * n}end,{'ab'[n % 2]}\n" for n in range(100))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    data = dict(name="table", path=str(tmp_path / "t.csv"), vocab_size=300)
    assert "cut off" not in opened("sentences", **data, length=200).about
    about = opened("sentences", **data, length=20).about
    # Of n + 3 tokens, 20 stay: sum(max(0, n - 17)) / sum(n + 3) = 3403 / 5250
    assert ", 65 % of the tokens are cut off" in about, about


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("images", dict(name="folder", test_fraction=0.5)),
        ("captions", dict(name="table", test_fraction=0.5, length=32, vocab_size=300)),
        ("captions", dict(name="tars", test_fraction=0.5, length=32, vocab_size=300)),
        ("restoration", dict(name="images", test_fraction=0.5, patch=4, scale=2)),
    ],
)
def test_the_greatest_number_of_pixels_is_a_key_of_every_source(kind, data, tmp_path):
    """Above it, a JPEG is decoded smaller, and any other file is unreadable."""
    pixels = Image.fromarray(np.full((64, 96, 3), 120, np.uint8))
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for i in range(8):
            name, ending = f"{i}", ("jpg", "png")[i % 2]
            folder = tmp_path / "d" / ("a", "b")[i // 4]
            folder.mkdir(parents=True, exist_ok=True)
            pixels.save(file := folder / f"{name}.{ending}")
            tar.add(file, f"{name}.{ending}")
            info = tarfile.TarInfo(f"{name}.txt")
            info.size = 4
            tar.addfile(info, io.BytesIO(b"grey"))
    rows = [{"image": f"d/{'ab'[i // 4]}/{i}.{('jpg', 'png')[i % 2]}", "caption": "grey"} for i in range(8)]
    (tmp_path / "t.csv").write_text("image,caption\n" + "".join(f"{r['image']},{r['caption']}\n" for r in rows))
    path = {"table": "t.csv", "tars": "t.tar"}.get(data["name"], "d")
    image = {} if kind == "restoration" else IMAGE
    splits = opened(kind, **data, **image, path=str(tmp_path / path), max_pixels=2000).splits
    seen = set()
    for i in range(len(splits.train)):
        if splits.train.name(i).endswith("jpg") or splits.train.name(i)[-1] in "0246":
            seen.add(splits.train[i]["image"].shape[:2])
        else:
            with pytest.raises(ValueError, match="96x64 is above 2,000 pixels"):
                splits.train[i]
    assert seen
    assert seen <= {(32, 48), (16, 24)}
    with pytest.raises(UserError, match=r"max_pixels=0 must lie in 1\.\.178956970"):
        opened(kind, **data, **image, path=str(tmp_path / path), max_pixels=0)
