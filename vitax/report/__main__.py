"""Writes the report of a run, or compares several.

    python -m vitax.report RUN              RUN/report.html, as at the end of the run
    python -m vitax.report RUN RUN...       comparison.html: overlaid curves, differences of the configs

The report is one file that needs nothing else: config, curves, results, and pictures of what the model does with test data.
"""

from pathlib import Path

from vitax import rundir
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.report.comparison import comparison
from vitax.report.run_report import MISSING, report

FLAGS = (
    Flag("out", "", "file; empty: RUN/report.html, or comparison.html"),
    Flag("examples", 1000, "test examples to show, all in memory; 0: curves and numbers only"),
)


def run(arguments: Arguments) -> int:
    """Writes the page, and prints where it is; the exit code is 1 if a part of the page could not be made.

    Raises:
        UserError: no run was named, or the page cannot be written.
    """
    flags, folders = arguments.flags, [Path(name).expanduser() for name in arguments.positional]
    if not folders:
        raise UserError("name the folder of a run: python -m vitax.report RUN [RUN...]")
    if flags["examples"] < 0:
        raise UserError(f"--examples={flags['examples']} must not be negative")
    start_jax()
    log.start_logging()
    if len(folders) == 1:
        out, content = folders[0] / "report.html", report(folders[0], flags["examples"])
    else:
        out, content = Path("comparison.html"), comparison(folders)
    out = Path(flags["out"]).expanduser() if flags["out"] else out
    try:
        rundir.write_text(out, content)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}") from error
    print(out)
    return 1 if MISSING in content else 0


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
