"""Random bad inputs: config values, command lines, folders, images, checkpoints."""

import subprocess
import sys

import pytest
from commands import ROOT


@pytest.fixture
def fuzzing():
    return ROOT / "experiments" / "reliability" / "fuzz.py"


def test_random_bad_inputs_end_in_a_sentence(fuzzing):
    line = [sys.executable, str(fuzzing), "--count=60", "--seed=7"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 of 60 went wrong" in done.stdout
