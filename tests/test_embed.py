"""Features of files, and the nearest neighbours among them."""

import csv
import json

import numpy as np
import pytest
import tokenizers
from commands import refused
from demo_runs import DEMOS, opened
from PIL import Image
from small import SMALL, variables_of

import vitax
from vitax import pretrained
from vitax.data.tokens import train_bpe
from vitax.errors import UserError
from vitax.neighbors import nearest, read_features
from vitax.prediction import load_run
from vitax.prediction.features import features
from vitax.pretrained.preprocessing import Preprocessing

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "my photos").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (9, 8), dtype=np.uint8)).save(tmp_path / "my photos" / f"{i}.png")
    return tmp_path / "my photos"


def test_features_of_a_run(trained, verb, photos, tmp_path):
    run, out = trained("vit"), tmp_path / "f.npz"
    (photos / "9.png").write_bytes(b"no image")
    done = verb("embed", f"--workdir={run}", str(photos), f"--out={out}")
    assert done.returncode == 2
    assert "9.png" in done.stderr
    assert "f.npz: 6 x 16; 1 could not be read" in done.stdout
    found, files, about = read_features(out)
    assert files == [str(photos / f"{i}.png") for i in range(6)]
    assert about["source"] == str(run.resolve())
    assert np.allclose(found, vitax.load(run).features(files), atol=1e-6)
    (photos / "9.png").unlink()
    normal = tmp_path / "n.csv"
    assert verb("embed", f"--workdir={run}", str(photos), f"--out={normal}", "--normalize").returncode == 0
    with normal.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:2] == ["file", "f0"]
    lengths = np.linalg.norm([[float(x) for x in row[1:]] for row in rows], axis=1)
    assert np.allclose(lengths, 1, atol=1e-5)
    refused(verb("embed", f"--workdir={run}", str(photos), f"--out={out}"), "exists already")
    refused(verb("embed", f"--workdir={run}", str(photos), "--out=a.txt"), "must end in .npz, .parquet, .csv")
    refused(verb("embed", str(photos)), "give --workdir=RUN")
    refused(verb("embed", f"--workdir={run}", str(photos), "--out=b.npz", "--batch_size=-5"), "must not be negative")
    refused(
        verb("embed", f"--workdir={run}", str(photos), "--layer=7", "--pool=mean"), "--layer=7: the model has 1 blocks"
    )
    refused(verb("embed", f"--workdir={run}", str(photos), "--layer=1"), "--layer=1 needs --pool=token or --pool=mean")
    refused(verb("embed", f"--workdir={run}", str(photos), "--pool=mean"), "--pool=mean belongs to --layer")
    refused(verb("embed", f"--workdir={run}", str(photos), "--layer=1", "--pool=token"), "has no class token")


def test_features_after_a_block(tmp_path):
    """After the last block: the final norm of the class token is what the head reads; the mean leaves prefixes out."""
    model = SMALL["vit"].replaced(register_tokens=2)
    variables = variables_of(model, SMALL["vit"].inputs)
    images = Preprocessing((0.5,) * 3, (0.5,) * 3, 1.0, "bicubic", image_size=(16, 24))
    pretrained.save(tmp_path / "vit", model, variables, "timm ViT", images=images)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 24, 3), dtype=np.uint8)
    files = []
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    run = vitax.load(tmp_path / "vit").run
    take = lambda **options: np.stack([row for _, row in features(run, files, **options)])
    token = take(layer=2, pool="token")
    norm = variables["params"]["norm"]
    centred = token - token.mean(axis=1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
    assert np.allclose(take(), expected, atol=1e-5)
    _, state = model.apply(variables, ((pixels / 255 - 0.5) / 0.5).astype(np.float32), capture_intermediates=True)
    tokens = np.asarray(state["intermediates"]["block0"]["__call__"][0])
    assert tokens.shape == (2, 3 + 24, 32)
    assert np.allclose(take(layer=1, pool="mean"), tokens[:, 3:].mean(axis=1), atol=1e-5)


def test_features_of_an_mae_after_a_block_see_all_patches(trained, tmp_path):
    """The same image thrice has the same features: nothing is hidden by a random choice."""
    files = []
    for i in range(3):
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    run = load_run(trained("mae"))
    rows = np.stack([row for _, row in features(run, files, layer=1, pool="mean")])
    assert np.allclose(rows[0], rows[1:], atol=1e-6)


def test_the_first_token_of_a_text_of_a_clip_is_refused(tmp_path):
    run, _ = opened(*DEMOS["contrastive"])
    (tmp_path / "t.txt").write_text("a dog\na cat\n")
    with pytest.raises(UserError, match="use --pool=mean"):
        list(features(run, [str(tmp_path / "t.txt")], layer=1, pool="token"))
    first, second = (row for _, row in features(run, [str(tmp_path / "t.txt")], layer=1, pool="mean"))
    assert not np.allclose(first, second)


def test_texts(trained, verb, tmp_path):
    run = trained("bert")
    (tmp_path / "t.txt").write_text("The value is returned.\nA function that sorts a list of numbers\n")
    assert verb("embed", f"--workdir={run}", str(tmp_path / "t.txt"), "--out=a.npz").returncode == 0
    found, names, _ = read_features(tmp_path / "a.npz")
    assert names == ["The value is returned.", "A function that sorts a list of numbers"]
    assert found.shape[0] == 2
    assert (
        verb("embed", f"--workdir={run}", str(tmp_path / "t.txt"), "--out=b.npz", "--layer=1", "--pool=mean").returncode
        == 0
    )
    (tmp_path / "one.txt").write_text("The value is returned.\n")
    assert (
        verb(
            "embed", f"--workdir={run}", str(tmp_path / "one.txt"), "--out=c.npz", "--layer=1", "--pool=mean"
        ).returncode
        == 0
    )
    many, one = (read_features(tmp_path / name)[0] for name in ("b.npz", "c.npz"))
    assert np.allclose(many[:1], one, atol=1e-6), "padding does not count"


@pytest.fixture
def encoder(tmp_path):
    """The folder of a BERT as a hub has it, with its tokenizer."""
    vocab = train_bpe(["a text of words", "and another text"], 300)
    model = SMALL["bert"].replaced(vocab_size=vocab.size, heads="none", max_length=20)
    variables = variables_of(model, (np.zeros((1, 5), np.int32),))
    tokenizer = {"tokenizer.json": vocab.to_json()}
    pretrained.save(tmp_path / "bert", model, variables, "Hugging Face BERT", beside=tokenizer)
    return tmp_path / "bert", model, variables, vocab


def test_an_encoder_of_texts_of_another_project(encoder, verb, tmp_path):
    folder, model, variables, vocab = encoder
    model_of_texts = vitax.load(folder, length=20)
    ids = [vocab.begin, *vocab.encode("a text"), vocab.end]
    tokens = model.apply(variables, np.array([ids], np.int32))["tokens"]
    assert np.allclose(model_of_texts.features("a text"), tokens[0, 0], atol=1e-5), "padding does not count"
    assert model_of_texts.features(["a text", "words"]).shape == (2, 32)
    (tmp_path / "t.txt").write_text("a text\n" + "words " * 30 + "\n")
    done = verb("embed", f"--weights={folder}", "t.txt", "--out=t.npz", "--length=20", "--layer=2", "--pool=mean")
    assert done.returncode == 2
    assert "has" in done.stderr
    assert "the model takes data.length=20" in done.stderr
    found, names, _ = read_features(tmp_path / "t.npz")
    assert names == ["a text"]
    assert np.allclose(found[0], np.asarray(tokens[0]).mean(axis=0), atol=1e-5)
    near = verb("neighbors", "t.npz", "a text", "--count=1")
    assert json.loads(near.stdout)["query"] == "a text"
    with pytest.raises(UserError, match="predicts nothing"):
        model_of_texts("a text")
    with pytest.raises(UserError, match=r"length=128 must lie in 3..20"):
        vitax.load(folder)
    (folder / "tokenizer.json").write_text(train_bpe(["x"] * 3, 270).to_json())
    vitax.load(folder, length=8)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="give tokenizer=PATH"):
        vitax.load(folder, length=8)


def test_a_tokenizer_with_more_tokens_than_the_weights_is_refused(encoder):
    folder, *_ = encoder
    (folder / "tokenizer.json").write_text(train_bpe([" ".join(map(str, range(500)))] * 2, 900).to_json())
    with pytest.raises(UserError, match="it belongs to other weights"):
        vitax.load(folder, length=8)


def test_neighbours(trained, verb, photos, tmp_path):
    run = trained("vit")
    assert verb("embed", f"--workdir={run}", str(photos), "--out=f.npz").returncode == 0
    found, files, _ = read_features(tmp_path / "f.npz")
    cosine = found @ found.T / np.linalg.norm(found, axis=1) / np.linalg.norm(found, axis=1)[:, None]
    order = [i for i in np.argsort(-cosine[2]) if i != 2][:3]
    done = verb("neighbors", "f.npz", files[2], "--count=3", "--html=n.html", "--picture=m.png")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[0])
    assert row["query"] == files[2]
    assert [near["file"] for near in row["neighbors"]] == [files[i] for i in order]
    assert np.allclose([near["cosine"] for near in row["neighbors"]], cosine[2][order], atol=1e-5)
    page = (tmp_path / "n.html").read_text()
    assert page.count("data:image/png") == 4
    assert "http" not in page.replace("http-equiv", "")
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.size[0] > 300
    # A file that is not among them is embedded by the same run: a copy is nearest to its original.
    (tmp_path / "copy.png").write_bytes((photos / "4.png").read_bytes())
    copy = json.loads(verb("neighbors", "f.npz", "copy.png", "--count=1").stdout)
    assert copy["neighbors"] == [{"file": files[4], "cosine": pytest.approx(1, abs=1e-5)}]
    refused(verb("neighbors"), "name the features")
    refused(verb("neighbors", "f.npz"), "name a query")
    refused(verb("neighbors", "n.html", files[0]), "n.html is not an .npz file: vitax.embed writes one")
    np.savez("other.npz", a=np.zeros(3))
    refused(verb("neighbors", "other.npz", files[0]), "holds no features of vitax.embed")
    refused(verb("neighbors", "f.npz", "nothing.png"), "nothing.png does not exist")
    refused(verb("neighbors", "f.npz", files[0], "--count=0"), "--count=0 must be at least 1")


def test_a_query_is_not_its_own_neighbour_among_few():
    rows = nearest(np.eye(3), ["a", "b", "c"], {}, ["b"], 10)
    assert [near["file"] for near in rows[0]["neighbors"]] == ["a", "c"]


def test_a_tokenizer_that_frames_texts_in_another_way_is_refused(encoder):
    folder, *_ = encoder
    assert "no post_processor" in vitax.load(folder, length=8).report
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    for template, fits in (("[CLS] $A [SEP]", True), ("[CLS] $A", False)):
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=special)
        tokenizer.save(str(folder / "tokenizer.json"))
        if not fits:
            with pytest.raises(UserError, match=r"vitax '\[CLS\] .* \[SEP\]': correct its post_processor"):
                vitax.load(folder, length=8)
        else:
            assert "post_processor" not in vitax.load(folder, length=8).report


def test_features_name_their_weights_wherever_one_stands(tmp_path, verb, monkeypatch):
    model = SMALL["vit"]
    variables = variables_of(model.replaced(), model.inputs)
    images = Preprocessing((0.5,) * 3, (0.5,) * 3, 1.0, "bicubic", image_size=(16, 24))
    pretrained.save(tmp_path / "vit", model.replaced(), variables, "timm ViT", images=images)
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    done = verb("embed", "--weights=vit", "a.png", "--out=f.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "f.npz") as file:
        assert json.loads(str(file["about"]))["source"] == str(tmp_path / "vit")
