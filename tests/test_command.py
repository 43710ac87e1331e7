"""The command ``vitax``, outside a clone."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vitax import config_file, cross_validate
from vitax.cli import Command
from vitax.command import VERBS, completion, translated
from vitax.config_file import find_config, load_config, shipped
from vitax.errors import UserError

ROOT = Path(__file__).parent.parent
HEAVY = ("sacrebleu", "tokenizers", "matplotlib", "torch", "tensorboardX", "tensorflow_datasets", "sklearn", "num2words",
         "huggingface_hub", "jax2onnx", "onnxruntime")  # fmt: skip


def vitax(folder, *arguments, **environment):
    line = [sys.executable, "-m", "vitax.command", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_a_command(name):
    command = importlib.import_module(f"vitax.{VERBS[name].module}").COMMAND
    assert isinstance(command, Command)
    assert VERBS[name].takes_config == (command.config != "none") or name == "eval"


def test_a_first_argument_is_a_config():
    assert translated(VERBS["train"], ["vit_b16:demo", "--workdir=a"]) == ["--config=vit_b16:demo", "--workdir=a"]
    assert translated(VERBS["train"], ["--workdir=a"]) == ["--workdir=a"]
    assert translated(VERBS["predict"], ["a.png"]) == ["a.png"]
    assert translated(VERBS["eval"], ["--workdir=a"]) == ["--mode=eval", "--workdir=a"]


def test_configs_are_found_by_name_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("vit_b16", "vit_b16.py", "configs/vit_b16.py", "configs/vit_b16"):
        assert find_config(name) == ROOT / "configs" / "vit_b16.py"
    assert load_config("vit_b16:demo")["model"]["name"] == "vit"
    with pytest.raises(UserError, match="no config of that name; did you mean 'vit_b16'"):
        find_config("vit_b17")
    with pytest.raises(UserError, match="other/vit_b16.py does not exist"):
        find_config("other/vit_b16.py")
    (tmp_path / "vit_b16.py").write_text("mine")
    assert find_config("vit_b16.py").read_text() == "mine"
    monkeypatch.setattr(config_file, "SHIPPED", tmp_path)
    assert list(shipped()) == ["vit_b16"]


def test_the_wheel_has_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "vitax").rglob("*.py")}
    assert set(listed) == {*(".".join(folder.parts) for folder in folders), "vitax.configs"}


def test_what_people_type(tmp_path):
    listed = vitax(tmp_path, "configs")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(shipped())
    assert "vit_b16 " in listed.stdout
    printed = vitax(tmp_path, "configs", "vit_b16")
    assert printed.stdout == (ROOT / "configs" / "vit_b16.py").read_text()
    told = vitax(tmp_path, "--help")
    assert all(f"  {verb} " in told.stdout for verb in VERBS)
    assert vitax(tmp_path, "--version").stdout.startswith("vitax 0")
    for words, message in (
        (("trian",), "error: vitax has no verb 'trian'; did you mean 'train'?"),
        (("train", "vit_b17"), "error: config file vit_b17 does not exist"),
        (("configs", "a", "b"), "error: name one config"),
        (("predict",), "error: give --workdir=RUN"),
    ):
        done = vitax(tmp_path, *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.startswith(message)


@pytest.mark.parametrize("verb", ["train", "predict", "export", "pretrained", "plan"])
def test_a_start_imports_nothing_that_the_verb_does_not_use(verb):
    code = f"import importlib, sys; importlib.import_module('vitax.{VERBS[verb].module}'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not set(HEAVY) & set(done.stdout.split())


def test_completion(tmp_path):
    def completed(*words):
        lines = (
            completion(),
            f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}",
            "_vitax",
            "printf '%s\\n' \"${COMPREPLY[@]}\"",
        )
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    (tmp_path / "vit_mine.py").touch()
    assert completed("vitax", "pre") == ["predict", "pretrained"]
    assert completed("vitax", "train", "vit_") == ["vit_b16", "vit_b16_384", "vit_l16", "vit_mine.py"]
    assert completed("vitax", "train", "a", "vit_") == ["vit_mine.py"]


def test_folds_without_a_number_are_not_left_out_of_a_mean(tmp_path, capsys):
    folds = [{"test/loss": 1.0, "test/auc": x} for x in (0.5, 0.7, float("nan"))]
    cross_validate.summarise(folds, tmp_path)
    said = capsys.readouterr().out
    assert "test/loss  1.0000 ± 0.0000" in said
    assert "test/auc  is not a number in 1 of 3 folds" in said
    assert list(json.loads((tmp_path / "folds.json").read_text())) == ["test/loss"]
    cross_validate.summarise(folds[1:], tmp_path)
    assert "test/auc  is not a number in 1 of 2 folds" in capsys.readouterr().out
