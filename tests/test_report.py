"""Reports: pages, curves, and what is shown of each task, from models that have learned nothing."""

import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from demo_runs import DEMOS, ROOT, TINY, opened

from vitax import config_file, page, rundir
from vitax.config import to_json
from vitax.errors import UserError
from vitax.explain.heatmap import head_tiles, large, only
from vitax.prediction import PREDICTORS
from vitax.report import images as report_images
from vitax.report import masks, run_report
from vitax.report.comparison import comparison
from vitax.report.curves import POINTS, final, panels, read_metrics, thinned
from vitax.report.exhibits import Exhibit, Shown, confusion, embedding, shown, spread_out, worst_mistakes
from vitax.report.images import Pair, middle, pieces, retrieval
from vitax.report.inside import similarity_tiles
from vitax.report.texts import cross_attention
from vitax.resolve import resolve

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module", params=list(DEMOS))
def exhibited(request):
    report_images.PIECE = 64
    run, source = opened(*DEMOS[request.param])
    made = [make() for make in run_report.EXHIBITS[request.param](run, source, 24)]
    bodies = {exhibit.title: exhibit.body for exhibit in made if exhibit}
    return request.param, run, source, bodies


def pictures(body):
    return body.count("<img")


def test_every_task_has_exhibits():
    assert run_report.EXHIBITS.keys() == PREDICTORS.keys()


def test_exhibits(exhibited):
    task, run, source, bodies = exhibited
    assert all("<img" in body or "<table" in body or "None" in body for body in bodies.values())
    if task in ("classification", "token_pruning", "text_classification"):
        assert set(bodies) >= {"Confusion matrix", "Worst mistakes", "Features by class"}
        assert "of 24 examples" in bodies["Confusion matrix"]
    if task in ("classification", "token_pruning", "masked_image", "contrastive"):
        filters = min(28, run.model.patch_size**2)  # grey images: so many components there are
        charts = 3  # distances, an image, its heads
        positions = task != "masked_image"  # its are fixed
        assert pictures(bodies["Inside"]) == filters + positions + charts
    if task == "token_pruning":
        counts = [int(16 * ratio) for ratio in run.model.keep_ratios]
        assert pictures(bodies["Patches kept"]) == 8 * (1 + len(counts))
        for count in counts:
            assert bodies["Patches kept"].count(f">{count} patches<") == 8
    if task == "masked_image":
        assert pictures(bodies["Reconstructions"]) == 3 * 8
    if task == "contrastive":
        assert "24 test images" in bodies["Images found by caption"]
        digits = {int(source[i]["label"]) for i in spread_out(source, 24)}
        assert pictures(bodies["Similarity"]) == len(digits)
    if task == "restoration":
        assert pictures(bodies["Before, after, truth"]) == 3
        assert re.search(r"after: PSNR [\d.]+ dB", bodies["Before, after, truth"])
    if task == "translation":
        assert page.text(source.source[0][1]) in bodies["Translations"]
        assert bodies["Alignment"].count("<table class=heat>") == 3
    if task == "language":
        assert source.lines[0].split()[-1] in bodies["Continuations"]
    if task == "masked_words":
        assert "[MASK]" in bodies["Hidden words"]
        assert "%" in bodies["Hidden words"]


@pytest.mark.parametrize("name", ["transformer_base", "rnn_attention"])
def test_alignment_is_attention(name):
    run, source = opened(name, {**TINY, "decoder_depth": 2})
    example = source[0]
    weights = cross_attention(run, example)
    there = example["source"] != run.reader.spec.pad
    assert weights.shape == (len(example["target"]), len(there))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert not weights[:, ~there].any()


def test_confusions_are_counted():
    rows = [
        Shown(i, {"label": np.int32(label)}, {"probabilities": np.eye(3)[guess]})
        for i, (label, guess) in enumerate([(0, 0), (0, 1), (1, 1), (2, 1), (2, 1)])
    ]
    few = confusion(rows, ["a", "b", "c"])
    assert "2 of 5 examples" in few.body
    assert "40.0%" in few.body
    many = confusion(rows, [*"abc", *map(str, range(40))])
    assert "<td>c</td><td>b</td><td class=number>2</td><td class=number>2</td>" in many.body


def test_worst_mistakes_come_first():
    probabilities = ([0.6, 0.4], [0.9, 0.1], [0.3, 0.7])
    rows = [Shown(i, {"label": 1}, {"probabilities": np.array(p)}) for i, p in enumerate(probabilities)]
    found = worst_mistakes(rows, ["cat", "dog"], 5)
    assert [mistake.item.index for mistake in found] == [1, 0]
    assert found[0].true == "dog (10%)"
    assert found[0].guess == "cat (90%)"


def test_embedding_needs_enough_labels():
    rows = [Shown(i, {"label": np.int32(-1)}, {"features": np.ones(4)}) for i in range(30)]
    assert embedding(rows, ["a"]) is None
    assert embedding([], ["a"]) is None
    unnamed = [Shown(i, {"label": np.int32(0)}, {"features": np.ones(4)}) for i in range(30)]
    assert embedding(unnamed, []) is None, "pictures without classes are all of class 0"


def test_dropped_patches_fade(rng):
    image = rng.integers(0, 200, (4, 6, 3), dtype=np.uint8)
    faded = only(image, np.array([0, 5]), 2)
    np.testing.assert_array_equal(faded[:2, :2], image[:2, :2])
    np.testing.assert_array_equal(faded[2:, 4:], image[2:, 4:])
    assert (faded[:2, 2:] > 190).all()


def test_middle_of_a_picture():
    image = np.arange(9 * 7).reshape(9, 7, 1)
    np.testing.assert_array_equal(middle(image, 4, 2)[..., 0], image[2:6, 1:5, 0])
    assert middle(image, 64, 2).shape == (8, 6, 1)


def test_similar_places_are_yellow(rng):
    positions = np.repeat(rng.normal(size=(2, 1, 8)), 3, axis=1)  # a row is one place
    tiles = similarity_tiles(positions)
    assert tiles.shape == (2 * 3 - 1, 3 * 4 - 1, 3)
    yellow = np.array([253, 231, 36])
    assert (tiles[0, :3] == yellow).all(), "the first row is like the first"
    assert (tiles[2] == 255).all(), "a line between tiles"
    assert not (tiles[1, :3] == yellow).all()
    assert (tiles[4, :3] == yellow).all()


def test_a_tile_for_every_layer_and_head(rng):
    found = head_tiles(rng.uniform(0, 0.1, size=(3, 2, 4, 4)))
    assert found.shape == (3 * 5 - 1, 2 * 5 - 1, 3)
    yellow = (found == np.array([253, 231, 36])).all(axis=-1)
    for a, b in np.ndindex(3, 2):
        assert yellow[5 * a : 5 * a + 4, 5 * b : 5 * b + 4].sum() == 1, "the most looked at"
    assert large(found).shape == (found.shape[0] * 71, found.shape[1] * 71, 3)


def test_examples_are_spread_out():
    assert spread_out(range(10), 3) == [0, 4, 9]
    assert spread_out(range(3), 10) == [0, 1, 2]


def test_long_curves_are_thinned_to_means():
    steps, values = thinned(np.arange(1200), np.arange(1200) % 3)
    assert len(steps) == 400 <= POINTS
    np.testing.assert_allclose(values, 1)
    np.testing.assert_allclose(steps[:2], [1, 4])


def fake_run(folder, lines, **changed):
    folder.mkdir()
    config = resolve(config_file.load_config(f"{ROOT}/configs/vit_b16.py:demo"))
    recipe = {"spec": "configs/vit_b16.py:demo", "config": config}
    (folder / "recipe.json").write_text(to_json(recipe))
    (folder / "config.json").write_text(to_json(config | changed))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def test_damaged_lines_are_left_out(tmp_path):
    lines = (
        '{"step": 1, "train/loss": 2.0}',
        '{"step": 2, "train/lo',
        '{"step": 3, "train/loss": null, "test/loss": 1.5}',
    )
    found = read_metrics(fake_run(tmp_path / "a", lines))
    assert {name: (list(steps), list(values)) for name, (steps, values) in found.items()} == {
        "train/loss": ([1], [2.0]),
        "test/loss": ([3], [1.5]),
    }
    assert final([found, {}]) == {"test/loss": [1.5, None]}
    assert read_metrics(tmp_path / "none") == {}


def test_loss_is_the_first_panel_and_speed_the_last():
    line = (np.array([1, 2]), np.array([3.0, 4.0]))
    names = ("train/images_per_second", "train/data_wait", "train/other", "test/accuracy", "train/loss")
    single = {"test/once": (np.array([2]), np.array([1.0]))}
    figures = panels({"run": dict.fromkeys(names, line) | single}, "test/accuracy")
    titles = [figure.axes[0].get_title() for figure in figures.values()]
    assert titles == ["loss", "accuracy", "other", "images per second", "data wait"]


def test_report_of_a_run_that_is_not_done(tmp_path):
    run = fake_run(tmp_path / "a<b>", ['{"step": 1, "train/loss": 2.0}', '{"step": 2, "train/loss": 1.0}'], seed=7)
    text = run_report.report(run, 0)
    assert "a&lt;b&gt;" in text
    assert "a<b>" not in text
    assert "not finished" in text
    assert text.count("<img") == 1
    assert "seed: 0 -&gt; 7" in text
    assert not re.search(r'(src|href)="?(http|/)', text), "something from outside"


def test_what_cannot_be_shown_is_told(tmp_path):
    text = run_report.report(fake_run(tmp_path / "a", []), 10)
    assert "Here the pictures could not be made: UserError" in text


def test_what_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch):
    def makers(run, source, count):
        return [lambda: 1 / 0, lambda: None, lambda: Exhibit("Shown", "still")]

    monkeypatch.setattr(run_report, "load_run", lambda run: SimpleNamespace(task_name="classification"))
    monkeypatch.setitem(run_report.EXHIBITS, "classification", makers)
    text = run_report.report(fake_run(tmp_path / "a", []), 10, source=[])
    assert "Here a picture could not be made: ZeroDivisionError" in text
    assert "still" in text


class Broken:
    """Some examples of a source cannot be read."""

    def __init__(self, source, broken):
        self.source, self.broken, self.class_names = source, broken, source.class_names

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        if i in self.broken:
            raise ValueError("broken")
        return self.source[i]


def test_pictures_that_cannot_be_read_are_left_out():
    run, source = opened(*DEMOS["restoration"])
    with pytest.raises(UserError, match="none of the test pictures"):
        pieces(run, Broken(source, range(len(source))), 2)
    run, source = opened("vit_b16", TINY)
    assert [item.index for item in shown(run, Broken(source, {0}), 2)] == [len(source) - 1]
    with pytest.raises(UserError, match="none of 2 test examples"):
        shown(run, Broken(source, {0, len(source) - 1}), 2)


def test_an_image_with_two_captions_is_one_image(rng):
    image = np.zeros((8, 8, 1), np.uint8)
    item = lambda i, u, v: Shown(i, {"image": image}, {"image": np.array(u), "text": np.array(v)})
    pairs = [
        Pair(item(0, [1.0, 0.0], [0.9, 0.1]), "a.png", "a cat"),
        Pair(item(1, [1.0, 0.0], [0.8, 0.2]), "a.png", "an animal"),
        Pair(item(2, [0.0, 1.0], [0.7, 0.3]), "b.png", "an animal"),
    ]
    body = retrieval(pairs, pairs[:2]).body
    assert "nearest of 2 test images" in body
    first, second = body.split("an animal")
    assert (first.count("<img"), first.count(' right"')) == (2, 1)
    assert (second.count("<img"), second.count(' right"')) == (2, 2)


def test_comparison(tmp_path):
    lines = [json.dumps({"step": step, "train/loss": 1 / step, "test/accuracy": step / 10}) for step in (1, 2)]
    runs = [fake_run(tmp_path / "a", lines), fake_run(tmp_path / "b", lines[:1], batch_size=64)]
    text = comparison(runs)
    assert "<td>batch_size</td><td>32</td><td>64</td>" in text
    assert "<td>test/accuracy</td><td class=number>0.2</td><td class=number>0.1</td>" in text
    assert text.count("<img") == 2
    with pytest.raises(UserError, match="twice"):
        comparison([runs[0], runs[0]])


def test_seeds_of_one_config_are_one_line(tmp_path):
    runs = []
    for name, seed, best, batch in (("a", 0, 0.5, 32), ("b", 1, 0.7, 32), ("c", 0, 0.9, 64)):
        runs.append(
            fake_run(tmp_path / name, [json.dumps({"step": 1, "test/accuracy": best})], seed=seed, batch_size=batch)
        )
        summary = {"best": {"metric": "test/accuracy", "value": best}, "metrics": {"test/accuracy": best - 0.1}}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    text = comparison(runs)
    assert (
        "<td>a, b</td><td>test/accuracy</td><td>0.6000 ± 0.1414</td><td>0.5000 ± 0.1414</td><td class=number>2</td>"
        in text
    )
    assert "<td>c</td><td>test/accuracy</td><td>0.9000</td><td>0.8000</td><td class=number>1</td>" in text
    assert "Seeds" not in comparison([runs[0], runs[2]])


def test_pictures_keep_their_pixels():
    small = page.picture(np.zeros((8, 8, 1), np.uint8), "a & b", side=100)
    assert "width=104" in small
    assert "a &amp; b" in small
    assert "width=300" in page.picture(np.zeros((200, 300, 3), np.uint8), side=100)


def test_a_page_survives_a_name_that_is_no_text():
    assert "caf\\udce9" in page.document("t", page.picture(np.zeros((4, 4, 3), np.uint8), "caf\udce9.jpg"))


def test_a_written_text_leaves_other_files_alone(tmp_path):
    (tmp_path / "notes.tmp").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "notes.html").symlink_to(tmp_path / "real" / "notes.html")
    rundir.write_text(tmp_path / "notes.html", "new")
    assert (tmp_path / "notes.tmp").read_text() == "mine"
    assert (tmp_path / "notes.html").is_symlink()
    assert (tmp_path / "real" / "notes.html").read_text() == "new"
    assert [file.name for file in (tmp_path / "real").iterdir()] == ["notes.html"]
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    rundir.write_text(tmp_path / "pipe", "to a program")
    assert os.read(reader, 99) == b"to a program"
    os.close(reader)
    with pytest.raises(IsADirectoryError):
        rundir.write_text(tmp_path / "real", "a folder")
    assert (tmp_path / "real" / "notes.html").is_file()


def test_names_are_escaped_once():
    row = masks.Segmented("a & b.png", np.zeros((4, 4, 3), np.uint8), *[np.zeros((4, 4), int)] * 2, 0.5)
    assert "a &amp; b.png" in masks.worst([row]).body
    assert "&amp;amp;" not in masks.worst([row]).body
