"""Do the memory and the files of a run grow over 10,000 steps of a tiny model?

    python experiments/reliability/endurance.py

Resident memory is read from the kernel during the run; the mean of the last tenth of the readings must be within 2 % of
the mean of the second tenth. Exit code 1 otherwise, or if the number of files grows by more than 2.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = (
    f"--config={ROOT}/configs/vit_b16.py:demo",
    "--config.duration=10000steps",
    "--config.log.every=100steps",
    "--config.evals.every=1000steps",
    "--config.checkpoint.every=500steps",
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.model.mlp_width=16",
    "--config.model.num_heads=2",
)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        process = subprocess.Popen(
            [sys.executable, "-m", "vitax.main", *RUN, f"--workdir={workdir}"],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        log = workdir / "metrics.jsonl"
        while not log.exists():
            time.sleep(0.05)
            assert process.poll() is None
        memory, files, descriptors = [], [], []
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                descriptors.append(len(os.listdir(f"/proc/{process.pid}/fd")))
            except OSError:
                break
            if "VmRSS" in status:
                memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
                files.append(sum(path.is_file() for path in workdir.rglob("*")))
            time.sleep(0.25)
        process.wait()
        assert process.returncode == 0
    tenth = len(memory) // 10
    early, late = statistics.mean(memory[tenth : 2 * tenth]), statistics.mean(memory[-tenth:])
    growth = late / early - 1
    print(f"{len(memory)} readings; resident {early:.1f} -> {late:.1f} MiB ({growth:+.2%})")
    file_counts = max(files[tenth : 2 * tenth]), max(files[-tenth:])
    print(f"files {file_counts[0]} -> {file_counts[1]}; descriptors {descriptors[tenth]} -> {descriptors[-2]}")
    return int(abs(growth) > 0.02 or file_counts[1] > file_counts[0] + 2)


if __name__ == "__main__":
    sys.exit(main())
