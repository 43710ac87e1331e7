"""Exports a trained run: as a folder of another library, as StableHLO, or as ONNX.

    python -m vitax.export --workdir=RUN --format=hf           a folder that transformers opens with from_pretrained
    python -m vitax.export --workdir=RUN --format=timm         ... timm, with create_model("local-dir:FOLDER")
    python -m vitax.export --workdir=RUN --format=open_clip    ... open_clip, in the same way
    python -m vitax.export --workdir=RUN --format=stablehlo    a program for jax.export, with its parameters beside it
    python -m vitax.export --workdir=RUN --format=onnx         a program for ONNX Runtime; needs vitax[onnx]

A folder is read back before it gets its name. A program takes uint8 images at the size of the model, in batches of any
size, and is compared with the model on test examples of the run or on images that are named after the flags.
"""

from pathlib import Path

from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.exports.folders import FORMATS, LIBRARIES, export_folder
from vitax.exports.onnx import write_onnx
from vitax.exports.programs import about, examples, program_of, with_matrix_products
from vitax.exports.stablehlo import write_stablehlo
from vitax.monitoring import log
from vitax.prediction import load_run
from vitax.pretrained import new_folder

PROGRAMS = {"stablehlo": write_stablehlo, "onnx": write_onnx}
FLAGS = (
    Flag("workdir", "", "folder of the run"),
    Flag("checkpoint", "best", "best, last, average, or a step"),
    Flag("format", "", f"one of {', '.join([*FORMATS, *PROGRAMS])}"),
    Flag("out", "", "folder to write, which must not exist; empty: RUN/export/FORMAT"),
    Flag("raw", False, "a program without normalisation and softmax: float32 images in, logits out"),
)


def run(arguments: Arguments) -> None:
    """Exports the run, and prints where it is and how much it differs.

    Raises:
        UserError: a flag is missing or unknown, the folder exists, or the run cannot be exported in this format.
    """
    flags = arguments.flags
    if not flags["workdir"]:
        raise UserError("give --workdir=RUN, the folder of a trained run")
    if flags["format"] not in (known := (*FORMATS, *PROGRAMS)):
        raise UserError(f"--format={flags['format']!r} is unknown; choose one of {', '.join(known)}")
    start_jax()
    log.start_logging()
    trained = load_run(flags["workdir"], flags["checkpoint"])
    out = Path(flags["out"]).expanduser() if flags["out"] else trained.path / "export" / flags["format"]
    if out.exists():  # before the model is prepared
        raise UserError(f"{out} exists already: name another folder with --out")
    if flags["format"] in FORMATS:
        if flags["raw"]:
            raise UserError("--raw is for programs; a folder has the logits of its library")
        name = export_folder(trained, flags["format"], out)
        print(f"{out}\n{name}, for {LIBRARIES[flags['format']]}; read back: every field and every number is equal")
        return
    if flags["format"] == "onnx":
        trained = with_matrix_products(trained)
    program = program_of(trained, flags["raw"])
    inputs = examples(trained, program, arguments.positional)
    with new_folder(out) as folder:
        checked = PROGRAMS[flags["format"]](program, folder, about(trained, program), inputs)
    count = len(next(iter(inputs.values())))
    size = sum(file.stat().st_size for file in out.iterdir() if file.suffix != ".mlir") / 1e6
    print(
        f"{out}, {size:.1f} MB\ncompared with the model on {count} examples: the largest difference is "
        f"{checked.difference:.1e}\none example takes {checked.milliseconds:.2f} ms here, and {checked.of_model:.2f} ms in vitax"
    )


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
