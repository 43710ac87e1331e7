"""The same 20 steps on 1 and 8 devices (data-parallel, with split parameters, and both), and as 2 and 4 processes.

    python experiments/reliability/layouts.py

Prints the largest relative difference of the loss of any step from its value on one device. A run that was saved on 8
devices after 10 steps is also continued on other layouts, and compared with the run that stayed on 8. Exit code 1 if
any difference is above 1e-5.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = (
    f"--config={ROOT}/configs/vit_b16.py:demo",
    "--config.optim.warmup=5steps",
    "--config.log.every=1steps",
    "--config.checkpoint.every=10steps",
    "--config.checkpoint.keep=3",
    "--config.evals.best=",
    "--config.duration=20steps",
    "--config.model.width=128",
)
BOUND = 1e-5
ONE = (1, 1, 1)
LAYOUTS = {  # (processes, devices of each process, fsdp)
    "1 device": ONE,
    "8 devices, data-parallel": (1, 8, 1),
    "8 devices, parameters split over 8": (1, 8, 8),
    "8 devices, 2 copies split over 4": (1, 8, 4),
    "2 processes": (2, 1, 1),
    "2 processes, parameters split over both": (2, 1, 2),
    "4 processes": (4, 1, 1),
}


def train(workdir: Path, layout: tuple[int, int, int]) -> list[float]:
    """Starts or continues a run, and returns the loss of each step."""
    processes, devices, fsdp = layout
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    line = [sys.executable, "-m", "vitax.main", *RUN, f"--config.mesh.fsdp={fsdp}", f"--workdir={workdir}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    distributed = [f"--coordinator={address}", f"--num_processes={processes}"]
    started = [
        subprocess.Popen(
            line + ([*distributed, f"--process_id={i}"] if processes > 1 else []),
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    for process in started:
        _, err = process.communicate(timeout=500)
        if process.returncode:
            raise RuntimeError(err)
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [entry["train/loss"] for entry in lines if "train/loss" in entry]


def difference(a: list[float], b: list[float]) -> float:
    assert len(a) == len(b) == 20, (len(a), len(b))
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


def main() -> int:
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = train(folder / "1 device", ONE)
        for label, layout in LAYOUTS.items():
            if layout == ONE:
                continue
            deviation = difference(train(folder / label, layout), reference)
            worst = max(worst, deviation)
            print(f"{label:<42}{deviation:.1e}", flush=True)
        stayed = train(folder / "8 devices, 2 copies split over 4", (1, 8, 4))
        for label, layout in (("1 device", ONE), ("2 devices", (1, 2, 2)), ("4 processes", (4, 1, 1))):
            moved = folder / f"moved to {label}"
            shutil.copytree(folder / "8 devices, 2 copies split over 4", moved)
            shutil.rmtree(moved / "checkpoints" / "20")  # back to step 10
            deviation = difference(train(moved, layout), stayed)
            worst = max(worst, deviation)
            print(f"{'saved on 8 at step 10, continued on ' + label:<42}{deviation:.1e}", flush=True)
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
