"""Writes the report of a run, or compares several.

    python -m vitax.report RUN              RUN/report.html, as at the end of the run
    python -m vitax.report RUN RUN...       comparison.html: overlaid curves, differences of the configs

The report is one file that needs nothing else: config, curves, results, and pictures of what the model does with test data.
"""

import sys
from pathlib import Path

from absl import flags

from vitax import cli, rundir
from vitax.errors import UserError
from vitax.monitoring import log
from vitax.report.comparison import comparison
from vitax.report.run_report import report


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("out", "", "file; empty: RUN/report.html, or comparison.html", flag_values=values)
    flags.DEFINE_integer(
        "examples", 1000, "test examples to look at, all in memory; 0: curves and numbers only", flag_values=values
    )
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)


def start(argv: list[str]) -> int:
    """Does what the command line says; gives the exit code."""
    values, given = cli.parse(argv, define_flags, __doc__, with_config=False, positional=True)
    if not given:
        raise UserError("name the folder of a run: python -m vitax.report RUN [RUN...]")
    if values.examples < 0:
        raise UserError(f"--examples={values.examples} must not be negative")
    cli.start_jax()
    log.start_logging(None)
    runs = [Path(name) for name in given]
    if len(runs) == 1:
        out, content = values.out or runs[0] / "report.html", report(runs[0], values.examples)
    else:
        out, content = values.out or "comparison.html", comparison(runs)
    try:
        rundir.write_text(Path(out), content)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}") from error
    print(out)
    return 0


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
