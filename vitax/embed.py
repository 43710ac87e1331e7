"""Features of images or texts, by a trained run or by weights of another project, in one file.

    python -m vitax.embed --workdir=RUN DIR --out=features.npz       (.parquet, .csv)
    python -m vitax.embed --weights=hf-hub:OWNER/NAME DIR --out=features.npz
    python -m vitax.embed --workdir=RUN texts.txt --out=texts.npz    one text per line: BERT, CLIP

features.npz holds "features" [n, D] float32, "files" [n], and "about", JSON that says what made them. Features are what
the head reads or, with --layer=K --pool=token|mean, the tokens after block K. A broken file is named on stderr and left
out, and the exit code is then 2.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vitax import pretrained
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.library import load
from vitax.monitoring import log
from vitax.prediction import TrainedRun
from vitax.prediction.features import features
from vitax.prediction.tables import write_table
from vitax.prediction.trained import batch_size_for, checkpoint_name
from vitax.pretrained.tokenizer import TEXTS

ENDINGS = (".npz", ".parquet", ".csv")
FLAGS = (
    Flag("workdir", "", "folder of the run"),
    Flag("weights", "", "in place of a run: a file of weights, a folder of a hub, or hf-hub:OWNER/NAME"),
    Flag("checkpoint", "best", "of a run: best, last, average, or a step"),
    Flag("out", "features.npz", "file to write: .npz, .parquet or .csv"),
    Flag("length", 128, "with --weights of texts: the longest text, in tokens"),
    Flag("layer", 0, "number of the block after which features are taken, from 1; 0: what the head reads"),
    Flag("pool", "", "with --layer: token or mean"),
    Flag("normalize", False, "features of length 1"),
    Flag("batch_size", 0, "examples at a time; 0: 64"),
)


def run(arguments: Arguments) -> int:
    """Writes the features, and prints how many there are.

    Raises:
        UserError: a flag is missing or wrong, the file exists or cannot be written, or nothing can be read.
    """
    flags, out = arguments.flags, Path(arguments.flags["out"])
    if bool(flags["workdir"]) == bool(flags["weights"]):
        raise UserError("give --workdir=RUN, the folder of a trained run, or --weights=FILE")
    if out.suffix.lower() not in ENDINGS:
        raise UserError(f"--out={out} must end in {', '.join(ENDINGS)}")
    if flags["batch_size"] < 0:
        raise UserError(f"--batch_size={flags['batch_size']} must not be negative")
    if out.exists():
        raise UserError(f"{out} exists already: delete it, or name another file")
    if out.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError('a .parquet file needs pyarrow: pip install "vitax[parquet]"')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}") from error
    start_jax()
    log.start_logging()
    source = flags["workdir"] or flags["weights"]
    trained = opened(source, checkpoint=flags["checkpoint"], length=flags["length"])
    if flags["batch_size"]:
        trained = trained._replace(batch_size=batch_size_for(trained.mesh, flags["batch_size"]))
    place = Path(source).expanduser()
    about = {"source": str(place.resolve()) if place.exists() else source}  # otherwise it is a name on a hub
    about["checkpoint"] = checkpoint_name(trained, flags["checkpoint"])
    about |= {name: flags[name] for name in ("layer", "pool", "normalize", "length")}
    names, rows, broken = embedded(trained, arguments.positional, about)
    if not names:
        raise UserError("none of the inputs can be read")
    try:
        write_features(out, names, rows, about)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}") from error
    print(f"{out}: {len(names):,} x {rows.shape[1]}" + (f"; {broken:,} could not be read" if broken else ""))
    return 2 if broken else 0


def opened(source: str, *, checkpoint: str, length: int) -> TrainedRun:
    """A run, or weights of another project, ready to predict.

    Args:
        source: folder of a run, or what `vitax.load` takes.
        checkpoint: of a run.
        length: the longest text, in tokens, of weights of another project for texts.

    Raises:
        UserError: it cannot be opened.
    """
    if (Path(source).expanduser() / "checkpoints").is_dir():
        return load(source, checkpoint=checkpoint).run
    if pretrained.family_of(source) in TEXTS:
        return load(source, length=length).run
    return load(source).run


def embedded(trained: TrainedRun, inputs: list[str], about: dict[str, Any]) -> tuple[list[str], np.ndarray, int]:
    """Names, features [n, D], and the number of inputs that cannot be read.

    Args:
        trained: the run.
        inputs: names on the command line.
        about: "layer", "pool" and "normalize".
    """
    names, rows, broken = [], [], 0
    found = features(trained, inputs, layer=about["layer"], pool=about["pool"])
    for name, row in tqdm(found, unit="", disable=not sys.stderr.isatty()):
        if isinstance(row, Exception):
            print(f"{name}: {row}", file=sys.stderr)
            broken += 1
            continue
        names.append(name)
        rows.append(row)
    stacked = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    if about["normalize"] and rows:
        stacked = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)
    return names, stacked, broken


def write_features(out: Path, names: list[str], rows: np.ndarray, about: dict[str, Any]) -> None:
    """Writes the file, which appears whole.

    Raises:
        OSError: it cannot be written.
        UserError: a table cannot be written, or pyarrow is not installed.
    """
    pairs = list(zip(names, rows, strict=True))
    if out.suffix.lower() == ".parquet":
        write_table(out, [{"file": name, "features": row.tolist()} for name, row in pairs])
        return
    if out.suffix.lower() == ".csv":
        write_table(out, [{"file": name, **{f"f{k}": x for k, x in enumerate(row.tolist())}} for name, row in pairs])
        return
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, features=rows, files=np.array(names), about=np.array(json.dumps(about)))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
