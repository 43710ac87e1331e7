"""What `vitax.explain` shows of a run, for every family: random weights, real files."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from demo_runs import DEMOS, TINY, opened
from PIL import Image

from vitax.data.decode import decode_image
from vitax.errors import UserError
from vitax.explanation.images import explain_images
from vitax.explanation.texts import explain_texts

pytestmark = pytest.mark.usefixtures("quick_compile")

RUNS = {
    "vit": DEMOS["classification"],
    "dynamic_vit": ("dynamic_vit_s", {**TINY, "depth": 2, "stages": (1,), "keep_ratios": (0.5,)}),
    "mae": DEMOS["masked_image"],
    "clip": DEMOS["contrastive"],
    "swin": ("swin_t", {"depths": (1, 1), "width": 8}),
    "nat": ("nat_t", {"depths": (1, 1), "width": 8}),
    "mixer": ("mixer_b16", {"depth": 1}),
    "fnet": ("fnet_image", {"depth": 1}),
}


@pytest.fixture
def files(tmp_path, rng):
    image = Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    image.save(tmp_path / "one.png")
    (tmp_path / "two.png").write_text("no image")
    return [str(tmp_path / "one.png"), str(tmp_path / "two.png")]


def width(path):
    with Image.open(path) as image:
        return image.width


@pytest.mark.parametrize("name", RUNS)
def test_images(name, tmp_path, files):
    run, _ = opened(*RUNS[name])
    method = {"mae": ["rollout"], "fnet": ["gradcam"]}.get(name, ["relevance"])
    extra = {"labels": "a cat, a dog, a bird"} if name == "clip" else {}
    row, broken = explain_images(run, files, top=3, method=method, out=str(tmp_path / "out"), **extra)
    assert broken["file"].endswith("two.png")
    assert "not an image" in broken["error"]
    if name == "clip":
        assert {each["label"] for each in row["top"]} == {"a cat", "a dog", "a bird"}
    elif name == "mae":
        assert "class" not in row
    else:
        assert row["class"] == row["top"][0]["label"]
    panels = 2 + (len(run.model.stages) if name == "dynamic_vit" else 0)
    assert width(row["output"]) == 510 * panels, "the image, what is kept of it, and a map"


@pytest.mark.parametrize("name", ["vit", "dynamic_vit", "mae", "clip", "swin", "fnet"])
def test_heads(name, tmp_path, files):
    run, _ = opened(*RUNS[name])
    found = explain_images(run, files, method=["heads"], labels="a cat, a dog", out=str(tmp_path))
    if name in ("swin", "fnet"):
        with pytest.raises(UserError, match="heads has no meaning"):
            list(found)
        return
    row, _ = found
    assert "output" not in row
    assert row["heads"].endswith("one-heads.png")
    assert width(row["heads"]) > 400


def test_what_is_computed_in_bfloat16_is_explained_in_float32(tmp_path, files):
    run, _ = opened(*RUNS["vit"])
    found = []
    for dtype in (jnp.float32, jnp.bfloat16):
        made = explain_images(run._replace(model=run.model.clone(dtype=dtype)), files, out=str(tmp_path))
        found.append(decode_image(Path(next(made)["output"]).read_bytes()))
    np.testing.assert_array_equal(*found)


def test_texts_share_what_is_compiled_for_their_length(tmp_path, monkeypatch):
    from vitax.explanation import texts

    run, _ = opened("bert_finetune", TINY)
    lines, made = ["one two", "one two", "a b c d e f " * 3], []
    explainers = texts.explainers
    monkeypatch.setattr(texts, "explainers", lambda *given: made.append(given) or explainers(*given))
    first, second, third = explain_texts(run, lines, out=str(tmp_path))
    assert len(made) == 2
    assert first["words"] == second["words"] != third["words"]
    assert (tmp_path / "words.html").read_text().count("<h2>") == 3
    with pytest.raises(UserError, match="heads is for images"):
        list(explain_texts(run, lines, method=["heads"], out=str(tmp_path)))


def test_a_hidden_word_is_explained_by_the_others(tmp_path):
    run, source = opened("bert_base", TINY)
    words = source.lines[0].split()[:8]
    lines = [" ".join([*words[:3], "[MASK]", *words[4:]]), "nothing is hidden"]
    methods = ["relevance", "rollout", "gradcam", "integrated_gradients"]
    row, refused = explain_texts(run, lines, method=methods, out=str(tmp_path))
    assert row["class"] == row["top"][0]["label"]
    assert set(row["words"]) == set(methods)
    (at,) = (k for k, (word, _) in enumerate(row["words"]["rollout"]) if word == "[MASK]")
    shades = [shade for _, shade in row["words"]["rollout"]]
    assert shades[at] == min(shades), "not explained by itself"
    assert "no [MASK]" in refused["error"]


def test_a_pair_needs_two_texts(tmp_path):
    run, _ = opened("bert_finetune", TINY)
    run = run._replace(reader=run.reader._replace(spec=run.reader.spec._replace(pairs=True)))
    (row,) = explain_texts(run, ["only one"], out=str(tmp_path))
    assert "two texts with a tab" in row["error"]
