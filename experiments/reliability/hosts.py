"""One of four processes is killed or frozen during training: what do the others do, and after how long?

    python experiments/reliability/hosts.py --timeout=10

For each fault and each victim (the first process, through which the others found each other, and another one), all four
processes are started again after the fault, and run to their end. Prints the seconds until all others have left, their
exit codes, how many of them named the victim, and the exit codes of the second start. Exit code 1 if one of the others
left with code 0 or more than 30 s after the timeout, or if the second start failed.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = (
    f"--config={ROOT}/configs/vit_b16.py:demo",
    "--config.duration=300steps",
    "--config.optim.warmup=5steps",
    "--config.log.every=4steps",
    "--config.evals.every=0steps",
    "--config.checkpoint.every=20steps",
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.model.mlp_width=16",
    "--config.model.num_heads=2",
    "--config.evals.best=",
)
COUNT = 4


def start(workdir: Path, timeout: float) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = [sys.executable, "-m", "vitax.main", *RUN, f"--workdir={workdir}", f"--coordinator={address}"]
    line += [f"--num_processes={COUNT}", f"--host_timeout={timeout}"]
    return [
        subprocess.Popen(
            [*line, f"--process_id={i}"],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(COUNT)
    ]


def attempt(fault: signal.Signals, victim: int, timeout: float) -> bool:
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        processes = start(workdir, timeout)
        log = workdir / "metrics.jsonl"
        while not log.exists() or len(log.read_text().splitlines()) < 6:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.02)
        processes[victim].send_signal(fault)
        began = time.monotonic()
        others = [process for i, process in enumerate(processes) if i != victim]
        errors = [process.communicate(timeout=300)[1] for process in others]
        seconds = time.monotonic() - began
        processes[victim].kill()
        processes[victim].communicate()
        named = sum(f"(process {victim})" in error for error in errors)
        restarted = [process.wait(300) for process in start(workdir, timeout)]
    codes = [process.returncode for process in others]
    print(
        f"{fault.name} of process {victim}: the others left within {seconds:.0f} s with {codes}, {named} of "
        f"{COUNT - 1} named it; exit codes after a restart: {restarted}",
        flush=True,
    )
    return restarted == [0] * COUNT and 0 not in codes and seconds < timeout + 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=10.0)
    timeout = parser.parse_args().timeout
    faults = [(fault, victim) for fault in (signal.SIGKILL, signal.SIGSTOP) for victim in (2, 0)]
    return int(not all(attempt(fault, victim, timeout) for fault, victim in faults))


if __name__ == "__main__":
    sys.exit(main())
