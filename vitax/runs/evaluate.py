"""Evaluation of a checkpoint of a run, on its own data or on other data."""

from pathlib import Path

import jax

from vitax import reading, rundir
from vitax.build import build, open_pipeline, read_pipeline
from vitax.config import differences, from_json, to_json
from vitax.errors import UserError
from vitax.monitoring.log import LOGGER, say
from vitax.pipelines.pipeline import Pipeline
from vitax.runs.saved import SavedRun, open_saved
from vitax.schema import Config
from vitax.training.evaluate import evaluate_all


def evaluate_run(config: Config, path: Path, which: str = "best") -> dict[str, float]:
    """Evaluates a checkpoint on the test split, prints the results and adds them to evaluations.jsonl.

    Args:
        config: resolved config of the run, possibly with other data.
        path: folder of the run.
        which: checkpoint: "best", "last", "average", or a step.

    Raises:
        UserError: the run or the checkpoint does not exist, or the data do not fit the run.
    """
    saved = open_saved(path)
    pipeline = reading.evaluated_pipeline(config, rundir.read_config(path), saved.meta) or open_pipeline(config, path)
    _check_data(saved, pipeline)
    if "target_mean" in saved.meta:  # the model answers on the scale of its own training data
        pipeline = pipeline._replace(reader=read_pipeline(config, saved.meta))
    run = build(config, path, pipeline)
    variables = saved.variables(which, run.mesh, {"params": run.shapes.params, **run.shapes.collections})
    results = evaluate_all({**run.evaluators, **run.final}, variables.plain, variables.averaged)
    say(f"step {variables.step:,} of {path} on {run.pipeline.splits.origin}")
    for name, value in results.items():
        say(f"{name}  {value:.4f}")
    if jax.process_index() == 0:
        line = {
            "checkpoint": which,
            "step": variables.step,
            "data": run.pipeline.splits.origin,
            "config_changes": differences(rundir.read_config(path), from_json(to_json(config))),
            **results,
        }
        try:
            rundir.append_json(path / "evaluations.jsonl", line)
        except OSError as error:  # the results are printed; the folder may be read-only
            LOGGER.warning("the results were not added to the run: %s", error)
    return results


def _check_data(saved: SavedRun, pipeline: Pipeline) -> None:
    """Rejects data whose tokens or classes differ from those of the run."""
    if saved.meta.get("tokenizer") != pipeline.reader.record.get("tokenizer"):
        raise UserError(
            f"config.data.tokenizer is not the tokenizer of the run in {saved.path}; leave it empty to use that one"
        )
    run_classes, data_classes = saved.meta["class_names"], list(pipeline.splits.test.class_names)
    if run_classes != data_classes:
        raise UserError(
            f"the run in {saved.path} has the classes {', '.join(run_classes[:5])}..., but the data have "
            f"{', '.join(data_classes[:5])}...; evaluate it on data with the same classes"
        )
