"""Experiments: that their configs are still understood, and that tables say what the runs said."""

import importlib
import json
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import jax
import numpy as np
import pytest
from small import SMALL, variables_of

from vitax import cli
from vitax.models import MODELS
from vitax.prediction import PREDICTORS
from vitax.specs import ImageSpec
from vitax.tasks import TASKS

FOLDER = Path(__file__).parent.parent / "experiments"
STUDIES = sorted(p.stem for p in FOLDER.glob("*.py") if re.search(r"^ +conduct\(__file__", p.read_text(), re.MULTILINE))


@pytest.fixture(autouse=True)
def from_root(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    monkeypatch.syspath_prepend(str(FOLDER))


def test_there_are_as_many_as_questions():
    assert len(STUDIES) == 18


def test_all_of_them_run_until_the_time_is_up(tmp_path, monkeypatch, capsys):
    everything = importlib.import_module("all")
    assert sorted(everything.experiments()) == STUDIES
    monkeypatch.setattr(everything, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    for name, seconds, more in (
        ("slow", 50, ""),
        ("fast", 1, ""),
        ("owner", 2, "STUDY = dict(needs_data=True)"),
        ("new", 0, ""),
    ):
        code = (
            f"{more}\nimport sys, time\nprint(sys.argv[1:])\ntime.sleep({seconds})\ndef run():\n    conduct(__file__)\n"
        )
        (tmp_path / f"{name}.py").write_text(code)
        if seconds:
            (tmp_path / "results" / f"{name}.csv").write_text(f"variant,x,seed,m,seconds\na,,0,1,{seconds}\n")
    assert everything.experiments() == ["fast", "owner", "slow", "new"]

    def states(*words):
        monkeypatch.setattr(sys, "argv", ["all.py", *words])
        everything.main()
        return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.rpartition("\n\n")[2].splitlines())

    began = time.monotonic()
    found = states("--budget=0.08", "--seeds=1")
    assert time.monotonic() - began < 30
    assert found["fast"] == "done"
    assert found["slow"].startswith("stopped")
    assert found["new"] == "not begun"
    assert found["owner"] == "left out: it needs data, --data owner=DIR"
    (tmp_path / "slow.py").unlink()
    assert states("--data", "owner=DIR")["owner"] == "done"
    for wrong in ("other=DIR", "DIR"):
        with pytest.raises(SystemExit):
            states("--data", wrong)


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_is_a_config(name, monkeypatch):
    monkeypatch.setitem(MODELS, "resnet", importlib.import_module("resnet").FAMILY)
    monkeypatch.setitem(MODELS, "unscaled_vit", importlib.import_module("attention_scale").FAMILY)
    study, module = importlib.import_module("study"), importlib.import_module(name)
    assert (module.__doc__ or "").count("ypothesis") == 1
    for overrides in module.STUDY.variants.values():
        keys = {**module.STUDY.shared, **module.STUDY.of_seed(1), **overrides}
        config = keys.pop("config", module.STUDY.config)
        keys.pop("program", None)
        given = study.flags_of(keys, lambda other: Path("runs") / study.label(other))
        arguments = cli.Command("", (), lambda arguments: None).parse(["x", f"--config={config}", *given])
        assert arguments.config["model"]["name"] in MODELS


def test_claims_are_tested_by_seed():
    """Differences of 1, 2 and 3: t = 2 / (1 / sqrt(3)) with two degrees of freedom."""
    study = importlib.import_module("study")
    values = {"a": (11, 22, 33, 40), "b": (10, 20, 30), "c": (9, 18.9, 29.1)}
    rows = [
        {"variant": k, "x": None, "seed": float(i), "m": float(v)}
        for k, row in values.items()
        for i, v in enumerate(row)
    ]
    it = study.Study({}, {"m": "measure"}, "")
    paired = study.tested([row for row in rows if row["seed"] < 3], it, study.Claim("a", "b"))
    assert paired == "| a | b | +2.000 [-0.484, +4.484] | 0.074 | undecided |"
    assert study.tested(rows, it, study.Claim("b", "c")).endswith("| confirmed |")
    assert study.tested(rows, it, study.Claim("c", "b")).endswith("| refuted |")
    assert study.tested(rows, it, study.Claim("a", "b")).endswith("| undecided |")  # another number of seeds: Welch's
    with pytest.raises(ValueError, match="d has 0 values of m"):
        study.tested(rows, it, study.Claim("a", "d"))


def test_tables_have_means_and_deviations(tmp_path):
    study = importlib.import_module("study")
    rows = [
        {"variant": "a", "x": x, "seed": seed, "test/accuracy": x / 10 + seed, "seconds": 1.0}
        for x in (1, 2)
        for seed in (0, 1)
    ]
    study.write(tmp_path / "a.csv", [*rows, {"variant": "b", "x": "", "seed": 0, "other": 2.0}])
    found = study.read(tmp_path / "a.csv")
    assert found[0] == {"variant": "a", "x": 1.0, "seed": 0.0, "test/accuracy": 0.1, "seconds": 1.0, "other": None}
    it = study.Study({}, {"test/accuracy": "accuracy", "other": "another"}, "", x="size")
    lines = study.markdown(found, it).splitlines()
    assert lines[0] == "| variant | size | accuracy | another | seeds |"
    assert lines[2] == "| a | 1 | 0.600 ± 0.707 |  | 2 |"
    assert lines[4] == "| b |  |  | 2.000 | 1 |"
    study.draw(found, it.metrics, tmp_path / "a.png", it.x)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_table_goes_between_its_marks(tmp_path, monkeypatch):
    study = importlib.import_module("study")
    monkeypatch.setattr(study, "HERE", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    study.tell("a", "new")
    study.tell("none", "nothing")
    assert readme.read_text() == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n"


@pytest.mark.parametrize("name", STUDIES)
def test_results_are_those_of_all_variants_and_seeds(name):
    study, module = importlib.import_module("study"), importlib.import_module(name)
    path = FOLDER / "results" / f"{name}.csv"
    rows = study.read(path)
    runs = {(row["variant"], row["x"], row["seed"]) for row in rows}
    assert len(runs) == len(rows)
    assert {seed for *_, seed in runs} == set(range(module.STUDY.seeds))
    variants = {v[0] if isinstance(v, tuple) else v for v in module.STUDY.variants}
    assert {variant for variant, *_ in runs} == variants
    assert path.with_suffix(".png").is_file()


TABLES = {"explanations_photos": "explanations", "translation_length_text": "translation_length"}


@pytest.mark.parametrize("name", sorted(p.stem for p in (FOLDER / "results").glob("*.csv")))
def test_the_readme_has_the_table_of_the_results(name):
    study, module = importlib.import_module("study"), importlib.import_module(TABLES.get(name, name))
    table = study.markdown(study.read(FOLDER / "results" / f"{name}.csv"), module.STUDY)
    assert f"<!-- {name} -->\n{table}\n<!-- end of {name} -->" in (FOLDER / "README.md").read_text()


def test_a_run_that_was_asked_for_otherwise_is_not_taken(tmp_path, monkeypatch):
    study = importlib.import_module("study")
    monkeypatch.setattr(study.subprocess, "run", lambda *given, **options: pytest.fail("it was run"))
    (tmp_path / "summary.json").write_text("{}")
    asked = ["-m", "vitax.main", "--config=a.py", "--config.seed=1"]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    study._run(["-m", "vitax.main"], "a.py", tmp_path, ["--config.seed=1"])
    with pytest.raises(SystemExit, match="belongs to a run with other flags"):
        study._run(["-m", "vitax.main"], "a.py", tmp_path, ["--config.seed=2"])


@pytest.mark.parametrize("name", ["own_loss", "own_positions"])
def test_what_comes_from_outside_trains_and_predicts(name, verb, quick_compile, monkeypatch, tmp_path):
    module = importlib.import_module(name)
    if name == "own_loss":
        monkeypatch.setitem(TASKS, "focal", module.OBJECTIVE)
        monkeypatch.setitem(PREDICTORS, "focal", PREDICTORS["classification"])
    else:
        monkeypatch.setitem(MODELS, "near_vit", module.FAMILY)
    short = (
        "--config.duration=4steps",
        "--config.optim.warmup=1steps",
        "--config.evals.every=",
        "--config.log.report=0",
    )
    done = verb("main", f"--config={FOLDER}/{name}.py", *short, "--config.checkpoint.every=2steps", "--workdir=run")
    assert done.returncode == 0, done.stderr
    assert verb("predict", "--workdir=run", "run/example.png").returncode == 0


def test_the_focal_loss():
    """With gamma 0 it is cross entropy; an example that is classified well counts less."""
    focal = importlib.import_module("own_loss").focal
    model, spec = SMALL["vit"].model, ImageSpec((16, 24), 3, (0.5,) * 3, (0.5,) * 3)
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 24, 3), dtype=np.uint8)
    batch = {"image": images, "label": np.array([0, 2], np.int32), "valid": np.array([True, True])}
    variables = variables_of(model, SMALL["vit"].inputs)
    key = jax.random.key(0)
    plain, _ = TASKS["classification"].factory(model, spec).loss(variables, batch, key, False)
    assert np.isclose(focal(model, spec, gamma=0.0).loss(variables, batch, key, False)[0], plain)
    p = np.asarray(focal(model, spec).predict(variables, batch)["probabilities"])[[0, 1], [0, 2]]
    expected = (-((1 - p) ** 2) * np.log(p)).mean()
    assert np.isclose(focal(model, spec, gamma=2.0).loss(variables, batch, key, False)[0], expected, rtol=1e-5)


def test_distances_as_positions():
    bias = importlib.import_module("own_positions").distance_bias((2, 3), 4, 1)
    assert bias.shape == (4, 7, 7)
    assert not bias[:, 0].any()
    assert not bias[:, :, 0].any()
    assert np.isclose(bias[0, 1, 6], -(2.0**-2) * np.hypot(1, 2))
    assert np.allclose(bias, bias.transpose(0, 2, 1))


def test_a_run_is_served(trained):
    server = importlib.import_module("serve").serve(str(trained("vit")), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with urllib.request.urlopen(url, data=(trained("vit") / "example.png").read_bytes()) as answer:
            found = json.load(answer)
        assert len(found["top"]) == 5
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(url, data=b"no image")
        assert refusal.value.code == 400
        refusal.value.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
