"""The commands, as a person types them, in this process and on one device."""

import json
import logging

import jax
import numpy as np
import pytest
from commands import DEMO, ROOT, TINY, lines, newest, refused, short
from PIL import Image

from vitax import main
from vitax.tasks import TASKS, Objective
from vitax.tasks.classification import classification


def test_a_run_leaves_what_it_says_and_its_commands_work(verb, tmp_path):
    done = verb("main", DEMO, *TINY, "--config.log.report=20")
    assert done.returncode == 0, done.stderr
    (workdir,) = (tmp_path / "runs").iterdir()
    assert workdir.name.startswith("vit_b16-demo-")
    for name in ("config.json", "metrics.jsonl", "summary.json", "log.txt"):
        assert (workdir / name).is_file()
    assert list((workdir / "tensorboard").iterdir())
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["step"] == 40
    assert {"jax", "flax", "python", "vitax"} <= summary["versions"].keys()
    assert 0 <= summary["metrics"]["test/accuracy"] <= 1
    assert summary["metrics"]["test/examples"] == 359
    config = json.loads((workdir / "config.json").read_text())
    assert config["model"]["width"] == 16
    assert config["data"]["max_corrupt"] == 0.01

    page = (workdir / "report.html").read_text()
    for told in ("Confusion matrix", "of 20 examples", "model.width: 64 -&gt; 16", "Features by"):
        assert told in page
    assert "could not be made" not in page

    # The three commands that it prints at its end.
    printed = {}
    for line in done.stdout.splitlines():
        for word in ("continue", "evaluate", "predict"):
            if line.startswith(word):
                printed[word] = line.split("python -m vitax.")[1].split()
    printed["continue"] = printed["continue"][:2]  # what follows is a remark
    again = verb(*printed["continue"])
    assert again.returncode == 0
    assert "done: 40 steps" in again.stdout
    evaluated = verb(*printed["evaluate"], "--checkpoint=last")
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads((workdir / "evaluations.jsonl").read_text())
    for name in ("test/accuracy", "test/loss", "test_ema/loss"):
        assert found[name] == pytest.approx(summary["metrics"][name], rel=1e-6)
    predicted = verb(*printed["predict"])
    assert predicted.returncode == 0, predicted.stderr
    (row,) = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert row["label"] in [str(k) for k in range(10)]
    assert row["probability"] == row["top"][0]["probability"]

    explained = verb(
        "explain", f"--workdir={workdir}", "--method=relevance,rollout", "--class=3", *printed["predict"][2:]
    )
    assert explained.returncode == 0, explained.stderr
    (row,) = [json.loads(line) for line in explained.stdout.splitlines()]
    assert (row["class"], row["output"]) == ("3", str(workdir / "explanations" / "example.png"))
    with Image.open(row["output"]) as picture:
        assert picture.width > 2.5 * picture.height  # the image and two maps
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
    for wrong, told in (("--method=gaze", "gaze is unknown"), ("--class=ten", "not one of the 10 classes")):
        refused(verb("explain", f"--workdir={workdir}", wrong, *printed["predict"][2:]), told)


def test_own_images_train_evaluate_and_predict_in_spite_of_a_corrupt_one(verb, tmp_path, image_folder):
    (image_folder / "train" / "day" / "broken.png").write_bytes(b"\x89PNG no more")
    workdir = tmp_path / "own"
    done = verb(
        "main",
        f"--config={ROOT}/configs/vit_b16.py:small",
        f"--config.data.path={image_folder}",
        "--config.data.image_size=(8,8)",
        "--config.batch_size=8",
        "--config.duration=30steps",
        "--config.model.width=16",
        "--config.model.depth=1",
        "--config.optim.warmup=2steps",
        "--config.optim.learning_rate=0.01",
        "--config.evals.batch_size=4",
        "--config.data.max_corrupt=0.1",
        f"--workdir={workdir}",
    )
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    assert "broken.png" in (workdir / "log.txt").read_text()
    assert lines(workdir)[-2]["data/corrupt"] == 1
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["metrics"]["test/examples"] == 10
    assert summary["metrics"]["test/accuracy"] == 1.0  # bright against dark
    page = (workdir / "report.html").read_text()
    assert "10 of 10 examples" in page
    assert "None among these examples" in page

    bad = tmp_path / "text.png"
    bad.write_text("no image")
    night = image_folder / "test" / "night"
    predicted = verb("predict", f"--workdir={workdir}", str(night), str(bad))
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [row.get("label") for row in rows] == ["night"] * 5 + [None]
    assert "error" in rows[-1]
    assert predicted.returncode == 2
    refused(verb("predict", f"--workdir={workdir}", "nowhere.png"), "nowhere.png does not exist")
    ignored = verb("predict", f"--workdir={workdir}", str(night), "--config.model.depth=7")
    refused(ignored, "config.model.depth")
    # The classes of a run are those of its data: other data do not continue it.
    (image_folder / "train" / "day").rename(image_folder / "train" / "zday")
    (image_folder / "test" / "day").rename(image_folder / "test" / "zday")
    refused(verb("main", f"--workdir={workdir}"), "the data are not those of checkpoint 30")
    refused(verb("predict", f"--workdir={workdir}"), "name the images")


def test_a_damaged_run_is_refused_in_a_sentence(verb, copied):
    workdir = copied("vit")
    for path in (workdir / "checkpoints").glob("*/meta/metadata"):
        path.write_text(path.read_text()[:-40])
    for name, *arguments in (("main",), ("main", "--mode=eval"), ("predict",)):
        done = verb(name, f"--workdir={workdir}", *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert any(line.startswith("error: ") and "is damaged" in line for line in done.stderr.splitlines())


def test_a_workdir_is_never_mixed_up(verb, copied, tmp_path):
    workdir = copied("vit")
    before = (workdir / "metrics.jsonl").read_bytes()
    other = verb("main", DEMO, *TINY, "--config.seed=1", f"--workdir={workdir}")
    refused(other, "belongs to a run with another config", "seed: 0 -> 1", "--overwrite")
    assert (workdir / "metrics.jsonl").read_bytes() == before
    harmless = verb("main", DEMO, *TINY, "--config.data.threads=1", f"--workdir={workdir}")
    assert harmless.returncode == 0
    for wrong, told in (
        ("--config.model.num_heads=3", "width 16 is not divisible by num_heads 3"),
        ("--config.checkpoint.keep=0", "keep=0"),
    ):
        refused(verb("main", DEMO, *TINY, wrong, "--overwrite", f"--workdir={workdir}"), told)
        assert (workdir / "metrics.jsonl").read_bytes() == before  # checked before it is deleted
    older = json.loads((workdir / "config.json").read_text())
    del older["model"]["remat"]  # as a version without that key wrote it
    (workdir / "config.json").write_text(json.dumps(older))
    assert verb("main", f"--workdir={workdir}").returncode == 0
    (workdir / "notes.txt").write_text("mine")
    over = verb("main", DEMO, *TINY, "--config.seed=1", "--overwrite", f"--workdir={workdir}")
    assert over.returncode == 0, over.stderr
    assert (workdir / "metrics.jsonl").read_bytes() != before
    assert (workdir / "notes.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("irreplaceable")
    for more in ((), ("--overwrite",)):
        refused(verb("main", DEMO, *TINY, f"--workdir={foreign}", *more), "holds no run")
    (foreign / "config.json").write_text('{"architectures": ["ViT"]}')  # somebody else's
    refused(verb("main", DEMO, *TINY, f"--workdir={foreign}", "--overwrite"), "not the config of a run")
    assert (foreign / "thesis.tex").read_text() == "irreplaceable"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((DEMO, "--config.model.dpeth=3"), ("dpeth", "did you mean 'depth'")),
        ((DEMO, "--config.model.depth=many"), ("config.model.depth=many",)),
        (
            (DEMO, "--config.data.name=folder", "--config.data.path=nowhere"),
            ("nowhere is not a folder", "DIR/train/<class>"),
        ),
        ((f"--config={ROOT}/configs/vit_b16.py",), ("tfds build imagenet2012", "tensorflow_datasets", ":demo")),
        ((DEMO, "stray"), ("'stray' is not understood",)),
        (("--mode=eval", "--workdir=nowhere"), ("holds no run",)),
        ((DEMO, "--workdir=gs://bucket/run"), ("only folders of this machine",)),
        ((DEMO, "--workdir=/proc/vitax"), ("/proc/vitax cannot be written",)),
        ((DEMO, "--num_processes=2", "--process_id=1"), ("need --coordinator=HOST:PORT",)),
        ((DEMO, "--config.optim.freeze=('blokc0',)"), ("'blokc0' matches no parameter",)),
        ((DEMO, "--mode=eval"), ("--mode=eval needs --workdir=RUN",)),
        ((DEMO, "--mode=evil"), ("--mode=evil",)),
        ((), ("give --config=",)),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(verb, tmp_path, monkeypatch, arguments, words):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))
    refused(verb("main", *arguments), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["infer", "data"])
def test_a_config_is_timed(verb, mode):
    done = verb("bench", DEMO, *TINY, f"--mode={mode}", "--steps=3", "--batch=16")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["images_per_second"] > 0
    assert measured["batch"] == 16
    if mode == "infer":
        assert measured["images_per_second"] == pytest.approx(16 / measured["step_seconds"])
        assert 0 < measured["share_of_peak"] < 1


def test_runs_in_one_process_leave_nothing_behind(verb, tmp_path):
    """As in a notebook or a sweep: the lock is released, log files are closed, two runs have two folders."""
    for _ in range(2):
        done = verb("main", *short("vit_b16"))
        assert done.returncode == 0, done.stderr
    first, _ = sorted((tmp_path / "runs").iterdir())
    again = verb("main", f"--workdir={first}")
    assert again.returncode == 0, again.stderr
    assert not [h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]


def test_the_machine_is_looked_at(verb, tmp_path):
    looked = verb("doctor", DEMO, *TINY, f"--workdir={tmp_path / 'run'}")
    assert looked.returncode == 0, looked.stdout
    assert "nothing is wrong" in looked.stdout
    looked = verb("doctor", DEMO, *TINY, "--workdir=/proc/run")
    assert looked.returncode == 1
    assert "WRONG  runs: /proc/run cannot be written" in looked.stdout
    refused(verb("plan", DEMO, "--memory=lots"), "--memory=lots is not a size")


def test_debug_shows_the_traceback_and_help_helps(verb):
    shown = verb("main", DEMO, "--config.batch_size=0", "--debug")
    assert shown.returncode == 2
    assert "Traceback" in shown.stderr
    helped = verb("main", DEMO, "--help")
    assert "--config.optim.layer_decay=1.0" in helped.stdout
    assert "share of the target that is spread over all classes" in helped.stdout  # the meaning of a key
    helped = verb("main", "--help")
    assert helped.returncode == 0
    assert "--overwrite" in helped.stdout


def test_a_run_starts_from_another_run_or_from_a_file(verb, tmp_path, monkeypatch):
    """A learning rate of nearly 0 leaves what the run began with."""
    still = [DEMO, *TINY, "--config.duration=2steps", "--config.optim.warmup=1steps", "--config.evals.best="]
    still.append("--config.optim.learning_rate=1e-9")
    assert verb("main", *still, "--config.seed=1", "--workdir=first").returncode == 0
    _, first = newest(tmp_path / "first")
    done = verb("main", *still, "--config.init_from=first", "--workdir=second")
    assert "parameters loaded" in done.stdout, done.stderr
    _, second = newest(tmp_path / "second")
    for name, tree in (("params", first["params"]), ("ema", first["params"])):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tree, second[name])
    refused(verb("main", *still, "--config.init_from=no.pth"), "there is no file no.pth")
    other = (*still, "--config.init_from=first", "--config.data.mean=(0.1,)", "--workdir=third")
    refused(verb("main", *other), "config.init_from=first was trained with mean=(0.5,), this run has (0.1,)")
    assert verb("main", "--workdir=first", "--config.duration=4steps").returncode == 0
    shorter = verb("main", "--workdir=first", "--config.duration=3steps")
    refused(shorter, "the run has done 4 steps already, and 3 would be fewer")
    assert json.loads((tmp_path / "first" / "config.json").read_text())["duration"] == "4steps"
    few = (*still, "--config.duration=40steps", "--config.evals.every=", "--workdir=cut")
    inputs = main.inputs_of
    with monkeypatch.context() as patched:
        patched.setattr(main, "inputs_of", lambda *given: inputs(*given)._replace(stop=lambda step: step == 3))
        assert verb("main", *few).returncode != 0
    assert verb("main", "--workdir=cut", "--config.duration=3steps").returncode == 0
    assert "test/accuracy" in json.loads((tmp_path / "cut" / "summary.json").read_text())["metrics"]
    refused(verb("predict", "--workdir=first", "--top=0", "first/example.png"), "--top=0 must be at least 1")
    refused(verb("predict", "--workdir=first", "--checkpoint=²", "first/example.png"), "--checkpoint=² does not exist")


def test_a_chain_pretrains_fine_tunes_probes_and_predicts(verb, trained, tmp_path):
    mae = trained("mae")
    triple = verb("predict", f"--workdir={mae}", f"{mae}/example.png", "--out=out")
    (row,) = map(json.loads, triple.stdout.splitlines())
    assert row["hidden"] == 0.5
    with Image.open(tmp_path / row["output"]) as picture:
        assert picture.size == (3 * 224, 224)
    seen = verb("explain", f"--workdir={mae}", f"{mae}/example.png", "--out=out")  # rollout: there are no classes
    assert seen.returncode == 0, seen.stderr
    for name, told in (("mae_b16_finetune", "params/fc_norm/scale"), ("mae_b16_linprobe", "head_norm")):
        done = verb("main", *short(name, f"--config.init_from={mae}"), f"--workdir={name}")
        assert done.returncode == 0, done.stderr
        assert "the encoder is taken, the decoder is left out" in done.stdout
        assert told in done.stdout
    _, start = newest(mae)
    _, probe = newest(tmp_path / "mae_b16_linprobe")
    encoder = start["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, encoder["block1"], probe["params"]["block1"])
    predicted = verb("predict", "--workdir=mae_b16_linprobe", f"{mae}/example.png")
    assert json.loads(predicted.stdout)["label"] in [str(k) for k in range(10)]
    averaged = verb("main", "--workdir=mae_b16_linprobe", "--mode=eval", "--checkpoint=average")
    assert "test/accuracy" in averaged.stdout


def test_texts_pretrain_fine_tune_with_one_tokenizer_and_fill_in(verb, trained, tmp_path):
    bert = trained("bert")
    (tmp_path / "lines.txt").write_text("The value of the [MASK] is returned.\nNothing is hidden here.\n")
    done = verb("predict", f"--workdir={bert}", "lines.txt")
    filled, broken = map(json.loads, done.stdout.splitlines())
    assert len(filled["masks"][0]) == 5
    assert "[MASK]" not in filled["filled"]
    assert "there is no [MASK]" in broken["error"]
    assert done.returncode == 2
    tuned = verb("main", *short("bert_finetune", f"--config.init_from={bert}"), "--workdir=tuned")
    assert tuned.returncode == 0, tuned.stderr
    assert "heads that differ are newly initialised or left out" in tuned.stdout
    tokenizers = [(run / "tokenizer.json").read_text() for run in (bert, tmp_path / "tuned")]
    assert tokenizers[0] == tokenizers[1]
    other = (f"--config.init_from={bert}", "--config.data.tokenizer=other.json")
    (tmp_path / "other.json").write_text(tokenizers[0].replace('"NFC"', '"NFKC"'))
    refused(verb("main", *short("bert_finetune", *other), "--workdir=x"), "token ids would mean other words")
    assert not (tmp_path / "x").exists()
    label = verb("predict", "--workdir=tuned", "lines.txt")
    labels = [json.loads(line) for line in label.stdout.splitlines()]
    assert all("probability" in row for row in labels)
    explained = verb("explain", "--workdir=tuned", "--method=relevance,gradient_x_input", "lines.txt")
    assert explained.returncode == 0, explained.stderr
    rows = [json.loads(line) for line in explained.stdout.splitlines()]
    for row, said in zip(rows, labels, strict=True):
        assert row["class"] == said["label"]
        assert row["top"][0]["probability"] == pytest.approx(said["probability"], abs=1e-4)
        for words in row["words"].values():
            assert max(shade for _, shade in words) == 1
            assert [word for word, _ in words][:1] == ["[CLS]"]
    assert "<b>gradient_x_input</b>" in (tmp_path / rows[0]["output"]).read_text()


def test_a_task_from_outside_trains_predicts_and_is_reported(verb, tmp_path, monkeypatch):
    """An entry of TASKS is all that an objective of one's own needs."""

    def mine(model, spec, *, sharpness: float = 1.0):
        task = classification(model, spec)

        def predict(variables, batch):
            return {"scores": sharpness * task.predict(variables, batch)["logits"]}

        return task._replace(predict=predict)

    monkeypatch.setitem(TASKS, "mine", Objective(mine, "images"))
    workdir = tmp_path / "run"
    own = ("--config.task.name=mine", "--config.task.sharpness=2.0", "--config.task.label_smoothing=")
    done = verb("main", DEMO, *TINY, *own, "--config.log.report=8", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    page = (workdir / "report.html").read_text()
    assert "test/accuracy" in json.loads((workdir / "summary.json").read_text())["metrics"]
    assert "svg+xml" in page  # the curves
    assert "Confusion matrix" not in page
    predicted = verb("predict", f"--workdir={workdir}", str(workdir / "example.png"))
    row = json.loads(predicted.stdout)
    assert row.keys() == {"file", "scores"}
    assert len(row["scores"]) == 10


def test_a_validation_folder_chooses_and_the_test_folder_reports(verb, tmp_path):
    """With train, val and test, the best checkpoint is chosen on val, and test is measured once, at the end."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "d" / split / name / f"{i}.png")
    done = verb(
        "main",
        DEMO,
        *TINY,
        "--config.data.name=folder",
        f"--config.data.path={tmp_path}/d",
        "--config.data.channels=3",
        "--config.data.mean=(0.5,0.5,0.5)",
        "--config.data.std=(0.5,0.5,0.5)",
        "--config.data.augment=",
        "--config.batch_size=8",
        "--workdir=run",
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "val/accuracy" in line} == {20, 40}
    assert {line["step"] for line in lines if "test/accuracy" in line} == {40}
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert best["metric"].startswith("val")
