"""The first cell of every notebook."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(name: str) -> Path:
    """Goes to the root of the clone, installs vitax if it is missing, and makes the folder runs/notebooks/``name``."""
    os.chdir(ROOT)
    if importlib.util.find_spec("vitax") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", str(ROOT)], check=True)
        sys.path.insert(0, str(ROOT))  # this process started before vitax was installed
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the same Python in %%bash
    logging.getLogger("absl").setLevel(logging.ERROR)
    work = Path("runs/notebooks") / name
    work.mkdir(parents=True, exist_ok=True)
    return work
