"""Is vitax as fast as what its users would pick instead? The same weights, the same input, both in turn.

    python experiments/speed/compare.py vit_b16 swin_t --mode=forward --batch=8
    python experiments/speed/compare.py bert_base --mode=train --batch=2 --peer=compiled

Both programs are started, load, compile and warm up; then they run in turn, A B, B A, A B, ..., so that whatever else the
machine does falls on both. A speed counts only where the outputs agree (float32: 1e-4 of the largest value). Appends one
JSON object for each comparison to experiments/speed/results.jsonl. Needs PyTorch and the peers, see cases.py.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
AGREE = 1e-4
PACKAGES = ("vitax", "jax", "jaxlib", "flax", "torch", "timm", "transformers")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--mode", default="forward", choices=["forward", "train"])
    parser.add_argument("--peer", default="eager", choices=["eager", "compiled"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=2, help="of each program in each round")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    given = parser.parse_args()
    wrong = 0
    for case in given.cases:
        found = compare(case, given)
        wrong += not found["agrees"]
        with given.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        told = (
            "" if found["agrees"] else f"  OUTPUTS DIFFER by {found['error']:.1e}: does not count"
        )
        print(
            f"{case:<12}{given.mode:<9}batch {given.batch:<4}ours {found['ours_per_second']:.2f}/s  "
            f"{given.peer} {found['theirs_per_second']:.2f}/s  ratio {found['ratio']:.2f} "
            f"({found['ratio_low']:.2f} to {found['ratio_high']:.2f}){told}",
            flush=True,
        )
    return int(bool(wrong))


def compare(case: str, given: argparse.Namespace) -> dict:
    """Both programs in turn."""
    with tempfile.TemporaryDirectory() as folder:
        common = [case, f"--mode={given.mode}", f"--batch={given.batch}", f"--dtype={given.dtype}"]
        common.append(f"--folder={folder}")
        theirs, _ = start(given.peer, common)  # first: it makes the weights
        ours, ready = start("ours", common)
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(given.rounds):
            turns = [("ours", ours), ("theirs", theirs)]
            for name, process in turns if number % 2 else reversed(turns):
                seconds[name].append(run(process, given.steps))
        for process in (ours, theirs):
            process.stdin.close()
            process.wait()
    ratios = sorted(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
    rate = {k: given.batch * given.steps / statistics.median(v) for k, v in seconds.items()}
    return {
        "case": case,
        **{
            name: getattr(given, name)
            for name in ("mode", "peer", "batch", "dtype", "rounds", "steps")
        },
        "error": ready["error"],
        "agrees": ready["error"] <= AGREE,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "ours_per_second": rate["ours"],
        "theirs_per_second": rate["theirs"],
        "machine": platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def start(side: str, arguments: list[str]) -> tuple[subprocess.Popen, dict]:
    line = [sys.executable, str(HERE / "side.py"), side, *arguments]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, json.loads(read(process))


def run(process: subprocess.Popen, steps: int) -> float:
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(read(process))


def read(process: subprocess.Popen) -> str:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(process.args[1:3])} ended with code {process.wait()}")
    return line


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
