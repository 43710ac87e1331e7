"""The commands, as a person types them: each in a process of its own, on one CPU device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
DEMO = f"--config={ROOT}/configs/vit_b16.py:demo"
TINY = (
    "--config.duration=40steps",
    "--config.optim.warmup=5steps",
    "--config.log.every=4steps",
    "--config.evals.every=20steps",
    "--config.checkpoint.every=5steps",
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.model.mlp_width=16",
    "--config.model.num_heads=2",
    "--config.optim.ema_decay=0.9",
    "--config.log.report=0",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def command(cache, tmp_path):
    """``command("main", *arguments)``: runs a verb in an empty folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "JAX_PLATFORMS": "cpu"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # a few steps each: compiling takes the time
    environment.pop("XLA_FLAGS", None)

    def start(verb, *arguments, **options):
        line = [sys.executable, "-m", f"vitax.{verb}", *arguments]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        return subprocess.Popen(line, env=environment | options, **pipes)

    def run(verb, *arguments, **options):
        process = start(verb, *arguments, **options)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    run.start = start
    return run


def refused(done, *words):
    """Exit code 2, one sentence, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[0]
    assert message.startswith("error: ")
    for word in words:
        assert word in done.stderr
    return True


def newest(workdir):
    """Step and arrays of the newest checkpoint."""
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    manager = ocp.CheckpointManager(workdir / "checkpoints", item_names=("state", "meta"), item_handlers=handlers)
    step = manager.latest_step()
    shapes = manager.item_metadata(step).state.tree
    arguments = ocp.args.PyTreeRestore(restore_args=ocp.checkpoint_utils.construct_restore_args(shapes))
    state = manager.restore(step, args=ocp.args.Composite(state=arguments)).state
    manager.close()
    return step, state


def lines(workdir):
    """metrics.jsonl without what depends on the clock."""
    clocks = ("per_second", "data_wait", "seconds")
    text = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if not k.endswith(clocks)} for x in text]


def newest_line(workdir):
    return lines(workdir)[-1]["step"]


def test_kill_and_resume_equals_the_run_that_was_not_killed(command, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = command("main", DEMO, *TINY, f"--workdir={whole}")
    assert done.returncode == 0, done.stderr
    kills = 0
    for wanted in (2, 6):  # kill once some lines are there: right in the middle of things
        process = command.start("main", DEMO, *TINY, f"--workdir={killed}")
        log = killed / "metrics.jsonl"
        deadline = time.time() + 120
        while process.poll() is None and time.time() < deadline:
            if log.exists() and len(log.read_text().splitlines()) >= wanted:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.communicate()
    assert kills == 2
    done = command("main", DEMO, *TINY, f"--workdir={killed}")
    assert done.returncode == 0, done.stderr
    assert lines(killed) == lines(whole)
    (step, state), (other_step, other) = newest(whole), newest(killed)
    assert step == other_step == 40

    import jax

    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_leaves_what_it_says_and_its_commands_work(command, tmp_path):
    done = command("main", DEMO, *TINY, "--config.log.report=20")
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
    again = command(*printed["continue"])
    assert again.returncode == 0
    assert "done: 40 steps" in again.stdout
    evaluated = command(*printed["evaluate"], "--checkpoint=last")
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads((workdir / "evaluations.jsonl").read_text())
    for name in ("test/accuracy", "test/loss", "test_ema/loss"):
        assert found[name] == pytest.approx(summary["metrics"][name], rel=1e-6)
    predicted = command(*printed["predict"])
    assert predicted.returncode == 0, predicted.stderr
    (row,) = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert row["label"] in [str(k) for k in range(10)]
    assert row["probability"] == row["top"][0]["probability"]

    explained = command(
        "explain", f"--workdir={workdir}", "--method=relevance,rollout", "--class=3", *printed["predict"][2:]
    )
    assert explained.returncode == 0, explained.stderr
    (row,) = [json.loads(line) for line in explained.stdout.splitlines()]
    assert (row["class"], row["output"]) == ("3", str(workdir / "explanations" / "example.png"))
    with Image.open(row["output"]) as picture:
        assert picture.width > 2.5 * picture.height  # the image and two maps
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
    for wrong, told in (("--method=gaze", "gaze is unknown"), ("--class=ten", "none of the 10 classes")):
        refused(command("explain", f"--workdir={workdir}", wrong, *printed["predict"][2:]), told)


def test_own_images_train_evaluate_and_predict_in_spite_of_a_corrupt_one(command, tmp_path, image_folder):
    (image_folder / "train" / "day" / "broken.png").write_bytes(b"\x89PNG no more")
    workdir = tmp_path / "own"
    done = command(
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
    predicted = command("predict", f"--workdir={workdir}", str(night), str(bad))
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [row.get("label") for row in rows] == ["night"] * 5 + [None]
    assert "error" in rows[-1]
    assert predicted.returncode == 2
    refused(command("predict", f"--workdir={workdir}", "nowhere.png"), "nowhere.png does not exist")
    ignored = command("predict", f"--workdir={workdir}", str(night), "--config.model.depth=7")
    refused(ignored, "config.model.depth")
    # The classes of a run are those of its data: other data do not continue it.
    (image_folder / "train" / "day").rename(image_folder / "train" / "zday")
    (image_folder / "test" / "day").rename(image_folder / "test" / "zday")
    refused(command("main", f"--workdir={workdir}"), "the data are not those of checkpoint 30")
    refused(command("predict", f"--workdir={workdir}"), "name the images")


def test_a_signal_saves_and_the_same_command_continues(command, tmp_path):
    workdir = tmp_path / "run"
    long = [x for x in TINY if "duration" not in x] + ["--config.duration=100000steps"]
    process = command.start("main", DEMO, *long, f"--workdir={workdir}")
    while not (workdir / "metrics.jsonl").exists() or len(lines(workdir)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"stopped by SIGTERM, everything is saved; to continue: python -m vitax.main --workdir={workdir}" in err
    assert "Traceback" not in err
    step, _ = newest(workdir)
    assert step >= 12
    again = command.start("main", f"--workdir={workdir}")
    while newest_line(workdir) < step + 8:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 130
    steps = [one["step"] for one in lines(workdir) if "train/loss" in one]
    assert steps == list(range(4, steps[-1] + 1, 4))  # nothing twice, nothing left out


def test_a_damaged_run_is_refused_in_a_sentence(command, tmp_path):
    workdir = tmp_path / "run"
    assert command("main", DEMO, *TINY, f"--workdir={workdir}").returncode == 0
    for path in (workdir / "checkpoints").glob("*/meta/metadata"):
        path.write_text(path.read_text()[:-40])
    for verb, *arguments in (("main",), ("main", "--mode=eval"), ("predict",)):
        done = command(verb, f"--workdir={workdir}", *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        (message,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "is damaged" in message


def test_a_workdir_is_never_mixed_up(command, tmp_path):
    workdir = tmp_path / "run"
    assert command("main", DEMO, *TINY, f"--workdir={workdir}").returncode == 0
    before = (workdir / "metrics.jsonl").read_bytes()
    other = command("main", DEMO, *TINY, "--config.seed=1", f"--workdir={workdir}")
    refused(other, "belongs to a run with another config", "seed: 0 -> 1", "--overwrite")
    assert (workdir / "metrics.jsonl").read_bytes() == before
    harmless = command("main", DEMO, *TINY, "--config.data.threads=1", f"--workdir={workdir}")
    assert harmless.returncode == 0
    for wrong, told in (
        ("--config.model.num_heads=3", "width 16 is not divisible by num_heads 3"),
        ("--config.checkpoint.keep=0", "keep=0"),
    ):
        refused(command("main", DEMO, *TINY, wrong, "--overwrite", f"--workdir={workdir}"), told)
        assert (workdir / "metrics.jsonl").read_bytes() == before  # checked before it is deleted
    older = json.loads((workdir / "config.json").read_text())
    del older["model"]["remat"]  # as a version without that key wrote it
    (workdir / "config.json").write_text(json.dumps(older))
    assert command("main", f"--workdir={workdir}").returncode == 0
    (workdir / "notes.txt").write_text("mine")
    assert command("main", DEMO, *TINY, "--config.seed=1", "--overwrite", f"--workdir={workdir}").returncode == 0
    assert (workdir / "metrics.jsonl").read_bytes() != before
    assert (workdir / "notes.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("irreplaceable")
    for more in ((), ("--overwrite",)):
        refused(command("main", DEMO, *TINY, f"--workdir={foreign}", *more), "holds no run")
    (foreign / "config.json").write_text('{"architectures": ["ViT"]}')  # somebody else's
    refused(command("main", DEMO, *TINY, f"--workdir={foreign}", "--overwrite"), "not the config of a run")
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
def test_wrong_input_is_one_sentence_and_nothing_is_written(command, tmp_path, arguments, words):
    refused(command("main", *arguments, TFDS_DATA_DIR=str(tmp_path / "tensorflow_datasets")), *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("mode", ["train", "infer", "data"])
def test_a_config_is_timed(command, mode):
    done = command("bench", DEMO, *TINY, f"--mode={mode}", "--steps=3", "--batch=16")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["images_per_second"] > 0
    assert found["batch"] == 16
    if mode != "data":
        assert found["images_per_second"] == pytest.approx(16 / found["step_seconds"])
        assert 0 < found["share_of_peak"] < 1
        assert found["compile_seconds_warm"] < found["compile_seconds_cold"]
    if mode == "train":
        assert 0 <= found["data_wait"] <= 1
        assert found["memory_bytes"] > 0


def test_a_run_is_planned_and_the_machine_looked_at(command, tmp_path):
    planned = command("plan", DEMO, *TINY, "--devices=4", "--step_seconds=0.5")
    assert planned.returncode == 0, planned.stderr
    assert "4 x cpu as data=4 x fsdp=1" in planned.stdout
    assert "0:20 at 0.5 s a step" in planned.stdout
    looked = command("doctor", DEMO, *TINY, f"--workdir={tmp_path / 'run'}")
    assert looked.returncode == 0, looked.stdout
    assert "nothing is wrong" in looked.stdout
    looked = command("doctor", DEMO, *TINY, "--workdir=/proc/run")
    assert looked.returncode == 1
    assert "WRONG  runs: /proc/run cannot be written" in looked.stdout
    refused(command("plan", DEMO, "--memory=lots"), "--memory=lots is no size")


def test_debug_shows_the_traceback_and_help_helps(command):
    shown = command("main", DEMO, "--config.batch_size=0", "--debug")
    assert shown.returncode == 2
    assert "Traceback" in shown.stderr
    helped = command("main", DEMO, "--help")
    assert "--config.optim.layer_decay=1.0" in helped.stdout
    helped = command("main", "--help")
    assert helped.returncode == 0
    assert "--overwrite" in helped.stdout


def free_ports(count):
    found = [socket.socket() for _ in range(count)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


def test_two_hosts_equal_one(command, tmp_path):
    (port,) = free_ports(1)
    short = [*TINY, "--config.duration=12steps", "--config.evals.every=6steps", "--config.evals.knn=5"]
    one = command("main", DEMO, *short, f"--workdir={tmp_path / 'one'}")
    assert one.returncode == 0, one.stderr
    hosts = [
        command.start(
            "main",
            DEMO,
            *short,
            f"--workdir={tmp_path / 'two'}",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={i}",
        )
        for i in range(2)
    ]
    ends = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], ends
    assert "devices  2 x" in ends[0][0]
    assert "workdir" not in ends[1][0]  # only the first host talks
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert a.keys() == b.keys()
        for name in a:  # neighbours may change places for a rounding error: four of 359 images
            loose = dict(abs=0.012) if "knn" in name else dict(rel=1e-4)
            assert a[name] == pytest.approx(b[name], **loose), name
    assert "test/knn_accuracy" in a
    # What two hosts saved, one continues.
    evaluated = command("main", f"--workdir={tmp_path / 'two'}", "--mode=eval", "--checkpoint=last")
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_gone_is_named_and_the_others_leave(command, tmp_path, fault):
    workdir = tmp_path / "run"
    own = ("duration", "checkpoint", "evals")
    given = [x for x in TINY if not any(name in x for name in own)]
    given += ["--config.duration=100steps", "--config.checkpoint.every=20steps"]

    def start(port):
        return [
            command.start(
                "main",
                DEMO,
                *given,
                f"--workdir={workdir}",
                "--host_timeout=6",
                f"--coordinator=127.0.0.1:{port}",
                "--num_processes=2",
                f"--process_id={i}",
            )
            for i in range(2)
        ]

    first, second = free_ports(2)
    hosts = start(first)
    log = workdir / "metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 6:
        assert all(host.poll() is None for host in hosts), [h.communicate() for h in hosts]
        time.sleep(0.02)
    hosts[1].send_signal(fault)
    began = time.time()
    _, err = hosts[0].communicate(timeout=60)
    seconds = time.time() - began
    hosts[1].kill()
    hosts[1].communicate()
    assert hosts[0].returncode == 1, err
    assert "(process 1) has not answered for" in err
    assert "start all hosts again" in err
    assert seconds < 30
    again = start(second)
    ends = [host.communicate(timeout=200) for host in again]
    assert [host.returncode for host in again] == [0, 0], ends
    steps = [one["step"] for one in lines(workdir) if "train/loss" in one]
    assert steps == list(range(4, 101, 4))


def test_a_run_starts_from_another_run_or_from_a_file(command, tmp_path):
    """A learning rate of nearly 0 leaves what the run began with."""
    still = [DEMO, *TINY, "--config.duration=2steps", "--config.optim.warmup=1steps", "--config.evals.best="]
    still.append("--config.optim.learning_rate=1e-9")
    assert command("main", *still, "--config.seed=1", "--workdir=first").returncode == 0
    _, first = newest(tmp_path / "first")
    done = command("main", *still, "--config.init_from=first", "--workdir=second")
    assert "parameters loaded" in done.stdout, done.stderr
    _, second = newest(tmp_path / "second")
    for name, tree in (("params", first["params"]), ("ema", first["params"])):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tree, second[name])
    assert refused(command("main", *still, "--config.init_from=no.pth"), "there is no file no.pth")


def short(name, *more):
    """A few steps of the demo of a config."""
    return (
        f"--config={ROOT}/configs/{name}.py:demo",
        "--config.duration=4 steps",
        "--config.optim.warmup=1 steps",
        "--config.evals.every=",
        "--config.checkpoint.every=2 steps",
        *more,
    )


@pytest.mark.slow
def test_a_chain_pretrains_fine_tunes_probes_and_predicts(command, tmp_path):
    done = command("main", *short("mae_b16_pretrain"), "--workdir=mae")
    assert done.returncode == 0, done.stderr
    triple = command("predict", "--workdir=mae", "mae/example.png")
    (row,) = map(json.loads, triple.stdout.splitlines())
    assert row["hidden"] == 0.5
    with Image.open(tmp_path / row["output"]) as picture:
        assert picture.size == (3 * 224, 224)
    seen = command("explain", "--workdir=mae", "mae/example.png")  # rollout: there are no classes
    assert seen.returncode == 0, seen.stderr
    for name, told in (("mae_b16_finetune", "params/fc_norm/scale"), ("mae_b16_linprobe", "head_norm")):
        done = command("main", *short(name, "--config.init_from=mae"), f"--workdir={name}")
        assert done.returncode == 0, done.stderr
        assert "the encoder is taken, the decoder left out" in done.stdout
        assert told in done.stdout
    _, start = newest(tmp_path / "mae")
    _, probe = newest(tmp_path / "mae_b16_linprobe")
    encoder = start["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, encoder["block1"], probe["params"]["block1"])
    predicted = command("predict", "--workdir=mae_b16_linprobe", "mae/example.png")
    assert json.loads(predicted.stdout)["label"] in [str(k) for k in range(10)]
    averaged = command("main", "--workdir=mae_b16_linprobe", "--mode=eval", "--checkpoint=average")
    assert "test/accuracy" in averaged.stdout


@pytest.mark.slow
def test_texts_pretrain_fine_tune_with_one_tokenizer_and_fill_in(command, tmp_path):
    assert command("main", *short("bert_base"), "--workdir=bert").returncode == 0
    (tmp_path / "lines.txt").write_text("The value of the [MASK] is returned.\nNothing is hidden here.\n")
    done = command("predict", "--workdir=bert", "lines.txt")
    filled, broken = map(json.loads, done.stdout.splitlines())
    assert len(filled["masks"][0]) == 5
    assert "[MASK]" not in filled["filled"]
    assert "there is no [MASK]" in broken["error"]
    assert done.returncode == 2
    tuned = command("main", *short("bert_finetune", "--config.init_from=bert"), "--workdir=tuned")
    assert tuned.returncode == 0, tuned.stderr
    assert "heads that differ are made anew or left out" in tuned.stdout
    tokenizers = [(tmp_path / run / "tokenizer.json").read_text() for run in ("bert", "tuned")]
    assert tokenizers[0] == tokenizers[1]
    other = ("--config.init_from=bert", "--config.data.tokenizer=other.json")
    (tmp_path / "other.json").write_text(tokenizers[0].replace('"NFC"', '"NFKC"'))
    refused(command("main", *short("bert_finetune", *other), "--workdir=x"), "token ids would mean other words")
    assert not (tmp_path / "x").exists()
    label = command("predict", "--workdir=tuned", "lines.txt")
    labels = [json.loads(line) for line in label.stdout.splitlines()]
    assert all("probability" in row for row in labels)
    explained = command("explain", "--workdir=tuned", "--method=relevance,gradient_x_input", "lines.txt")
    assert explained.returncode == 0, explained.stderr
    rows = [json.loads(line) for line in explained.stdout.splitlines()]
    for row, said in zip(rows, labels, strict=True):
        assert row["class"] == said["label"]
        assert row["top"][0]["probability"] == pytest.approx(said["probability"], abs=1e-4)
        for words in row["words"].values():
            assert max(shade for _, shade in words) == 1
            assert [word for word, _ in words][:1] == ["[CLS]"]
    assert "<b>gradient_x_input</b>" in (tmp_path / rows[0]["output"]).read_text()


def test_folds_are_run_one_after_the_other(command, tmp_path):
    line = (DEMO, *TINY, "--config.duration=4steps", "--config.optim.warmup=1steps", "--workdir=cv")
    done = command("folds", *line, "--config.data.num_folds=2")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "cv" / "folds.json").read_text())["test/accuracy"]
    assert len(table["folds"]) == 2
    assert table["mean"] == pytest.approx(sum(table["folds"]) / 2)
    assert "2 folds in cv" in done.stdout
    refused(command("folds", *line), "give --config.data.num_folds=N")
