"""Sweeps: the grid of variants, what is run again, the table."""

import csv
import json
from pathlib import Path

import pytest
from commands import DEMO, ROOT, refused

from vitax.config_file import load_config
from vitax.errors import UserError
from vitax.resolve import resolve
from vitax.sweep import __main__ as sweep
from vitax.sweep.grid import parse, split, variants

KNOWN = ["model.positions", "model.width", "data.mean", "optim.width"]


def test_the_grid():
    grid = parse(["model.positions=none,learned_1d", "config.model.width=64,128"], KNOWN)
    assert variants(grid) == {
        "positions=none, width=64": {"model.positions": "none", "model.width": "64"},
        "positions=none, width=128": {"model.positions": "none", "model.width": "128"},
        "positions=learned_1d, width=64": {"model.positions": "learned_1d", "model.width": "64"},
        "positions=learned_1d, width=128": {"model.positions": "learned_1d", "model.width": "128"},
    }
    assert list(variants(parse(["model.width=1", "optim.width=2"], KNOWN))) == ["model.width=1, optim.width=2"]
    assert split('(0.5, 0.5),(1,),[2, 3],"a, b",c') == ["(0.5, 0.5)", "(1,)", "[2, 3]", '"a, b"', "c"]
    assert split("((1, 2), (3, 4)),((5,6),(7,8))") == ["((1, 2), (3, 4))", "((5,6),(7,8))"]
    for text, message in (("(1,2", "is not closed"), ("it's,b", "is not closed"), ("a,,b", "is empty")):
        with pytest.raises(UserError, match=message):
            split(text)
    assert variants({}) == {"": {}}
    for over, message in (
        ("model.widht=1", "no key 'model.widht'; did you mean 'model.width'"),
        ("model.width", "is not KEY=VALUE"),
        ("model.width=", "is not KEY=VALUE"),
        ("model.width=1,1", "names a value twice"),
    ):
        with pytest.raises(UserError, match=message):
            parse([over], KNOWN)
    with pytest.raises(UserError, match="twice"):
        parse(["model.width=1", "model.width=2"], KNOWN)


@pytest.fixture
def trainer(monkeypatch):
    """Runs that are finished at once: the accuracy is the width, plus a hundredth of the seed."""
    started = []

    def run(line, **_):
        values = dict(
            argument.removeprefix("--config.").split("=", 1) for argument in line if argument.startswith("--")
        )
        started.append(values)
        folder = Path(values["--workdir"])
        folder.mkdir(parents=True)
        best = int(values["model.width"]) / 100 + int(values["seed"]) / 100
        summary = {
            "best": {"metric": "test/accuracy", "value": best, "step": 4},
            "metrics": {"test/accuracy": best - 0.1},
        }
        (folder / "summary.json").write_text(json.dumps(summary | {"seconds": 1.0}))
        return type("Done", (), {"returncode": 0 if values["model.width"] != "13" else 1})

    monkeypatch.setattr(sweep.subprocess, "run", run)
    return started


def test_means_of_the_last_and_the_best_and_nothing_twice(verb, trainer, tmp_path):
    line = (DEMO, "--over=model.width=16,32", "--seeds=2", "--parallel=2", "--out=sweep", "--config.model.num_heads=2")
    done = verb("sweep", *line)
    assert done.returncode == 0, done.stderr
    assert "| width=16 | 0.165 ± 0.007 | 0.065 ± 0.007 | 2 |" in done.stdout
    assert (tmp_path / "sweep" / "sweep.md").read_text() in done.stdout
    with (tmp_path / "sweep" / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["seed"]) for row in rows] == [
        ("width=16", "0"),
        ("width=16", "1"),
        ("width=32", "0"),
        ("width=32", "1"),
    ]
    assert rows[0]["command"].startswith("python -m vitax.main --config=")
    assert "--config.model.num_heads=2 --config.model.width=16 --config.seed=0 --workdir=sweep" in rows[0]["command"]
    assert (tmp_path / "sweep" / "sweep.png").stat().st_size > 1000
    assert len(trainer) == 4
    assert verb("sweep", *line).returncode == 0
    assert len(trainer) == 4, "finished runs are not run again"
    refused(verb("sweep", *line[:-1]), "belongs to a run with other arguments")


def test_a_validation_split_has_its_own_name_in_the_table(tmp_path):
    summary = {"best": {"metric": "val/accuracy", "value": 0.8}, "metrics": {"val/accuracy": 0.7, "test/accuracy": 0.6}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {"seconds": 1.0}))
    config = resolve(load_config(DEMO.removeprefix("--config=")))
    sweep.write_results(tmp_path, [sweep.Member("all", 0, tmp_path / "run", [])], config)
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    assert lines[0] == "| variant | best val/accuracy | last val/accuracy | test/accuracy | seeds |"
    assert lines[2] == "| all | 0.800 | 0.700 | 0.600 | 1 |"


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("evals.best=test/loss,test/accuracy", "a sweep compares its runs by one metric"),
        ("data.path=a/b,a_b", "two variants would get the same folder"),
    ],
)
def test_what_a_sweep_cannot_tell_apart_is_refused(verb, trainer, over, message):
    refused(verb("sweep", DEMO, f"--over={over}", "--seeds=1", "--out=sweep"), message)


def test_a_run_that_fails_is_told(verb, trainer, tmp_path):
    done = verb("sweep", DEMO, "--over", "model.width=13,16", "--seeds=1", "--out=sweep")
    assert done.returncode == 1
    assert "width=13, seed 0 failed" in done.stdout
    assert "| width=16 |" in done.stdout
    assert "| width=13 |" not in done.stdout


def test_wrong_flags(verb, trainer):
    refused(verb("sweep", DEMO, "--over=model.widht=1"), "did you mean 'model.width'")
    refused(verb("sweep", DEMO, "--over=seed=1,2"), "--seeds=N chooses the seeds")
    refused(verb("sweep", DEMO, "--seeds=0"), "must be at least 1")
    refused(verb("sweep", DEMO, "--config.evals.best="), "config.evals.best is empty")
    assert not trainer


def test_another_config_file_is_another_sweep(verb, trainer, tmp_path):
    (tmp_path / "my.py").write_text(
        f"from importlib.util import module_from_spec, spec_from_file_location as f\n"
        f"spec = f('base', {str(ROOT / 'configs/vit_b16.py')!r}); base = module_from_spec(spec); spec.loader.exec_module(base)\n"
        "def get_config(_=''):\n    config = base.get_config('demo')\n    config.optim.learning_rate = 0.001\n    return config\n"
    )
    line = ("--config=my.py", "--over=model.width=16", "--out=sweep", "--seeds=1")
    assert verb("sweep", *line).returncode == 0
    (tmp_path / "my.py").write_text((tmp_path / "my.py").read_text().replace("0.001", "0.002"))
    refused(verb("sweep", *line[:-1], "--seeds=2"), "belongs to a run with another config")
    assert len(trainer) == 1
