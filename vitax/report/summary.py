"""The end of a run: summary.json, report.html, and the commands to type next."""

import shlex
from pathlib import Path

import jax

from vitax import environment, rundir
from vitax.build import Run
from vitax.config import finite
from vitax.errors import TrainingError
from vitax.monitoring import log
from vitax.monitoring.log import one_line, say
from vitax.monitoring.progress import duration
from vitax.prediction import load_run, of_test, predictor_of
from vitax.prediction.tables import write_table
from vitax.training.checkpoint import Checkpoints
from vitax.training.read_back import measured
from vitax.training.session import Outcome


def finish(run: Run, path: Path, checkpoints: Checkpoints, outcome: Outcome) -> None:
    """Writes summary.json, and prints the results and the next commands.

    Raises:
        TrainingError: summary.json cannot be written; all else is saved.
    """
    step, results = int(outcome.state.step), outcome.results
    best = checkpoints.best()
    name, best_value = measured(checkpoints.meta(best)["metrics"] if best is not None else {}, run.evals.best)
    summary = {
        "step": step,
        "metrics": results,
        "best": {"step": best, "metric": name, "value": best_value},
        "seconds": round(outcome.seconds, 1),
        "parameters": sum(x.size for x in jax.tree.leaves(run.shapes.params)),
        "examples": {
            "train": len(run.pipeline.splits.train),
            "test": len(run.pipeline.splits.test),
            "unit": run.pipeline.unit,
        },
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }
    try:
        rundir.write_json(path / "summary.json", finite(summary))
    except OSError as error:
        raise TrainingError(f"all is saved but summary.json: {error}; the same command writes it") from error
    checkpoints.close()
    say(f"\ndone: {step:,} steps in {duration(outcome.seconds)}; {one_line(results)}")
    if best is not None:
        shared = "" if run.final else " (chosen by the split that it is measured on; data.validation='10%' avoids this)"
        say(f"best: {name} {best_value:.4f} at step {best:,}{shared}")
    say(f"everything is in {path}: config.json metrics.jsonl summary.json checkpoints/ tensorboard/ log.txt")
    folder = shlex.quote(str(path))
    say(f"continue  python -m vitax.main --workdir={folder}    (all {step:,} steps are done)")
    say(f"evaluate  python -m vitax.main --workdir={folder} --mode=eval")
    if jax.process_index() == 0:
        try:
            example = predictor_of(run.task_name).example(run.pipeline, path)
        except (ValueError, OSError):  # the very first one of the test is broken
            example = "FILES..."
        say(f"predict   python -m vitax.predict --workdir={folder} {example}")


def report_on(run: Run, path: Path) -> None:
    """Writes report.html and, for classifiers, `of_test.FILE`; the run is done, and nothing that happens here makes it fail."""
    examples = run.logging.report
    if not examples or jax.process_index() > 0:
        return
    from vitax.report.run_report import report  # matplotlib: a second that a start need not wait for

    try:
        # Of several hosts one cannot compute alone: pictures are left to `python -m vitax.report`.
        alone = jax.process_count() == 1
        content = report(path, examples if alone else 0, run.pipeline.splits.test)
        rundir.write_text(path / "report.html", content)
        say(f"look at   {path / 'report.html'}")
        if alone and run.task_name in of_test.OBJECTIVES:
            splits, transform = run.pipeline.splits, run.pipeline.reader.transform
            rows = list(of_test.test_predictions(load_run(path), splits.test, transform))
            write_table(path / of_test.FILE, rows)
            say(f"          {path / of_test.FILE}: {len(rows):,} rows")
        if not alone:
            say(f"          with pictures: python -m vitax.report {shlex.quote(str(path))}")
    except Exception as error:
        log.LOGGER.warning("report.html could not be written: %s: %s", type(error).__name__, error)
