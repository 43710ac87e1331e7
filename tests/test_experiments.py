"""Experiments: that their configs are still understood, and that tables say what the runs said."""

import importlib
import json
from pathlib import Path

import pytest

from vitax import cli
from vitax.models import MODELS

FOLDER = Path(__file__).parent.parent / "experiments"
STUDIES = sorted(p.stem for p in FOLDER.glob("*.py") if "conduct(__file__" in p.read_text())


@pytest.fixture(autouse=True)
def from_root(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    monkeypatch.syspath_prepend(str(FOLDER))


def test_there_are_as_many_as_questions():
    assert len(STUDIES) == 12


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_is_a_config(name, monkeypatch):
    monkeypatch.setitem(MODELS, "resnet", importlib.import_module("resnet").FAMILY)
    study, module = importlib.import_module("study"), importlib.import_module(name)
    assert (module.__doc__ or "").count("ypothesis") == 1
    for overrides in module.STUDY.variants.values():
        keys = {**module.STUDY.shared, **module.STUDY.of_seed(1), **overrides}
        config = keys.pop("config", module.STUDY.config)
        keys.pop("program", None)
        given = study.flags_of(keys, lambda other: Path("runs") / study.label(other))
        arguments = cli.Command("", (), lambda arguments: None).parse(["x", f"--config={config}", *given])
        assert arguments.config["model"]["name"] in MODELS


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
