"""Ends a run at random moments, starts it again with the same command, and checks that nothing has changed.

    python experiments/reliability/interruptions.py --signal=KILL --count=50
    python experiments/reliability/interruptions.py --signal=TERM --count=20
    python experiments/reliability/interruptions.py --signal=INT --count=20

Afterwards the run goes to its end and is compared with an undisturbed run: the checksums of all arrays of the last
checkpoint (parameters, optimizer, average, step) and every line of metrics.jsonl, without rates and seconds. Exit code
1 if anything differs, if a run ends with another exit code than the signal's, or if it prints a traceback after its
imports.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = (
    f"--config={ROOT}/configs/vit_b16.py:demo",
    "--config.duration=6000steps",
    "--config.optim.warmup=5steps",
    "--config.log.every=20steps",
    "--config.evals.every=250steps",
    "--config.checkpoint.every=100steps",
    "--config.evals.batch_size=8",
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.model.mlp_width=16",
    "--config.model.num_heads=2",
    "--config.optim.ema_decay=0.9",
)
CLOCKS = ("per_second", "data_wait", "seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    number = getattr(signal, f"SIG{options.signal}")
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, interrupted = Path(folder) / "whole", Path(folder) / "ended"
        done = start(undisturbed)
        began = time.monotonic()
        while not (undisturbed / "metrics.jsonl").exists():
            time.sleep(0.05)
        until_training = time.monotonic() - began
        assert done.wait() == 0, done.told
        phases, waits, wrong = collections.Counter(), [], []
        runs = equal = 0
        while sum(phases.values()) < options.count:
            process = start(interrupted)
            try:
                process.wait(draw.uniform(0, 2 * until_training))
                runs, equal = runs + 1, equal + (outcome(interrupted) == outcome(undisturbed))
                shutil.rmtree(interrupted)  # it ended before the signal: it is compared, and a new run begins
                continue
            except subprocess.TimeoutExpired:
                pass
            phase = phase_of(process, interrupted)
            phases[phase] += 1
            began = time.monotonic()
            process.send_signal(number)
            code = process.wait(120)
            waits.append(time.monotonic() - began)
            # Before Python has installed the handlers, the signal itself ends the process.
            if code not in (-number, 128 + number) or (phase == "training" and code == -number != -9):
                wrong.append((phase, code, process.told[-3:]))
            if any("Traceback" in line for line in process.told) and phase != "imports":
                wrong.append((phase, "traceback", process.told[-3:]))
        last = start(interrupted)
        assert last.wait() == 0, last.told
        runs, equal = runs + 1, equal + (outcome(interrupted) == outcome(undisturbed))
    print(f"{options.count} x SIG{options.signal}: {dict(phases)}")
    print(f"from signal to end: {max(waits):.1f} s at most, {sorted(waits)[len(waits) // 2]:.2f} s median")
    print(f"{equal} of {runs} runs have bit-identical state and metrics.jsonl; surprises: {wrong or 0}")
    return int(bool(wrong) or equal < runs)


def heed() -> None:
    """Restores the effect of SIGINT, which processes ignore if a script has started them in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(workdir: Path) -> subprocess.Popen:
    """Starts the command; its output is collected in ``told``."""
    command = [sys.executable, "-m", "vitax.main", *TINY, f"--workdir={workdir}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT, preexec_fn=heed
    )
    process.told = []
    threading.Thread(target=lambda: process.told.extend(process.stdout), daemon=True).start()
    return process


def phase_of(process: subprocess.Popen, workdir: Path) -> str:
    """Phase of the run, derived from its output and its files."""
    output = "".join(process.told)
    if "workdir " not in output:
        return "imports" if not output else "start-up"
    if "compile " not in output:
        return "compilation"
    if list((workdir / "checkpoints").glob("*tmp*")):
        return "saving"
    return "ending" if "done:" in output else "training"


def outcome(workdir: Path) -> tuple[dict, list]:
    """Checksums of the last checkpoint, and the lines of metrics.jsonl without rates and seconds."""
    last = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    meta = json.loads((workdir / "checkpoints" / str(last) / "meta" / "metadata").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in entry.items() if not k.endswith(CLOCKS)} for entry in lines]
    return {"step": last, **meta["arrays"]}, timeless


if __name__ == "__main__":
    sys.exit(main())
