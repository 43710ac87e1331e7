"""Every evaluation: a model that returns the truth gets the best possible score, one that returns another example's
the score of chance."""

import unicodedata
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitax import metrics
from vitax.data.tokens import train_bpe
from vitax.evals import pairs, restoration, translations
from vitax.evals.evaluation import Given
from vitax.evals.probes import probes
from vitax.mesh import make_mesh
from vitax.specs import ImageSpec, TextSpec
from vitax.tasks import TASKS, Task
from vitax.training.evaluate import mean_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


class Batches:
    """A loader of rows {name: [n, ...]}, with invalid rows of nonsense in between."""

    def __init__(self, rows, source, size=8):
        self.rows, self.source, self.size = rows, source, size

    def once(self):
        count = len(self.source)
        for start in range(0, count, self.size):
            index = np.full(self.size, -1, np.int64)
            index[: min(self.size, count - start)] = np.arange(start, min(start + self.size, count))
            take = np.maximum(index, 0)
            yield {**{name: x[take] for name, x in self.rows.items()}, "index": index, "valid": index >= 0}


class Source:
    def __init__(self, names, references=None):
        self.names, self.references = names, references

    def __len__(self):
        return len(self.names)

    def name(self, i):
        return self.names[i]

    def reference(self, i):
        return self.references[i]


def given(rows, source, record=None, reader=None):
    """Predictions are the rows of the batch."""
    task = Task(None, None, lambda variables, batch: batch)
    loader = Batches({name: np.asarray(x) for name, x in rows.items()}, source)
    reader = reader or SimpleNamespace(record=record or {}, blank={})
    splits = SimpleNamespace(train=source, test=source)
    return Given(task, None, splits, reader, loader, loader, make_mesh(jax.devices()[:1]), 0)


def others(count, per=1):
    """The numbers of other examples: a cyclic shift by ``per``."""
    return np.roll(np.arange(count), -per)


@pytest.mark.parametrize("captions", [1, 5])
def test_retrieval_among_distinct_images(rng, captions):
    """Of the model of another image R@1 is 0; of a model that knows nothing R@5 is 5 of 30 images, whatever the rows."""
    images = unit(rng.normal(size=(30, 64)))
    rows = np.repeat(np.arange(30), captions)
    source = Source([f"{n}.jpg" for n in rows])
    tokens = np.arange(len(rows), dtype=np.int32)[:, None]

    def measured(text):
        data = dict(image=images[rows], text=text, tokens=tokens)
        return pairs.retrieval(given(data, source)).run({})

    perfect = measured(images[rows])
    assert set(perfect.values()) == {1.0}
    wrong = measured(images[others(30)[rows]])
    assert wrong["image_to_text_r1"] == wrong["text_to_image_r1"] == 0
    noise = np.mean([measured(unit(rng.normal(size=(len(rows), 64))))["text_to_image_r5"] for _ in range(30)])
    assert noise == pytest.approx(5 / 30, abs=0.035)


def test_retrieval_counts_repeated_captions_once_and_the_gallery_in_images(rng):
    images = unit(rng.normal(size=(6, 32)))
    rows = np.repeat(np.arange(6), 2)
    tokens = np.array([0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10], np.int32)[:, None]  # images 0 and 1 share a caption
    texts = unit(rng.normal(size=(11, 32)))[tokens[:, 0]]
    source = Source([f"{n}.jpg" for n in rows])
    data = dict(image=images[rows], text=texts, tokens=tokens)
    for gallery in (3, 6):
        found = pairs.retrieval(given(data, source), gallery=gallery, retrieval=(1, 2)).run({})
        chosen = rows < gallery
        captions = np.unique(tokens[chosen])
        scores = images[:gallery] @ np.stack([texts[np.flatnonzero(tokens[:, 0] == c)[0]] for c in captions]).T
        correct = np.array([[((rows == i) & (tokens[:, 0] == c)).any() for c in captions] for i in range(gallery)])
        for way, s, good in (("image_to_text", scores, correct), ("text_to_image", scores.T, correct.T)):
            for k in (1, 2):
                best = [good[q][np.argsort(-s[q])[:k]].any() for q in range(len(s))]
                assert found[f"{way}_r{k}"] == pytest.approx(np.mean(best))


TEXTS = {
    "de": ["Das ist ein Haus am See.", "Der Hund schläft unter dem alten Baum.", "Wir gehen heute nicht in die Stadt."],
    "numbers": ["dreiundzwanzig", "vierhundertsieben", "eins"],  # without a four-gram of words
    "zh": ["我们今天去北京看朋友。", "我觉得这本书很有意思。", "明天早上可能会下雨。"],
    "ja": ["今日は天気がいいですね。", "私は本を読むのが好きです。", "駅はどこですか。"],
    "ko": ["오늘은 날씨가 좋습니다.", "저는 책을 읽는 것을 좋아합니다.", "역이 어디에 있습니까?"],
    "th": ["วันนี้อากาศดีมาก", "ฉันชอบอ่านหนังสือ", "สถานีอยู่ที่ไหน"],
}


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("form", ["as it is", "lower case", "decomposed"])
def test_bleu_of_the_references_own_tokens(language, form):
    texts = [unicodedata.normalize("NFD", text) if form == "decomposed" else text for text in TEXTS[language]] * 3
    vocab = train_bpe(texts, 400, lowercase=form == "lower case")
    width = max(len(vocab.encode(text)) for text in texts) + 1
    rows = np.full((len(texts), width), vocab.pad, np.int32)
    for row, text in zip(rows, texts, strict=True):
        ids = vocab.encode(text)
        row[: len(ids) + 1] = [*ids, vocab.end]
    record = {"tokenizer": vocab.to_json(), "target": "de" if language == "numbers" else language}
    source = Source([str(i) for i in range(len(texts))], texts)
    perfect = translations.bleu(given({"tokens": rows}, source, record), chrf=True).run({})
    assert perfect["bleu"] == pytest.approx(100)
    assert perfect["chrf"] == pytest.approx(100)
    assert perfect["exact"] == 1
    wrong = translations.bleu(given({"tokens": rows[others(len(texts))]}, source, record)).run({})
    assert wrong["exact"] == 0
    assert wrong["bleu"] < 40


def test_the_tokenizer_of_bleu_follows_the_language():
    assert translations.tokenizer_for("de") == translations.tokenizer_for("") == "13a"
    assert translations.tokenizer_for("zh-TW") == "zh"
    assert translations.tokenizer_for("th") == "char"
    assert {translations.tokenizer_for(code) for code in ("zho", "cmn", "zho_Hans", "yue")} == {"zh"}
    assert {translations.tokenizer_for(code) for code in ("tha", "khm_Khmr", "bod")} == {"char"}
    assert translations.tokenizer_for("jpn_Jpan") == translations.tokenizer_for("ja")
    assert translations.tokenizer_for("ja") in ("char", "ja-mecab")


def test_zero_shot_of_a_model_that_knows_the_class(rng):
    classes = unit(rng.normal(size=(10, 16)))
    labels = np.arange(50) % 10
    source = Source([str(i) for i in range(50)])
    blank = {"label": np.int32(0), "image": np.zeros(16, np.float32)}
    transform = SimpleNamespace(tokens=np.arange(10, dtype=np.int32)[None, :, None])
    reader = SimpleNamespace(record={"class_names": [str(i) for i in range(10)]}, blank=blank, transform=transform)
    table = jnp.asarray(classes)
    for number, expected in ((labels, 1.0), (others(10)[labels], 0.0)):
        data = dict(image=classes[number], label=labels.astype(np.int32), tokens=np.zeros((50, 1), np.int32))
        one = given(data, source, reader=reader)
        predict = lambda variables, batch: {"image": batch["image"], "text": table[batch["tokens"][:, 0]]}
        one = one._replace(task=Task(None, None, predict))
        assert pairs.zero_shot(one).run({})["zero_shot_accuracy"] == expected


def test_neighbours_and_few_shots_of_features_that_are_the_class(rng):
    labels = np.arange(60) % 6
    perfect, noise = unit(np.eye(6)[labels] + 0.01), unit(rng.normal(size=(60, 6)))
    for features, low, high in ((perfect, 1.0, 1.0), (noise, 0.0, 0.5)):
        source = Source([str(i) for i in range(60)])
        source.labels, source.class_names = labels, tuple("abcdef")
        one = given(dict(features=features, label=labels), source, {"class_names": list("abcdef")})
        # Half of the images are learned from, so that no image is its own neighbour.
        halves = [
            Batches({k: v[p] for k, v in one.train.rows.items()}, Source(source.names[:30]))
            for p in (slice(0, 30), slice(30, 60))
        ]
        found = probes(one._replace(train=halves[0], test=halves[1]), knn=3, shots=(4,)).run({})
        assert all(low <= value <= high for value in found.values()), found


def test_psnr_and_ssim_of_the_truth(rng):
    image = rng.integers(0, 256, (32, 32, 3)).astype(float)
    assert restoration.measure(image, image, 2)["psnr"] == float("inf")
    assert restoration.ssim(image[..., 0], image[..., 0]) == pytest.approx(1)
    other = rng.integers(0, 256, (32, 32, 3)).astype(float)
    assert restoration.measure(other, image, 2)["psnr"] < 9  # two uniform images: 20 log10(sqrt(6)) = 7.8
    assert abs(restoration.ssim(other[..., 0], image[..., 0])) < 0.1


def test_accuracy_counts_valid_rows_alone():
    """Invalid rows are wrong here, and must not count."""
    labels = jnp.arange(8) % 4
    valid = jnp.arange(8) < 5
    logits = 9.0 * jnp.eye(4)[jnp.where(valid, labels, (labels + 1) % 4)]

    def loss(variables, batch, key, train):
        hits = metrics.masked(metrics.top_k(batch["logits"], batch["label"]), batch["valid"])
        return metrics.mean(hits), SimpleNamespace(metrics={"accuracy": hits})

    rows = {"logits": np.asarray(logits), "label": np.asarray(labels)}
    batches = lambda: iter(
        [{**rows, "index": np.where(np.asarray(valid), np.arange(8), -1), "valid": np.asarray(valid)}]
    )
    task = Task(None, loss, None)
    assert mean_metrics(task, batches, make_mesh(jax.devices()[:1]))({})["accuracy"] == 1


class Table(nn.Module):
    """Logits that are parameters: whatever the images or texts, the same for all."""

    num_classes: int = 4
    shape: tuple[int, ...] = (4,)

    @nn.compact
    def __call__(self, *inputs, train=False, **more):
        logits = self.param("logits", nn.initializers.normal(2.0), self.shape)
        rows = jnp.broadcast_to(logits, (len(inputs[0]), *self.shape))
        return rows[:, : inputs[1].shape[1]] if len(inputs) > 1 else rows


@pytest.mark.parametrize("name", ["classification", "translation"])
def test_labels_are_smoothed_in_training_and_never_in_evaluation(name):
    """The smoothed loss is (1 - s) times the plain one plus s times the mean over all classes or words."""
    if name == "classification":
        model, spec = Table(), ImageSpec((8, 8), 3, (0.5,) * 3, (0.5,) * 3)
        batch = {"image": jnp.zeros((6, 8, 8, 3), jnp.uint8), "label": jnp.array([0, 1, 2, 3, 0, 1])}
        words = batch["label"]
    else:
        model, spec = Table(shape=(5, 30)), TextSpec(6, 30, 0, 1, 2, 3)
        target = jnp.array([[1, 7, 8, 9, 2, 0]] * 4)
        batch = {"source": target, "target": target}
        words = target[:, 1:]
    batch["valid"] = jnp.ones(len(words), bool)
    make = TASKS[name].factory
    tasks = {s: make(model, spec, label_smoothing=s) for s in (0.0, 0.2)}
    variables = tasks[0.0].init(jax.random.key(0), batch)
    loss = lambda s, train: float(tasks[s].loss(variables, batch, jax.random.key(1), train)[0])
    assert loss(0.0, False) == loss(0.2, False) == pytest.approx(loss(0.0, True))
    log_p = jax.nn.log_softmax(variables["params"]["logits"])
    if name == "classification":
        uniform = -log_p.mean()
    else:
        counted = np.asarray(words[0] != 0)
        uniform = -log_p.mean(-1)[counted].mean()
    assert loss(0.2, True) == pytest.approx(0.8 * loss(0.0, True) + 0.2 * float(uniform), rel=1e-5)
