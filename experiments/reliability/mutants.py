"""Plants small faults into the mathematics, one at a time, and lists those that no test notices.

    python experiments/reliability/mutants.py                   200 faults, about half an hour on two CPU cores
    python experiments/reliability/mutants.py --count 40 losses masking

A fault is a swapped operator, comparison or branch, or another constant. The tests are those of the file that the fault
is in; a fault that survives them is printed with its line. Writes experiments/reliability/mutants.csv, or ``--out``.
"""

import argparse
import ast
import copy
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# {files: tests that are to notice faults in them}
TARGETS = {
    "losses.py": "test_losses.py test_tasks.py test_parity.py",
    "masking.py": "test_masking.py",
    "metrics.py": "test_metrics.py test_perfect.py",
    "generate.py": "test_generate.py",
    "tasks/classification.py": "test_tasks.py test_perfect.py",
    "tasks/masked_image.py": "test_tasks.py",
    "tasks/masked_words.py": "test_tasks.py",
    "tasks/translation.py": "test_tasks.py test_generate.py test_perfect.py",
    "tasks/words.py": "test_tasks.py test_perfect.py",
    "tasks/contrastive.py": "test_tasks.py",
    "nn/attention.py": "test_nn.py test_parity.py test_generate.py",
    "nn/blocks.py": "test_nn.py test_sites.py test_parity.py",
    "nn/stacks.py": "test_nn.py test_sites.py test_sequences.py test_parity.py",
    "nn/windows.py": "test_windows.py test_sites.py test_parity.py",
    "nn/patches.py": "test_nn.py test_vit.py",
    "nn/positions.py": "test_nn.py test_vit.py test_hub_config.py test_parity.py",
    "nn/relative.py": "test_vit.py test_windows.py test_parity.py",
    "nn/interpolation.py": "test_nn.py test_vit.py test_hub_config.py",
    "nn/neighborhood.py": "test_neighborhood.py",
}
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def places(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(number of a node, kind of fault) for each fault that a file can have; texts, types and errors are left alone."""
    spared: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.AnnAssign | ast.JoinedStr):
            spared |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.FunctionDef):
            outer = [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
            spared |= {id(inner) for part in outer for inner in ast.walk(part)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in spared:
            continue
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            yield number, "operator"
        elif isinstance(node, ast.BoolOp):
            yield number, "and/or"
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield number, "comparison"
        elif isinstance(node, ast.IfExp):
            yield number, "branches"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            yield number, "sign"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield number, "constant"


def planted(source: str, number: int) -> tuple[str, int]:
    """The source with a fault at a node, and its line."""
    tree = copy.deepcopy(ast.parse(source))
    node = list(ast.walk(tree))[number]
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
    elif isinstance(node, ast.UnaryOp):
        node.op = (
            ast.UAdd()
            if isinstance(node.op, ast.USub)
            else ast.Not()
            if isinstance(node.op, ast.Invert)
            else ast.Invert()
        )
    elif isinstance(node, ast.Constant):
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1
    return ast.unparse(tree), line


def survives(file: str, number: int, folder: Path) -> dict[str, object]:
    """Runs the tests of a file with a fault in it."""
    source = (ROOT / "vitax" / file).read_text(encoding="utf-8")
    mutated, line = planted(source, number)
    target = folder / "vitax" / file
    target.write_text(mutated, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    tests = [f"tests/{name}" for name in TARGETS[file].split()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", *tests]
    try:
        code = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=400, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        code = 1
    target.write_text(source, encoding="utf-8")
    return dict(file=file, line=line, code=source.splitlines()[line - 1].strip(), survived=code == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of file names; none = all")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "reliability" / "mutants.csv")
    options = parser.parse_args()
    everything = []
    for file in TARGETS:
        if not options.names or any(name in file for name in options.names):
            tree = ast.parse((ROOT / "vitax" / file).read_text(encoding="utf-8"))
            everything += [(file, number) for number, _ in places(tree)]
    chosen = sorted(random.Random(0).sample(everything, min(options.count, len(everything))))
    folders = []
    for _ in range(options.parallel):
        folder = Path(tempfile.mkdtemp(prefix="vitax-mutants-"))
        for part in ("vitax", "tests", "configs", "pyproject.toml"):
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
        folders.append(folder)
    rows = []
    with ThreadPoolExecutor(options.parallel) as pool:
        shares = [chosen[k :: options.parallel] for k in range(options.parallel)]
        work = lambda k: [survives(file, number, folders[k]) for file, number in shares[k]]
        for part in pool.map(work, range(options.parallel)):
            rows += part
    for folder in folders:
        shutil.rmtree(folder)
    rows.sort(key=lambda row: (str(row["file"]), int(str(row["line"]))))
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["file", "line", "code", "survived"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        if row["survived"]:
            print(f"{row['file']}:{row['line']}  {row['code']}")
    print(f"{sum(bool(row['survived']) for row in rows)} of {len(rows)} faults survive")


if __name__ == "__main__":
    main()
