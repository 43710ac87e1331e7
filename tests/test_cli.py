"""Paths and streams of the command line."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from vitax import cli, main, predict
from vitax.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"


def test_the_home_folder_is_known_in_every_flag_that_is_a_path():
    arguments = predict.COMMAND.parse(["predict", "--workdir=~/runs/a", "--out=~/b", "~/c.png", "./~d.png"])
    home = str(Path.home())
    assert arguments.flags["workdir"] == f"{home}/runs/a"
    assert arguments.flags["out"] == f"{home}/b"
    assert arguments.positional == [f"{home}/c.png", "./~d.png"]


def test_a_dictionary_can_be_given_on_the_command_line():
    def factors(*words):
        typed = ["main", f"--config={CONFIGS}/dynamic_vit_s.py:demo", "--workdir=a", *words]
        return main.COMMAND.parse(typed).config["optim"]["lr_factors"]

    assert factors() == {r"^(?!predictor)": 0.2}
    assert factors("--config.optim.lr_factors={'head': 0.1, 'block.*bias': 2.0}") == {"head": 0.1, "block.*bias": 2.0}
    assert factors("--config.optim.lr_factors", "{'head': 0.1}", "--config.optim.b2=0.9") == {"head": 0.1}
    assert factors("--config.optim.lr_factors={'head': 0.1,\n 'block': 0.5}") == {"head": 0.1, "block": 0.5}
    assert factors("--config.optim.lr_factors=") == {}
    assert factors("--config.optim.lr_factors={'head': 0.1}", "--config.optim.lr_factors=") == {}
    with pytest.raises(UserError, match=r"lr_factors=0.1 is not a dictionary; write \{'NAME': VALUE\}"):
        factors("--config.optim.lr_factors=0.1")
    with pytest.raises(UserError, match="no key 'optim.lr_factor'"):
        factors("--config.optim.lr_factor={'head': 0.1}")


def test_of_several_values_the_last_one_counts():
    def depth(*words):
        return main.COMMAND.parse(["main", f"--config={CONFIGS}/vit_b16.py:demo", "--workdir=a", *words]).config[
            "model"
        ]["depth"]

    default = depth()
    assert depth("--config.model.depth=7") == 7 != default
    assert depth("--config.model.depth=7", "--config.model.depth=") == depth("--config.model.depth=")
    assert depth("--config.model.depth=", "--config.model.depth=7") == 7


@pytest.mark.parametrize("key", ["model", "task", "model.name", "task.name", "optim"])
def test_what_has_no_default_cannot_be_emptied(key):
    with pytest.raises(UserError, match=f"config.{key} has no default"):
        main.COMMAND.parse(["main", f"--config={CONFIGS}/vit_b16.py:demo", "--workdir=a", f"--config.{key}="])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_closed_disk_is_a_sentence(capsys, number):
    def command():
        raise OSError(number, "no", "a.png")

    assert cli.exit_code(command, debug=False) == 2
    assert capsys.readouterr().err == "error: a.png: no\n"


def test_a_path_that_is_too_long_is_a_sentence(capsys):
    def command():
        raise OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300)

    assert cli.exit_code(command, debug=False) == 2
    assert capsys.readouterr().err == f"error: {'x' * 200}: File name too long\n"


def test_a_reader_that_goes_away_ends_a_command_without_a_word():
    code = (
        "import sys; from vitax import cli; from vitax.predict import print_rows; "
        "cli.exit_with(lambda: print_rows({'n': n} for n in range(100000)), debug=False)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout.readline() == b'{"n": 0}\n'
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 128 + 13
