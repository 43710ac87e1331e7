"""Times from the start: of imports, and to the first step of the demo with an empty and with a filled cache.

python experiments/reliability/startup.py --rounds=3
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = (f"--config={ROOT}/configs/vit_b16.py:demo", "--config.duration=60steps", "--config.log.every=1steps")
DEMO += ("--config.optim.warmup=5steps",)


def imported(module: str) -> float:
    """Seconds that a fresh interpreter takes to import a module."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=ROOT)
    return time.monotonic() - began


def first_step(cache: Path, workdir: Path) -> float:
    """Seconds from the start of the command to the first line of its log."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "vitax.main", *DEMO, f"--workdir={workdir}"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    log = workdir / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
        assert process.poll() is None
    seconds = time.monotonic() - began
    process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    timings = {"import jax": [], "import vitax": [], "import vitax.main": [], "cold": [], "warm": []}
    for _ in range(rounds):
        timings["import jax"].append(imported("jax"))
        timings["import vitax"].append(imported("vitax, jax"))
        timings["import vitax.main"].append(imported("vitax.main"))
        with tempfile.TemporaryDirectory() as name:
            cache = Path(name) / "cache"
            timings["cold"].append(first_step(cache, Path(name) / "cold"))
            timings["warm"].append(first_step(cache, Path(name) / "warm"))
    for label, seconds in timings.items():
        print(f"{label:<20}{statistics.median(seconds):.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
