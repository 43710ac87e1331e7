"""Is vitax as fast as the programs that its users would choose instead? Both have the same weights and input.

    python experiments/speed/compare.py vit_b16 swin_t --mode=forward --batch=8
    python experiments/speed/compare.py vit_b16 --mode=train --peer=flax          # plain Flax layers
    python experiments/speed/compare.py fnet_base --against=bert_base --mode=train  # two models of ours

Both programs start, load, compile and warm up; then they take turns, A B, B A, A B, ..., so that other work of the
machine slows both. A speed counts only if the outputs agree (float32: within 1e-4 of the largest value; texts: in every
token; bfloat16: with a cosine above 0.999). Appends one JSON object for each comparison to
experiments/speed/results.jsonl. Needs PyTorch and the peers, see cases.py.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
AGREE = {"float32": 1e-4, "bfloat16": 1e-3}
PACKAGES = ("vitax", "jax", "jaxlib", "flax", "torch", "timm", "transformers", "open_clip_torch", "spandrel")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--mode", default="forward", choices=["forward", "train"])
    parser.add_argument("--peer", default="eager", choices=["eager", "compiled", "flax"])
    parser.add_argument("--against", help="another of our own cases, in place of the peer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=2, help="number of steps of each program in each round")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    given = parser.parse_args()
    disagreeing = 0
    for case in given.cases:
        result = compare(case, given)
        disagreeing += result["agrees"] is False
        with given.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        note = "" if result["agrees"] is not False else f"  OUTPUTS DIFFER by {result['error']:.1e}: does not count"
        print(
            f"{case:<16}{given.mode:<9}batch {given.batch:<4}ours {result['ours_per_second']:.2f}/s  "
            f"{result['peer']} {result['theirs_per_second']:.2f}/s  ratio {result['ratio']:.2f} "
            f"({result['ratio_low']:.2f} to {result['ratio_high']:.2f}){note}",
            flush=True,
        )
    return int(bool(disagreeing))


def compare(case: str, given: argparse.Namespace) -> dict[str, Any]:
    """Runs both programs in turns, and returns one row of results.jsonl."""
    with tempfile.TemporaryDirectory() as folder:
        common = [f"--mode={given.mode}", f"--batch={given.batch}", f"--dtype={given.dtype}"]
        # The peer comes first, because it makes the weights.
        if given.against:
            peer = start(["eager", given.against, *common, f"--folder={folder}"]) if has_peer(given.against) else None
            theirs, their_report = start(["ours", given.against, *common, f"--folder={folder}"])
            stop(peer)
            peer = start(["eager", case, *common, f"--folder={folder}"]) if has_peer(case) else None
            stop(peer)
        elif given.peer == "flax":
            stop(start(["eager", case, *common, f"--folder={folder}"]))
            theirs, their_report = start(["flax", case, *common, f"--folder={folder}"])
        else:
            theirs, their_report = start([given.peer, case, *common, f"--folder={folder}"])
        ours, our_report = start(["ours", case, *common, f"--folder={folder}"])
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(given.rounds):
            turns = [("ours", ours), ("theirs", theirs)]
            for name, process in turns if number % 2 else reversed(turns):
                seconds[name].append(run(process, given.steps))
        stop((ours, our_report))
        stop((theirs, their_report))
    ratios = sorted(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
    rate = {k: given.batch * given.steps / statistics.median(v) for k, v in seconds.items()}
    errors = [report["error"] for report in (our_report, their_report) if report.get("error") is not None]
    return {
        "case": case,
        "mode": given.mode,
        "peer": f"own {given.against}" if given.against else given.peer,
        **{name: getattr(given, name) for name in ("batch", "dtype", "rounds", "steps")},
        "error": max(errors, default=None),
        "agrees": max(errors) <= AGREE[given.dtype] if errors else None,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "ours_per_second": rate["ours"],
        "theirs_per_second": rate["theirs"],
        "ours_macs": our_report["macs"],
        "theirs_macs": their_report.get("macs"),
        "machine": f"{os.cpu_count()} x {processor()}",
        "isa": widest(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def has_peer(case: str) -> bool:
    from cases import CASES

    return CASES[case].peer is not None


def start(arguments: list[str]) -> tuple[subprocess.Popen, dict[str, Any]]:
    """Starts a program, and returns it with its report.

    Raises:
        SystemExit: a package that it needs is not installed.
    """
    line = [sys.executable, str(HERE / "side.py"), *arguments]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    report = json.loads(read(process))
    if "missing" in report:
        raise SystemExit(f"{arguments[1]} cannot be compared: the package {report['missing']!r} is not installed")
    return process, report


def stop(started: tuple[subprocess.Popen, Any] | None) -> None:
    if started:
        started[0].stdin.close()
        started[0].wait()


def run(process: subprocess.Popen, steps: int) -> float:
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(read(process))


def read(process: subprocess.Popen) -> str:
    """The next line of JSON; lines that libraries print are skipped."""
    while line := process.stdout.readline():
        if line[0] in "{0123456789":
            return line
    raise RuntimeError(f"{' '.join(process.args[1:4])} ended with code {process.wait()}")


def processor() -> str:
    return of_processor("model name") or platform.processor() or platform.machine()


def widest() -> str:
    """The widest vectors of the processor, "AVX-512" or "AVX2"; another architecture has its name."""
    flags = of_processor("flags").split()
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else platform.machine()


def of_processor(name: str) -> str:
    """A line of Linux's description of the first core; "" where there is none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
