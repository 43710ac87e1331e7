"""Trains, continues or evaluates a run.

python -m vitax.main --config=configs/vit_b16.py:demo
python -m vitax.main --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR
python -m vitax.main --workdir=RUN                    continue a run where it stopped
python -m vitax.main --workdir=RUN --mode=eval        evaluate its best checkpoint
"""

import signal

if __name__ == "__main__":
    # There is nothing to save yet, and a KeyboardInterrupt in the middle of an import gets lost in it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags

from vitax import __version__, cli, rundir
from vitax.build import MAY_CHANGE, Run, build
from vitax.config import differences, from_json, to_json
from vitax.data.source import identity
from vitax.errors import TrainingError, UserError
from vitax.monitoring import log
from vitax.monitoring.heartbeat import Heartbeat
from vitax.monitoring.log import say
from vitax.monitoring.signals import Stop
from vitax.report.summary import finish, report_on
from vitax.runs.init_from import initial_variables
from vitax.runs.restore import open_run, restore
from vitax.schema import resolve
from vitax.tasks import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.loop import Inputs, evaluate_all, train
from vitax.training.sharding import all_hosts
from vitax.training.step import compile_step

ASK_EVERY = 10  # steps after which several hosts ask each other whether one was told to end


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""

    def text(name: str, default: str, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    text("workdir", "", "folder of the run; one that is there continues; empty: runs/NAME-DATE")
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "train or eval", flag_values=values)
    text("checkpoint", "best", "what --mode=eval evaluates: best, last, average, or a step")
    flags.DEFINE_bool("overwrite", False, "delete the run in workdir first", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)
    text("coordinator", "", "several hosts: HOST:PORT of process 0, or auto")
    flags.DEFINE_integer("num_processes", 0, "several hosts: how many", flag_values=values)
    flags.DEFINE_integer("process_id", -1, "several hosts: which one", flag_values=values)
    flags.DEFINE_float("host_timeout", 60.0, "several hosts: seconds of silence before all stop", flag_values=values)


def start(argv: list[str]) -> None:
    """Does what the command line says."""
    values, _ = cli.parse(argv, define_flags, __doc__)
    cli.start_jax(values.coordinator, values.num_processes, values.process_id)
    log.start_logging(None)
    config = values.config.to_dict()
    if values.mode == "eval":
        if not values.workdir:
            raise UserError("--mode=eval needs --workdir=RUN, the folder of a trained run")
        evaluate_run(config, Path(values.workdir), values.checkpoint)
    else:
        spec = cli.value_of(argv, "config")
        train_run(config, values.workdir, spec, values.overwrite, values.host_timeout)


def train_run(config: dict[str, Any], folder: str, spec: str, overwrite: bool, host_timeout: float) -> None:
    """Builds, checks and compiles everything first, then writes.

    Raises:
        UserError: a config, a folder or data with which nothing can be trained.
        TrainingError: it went wrong on the way.
    """
    if host_timeout < 5:
        raise UserError(f"--host_timeout={host_timeout} must be at least 5 seconds")
    first, alone = jax.process_index() == 0, jax.process_count() == 1
    stop = Stop()
    if not alone and (overwrite or not folder):
        raise UserError("several hosts need one --workdir that all of them see, and no --overwrite")
    path = rundir.locate(folder, spec)
    lock = rundir.Lock(path)
    if first and overwrite:
        rundir.check_clear(path)
    elif first:
        rundir.check_owner(path, config, MAY_CHANGE)
    if first and (path / "config.json").is_file():
        lock.take()
    there = not overwrite and rundir.has_checkpoint(path)
    run = build(config, path if there else None)
    description = describe(run, spec, path)
    say(description)
    start_from = None
    if "teacher" in run.shapes.collections and not run.top.init_from:
        raise UserError("this objective needs a teacher: set config.init_from to a trained model, see the config")
    if run.top.init_from and not there:
        start_from, report = initial_variables(config, run)
        say(f"weights  {run.top.init_from}: {report}")
    recipe = {"spec": spec, "config": resolve(cli.load_config(spec))} if spec else {}
    began = time.monotonic()
    compiled = compile_step(run.init, run.step, run.abstract_batch, run.mesh)
    say(f"compile  {time.monotonic() - began:.0f} s")

    if first:
        occupy(path, lock, config, overwrite, there)
        if recipe and not there:
            rundir.write_json(path / rundir.RECIPE, recipe)
        if tokenizer := run.pipeline.reader.record.get("tokenizer"):
            rundir.write_text(path / rundir.TOKENIZER, tokenizer)
        log.LOGGER.info("%s\n%s\n%s", " ".join(sys.argv), rundir.versions(), description)
    checkpoints = open_checkpoints(run, path)
    stop.begin()
    hosts = None
    if not alone:
        hosts = Heartbeat(path / ".hosts", jax.process_index(), jax.process_count(), host_timeout)
    try:
        outcome = train(
            compiled,
            inputs_of(run, stop, start_from),
            run.plan,
            run.mesh,
            checkpoints,
            metrics_log=log.MetricsLog(path if first else None),
            meta=meta(config, run),
            profile_dir=path / "profile",
        )
    except jax.errors.JaxRuntimeError as error:
        if hosts and (gone := hosts.who_is_gone()):
            raise TrainingError(f"{gone}; what was saved is kept: start all hosts again") from error
        raise
    finally:
        if hosts:
            hosts.close()
    if outcome.done:
        finish(run, path, checkpoints, outcome)
        report_on(run, path, config["log"]["report"])
    if not outcome.done or stop.caught:
        number = stop.caught[0] if stop.caught else signal.SIGTERM  # another host's
        raise cli.Interrupted(number, f"python -m vitax.main --workdir={path}")


def inputs_of(run: Run, stop: Stop, start_from: Variables | None) -> Inputs:
    """What the loop is given besides the programs."""
    alone = jax.process_count() == 1
    every = 1 if alone else ASK_EVERY
    return Inputs(
        batches=run.train.train,
        corrupt=run.train.corrupt,
        evaluators=run.evaluators,
        schedule=run.schedule,
        batch_size=run.top.batch_size,
        unit=run.pipeline.unit,
        identity={"train": identity(run.pipeline.splits.train), "test": identity(run.pipeline.splits.test)},
        # Several hosts have to stop at one step: they ask each other now and then.
        stop=lambda step: step % every == 0 and not all_hosts(not stop.caught),
        interrupting=stop.interrupting if alone else contextlib.nullcontext,
        start_from=start_from,
        reading=run.train.reading,
        skip=run.top.on_nan == "skip",
    )


def occupy(path: Path, lock: rundir.Lock, config: dict[str, Any], overwrite: bool, there: bool) -> None:
    """Makes the folder that of this run.

    Args:
        there: whether it held checkpoints when this process began.

    Raises:
        UserError: it cannot be written, or another run has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.take()
        if overwrite:
            rundir.clear(path)
        elif rundir.has_checkpoint(path) != there:
            raise UserError(f"another run has saved in {path} meanwhile; start again to continue it")
        else:
            rundir.check_owner(path, config, MAY_CHANGE)
        rundir.write_json(path / "config.json", config)
    except OSError as error:
        raise UserError(f"workdir {path} cannot be written: {error}") from error
    log.start_logging(path / "log.txt")


def meta(config: dict[str, Any], run: Run) -> dict[str, Any]:
    """What every checkpoint of the run says of itself, besides what the loop adds."""
    return {"config": config, "versions": rundir.versions(), **run.pipeline.reader.record}


def open_checkpoints(run: Run, path: Path) -> Checkpoints:
    """The checkpoints in the folder of a run, to write."""
    return Checkpoints(path / "checkpoints", keep=run.saving.keep, best=run.evals.best, mode=run.evals.mode)


def describe(run: Run, spec: str, path: Path) -> str:
    """What is about to happen, for a person."""
    pipeline = run.pipeline
    splits = pipeline.splits
    parameters = sum(x.size for x in jax.tree.leaves(run.shapes.params))
    hardware = rundir.hardware()
    mesh = " x ".join(f"{axis}={size}" for axis, size in run.mesh.shape.items())
    return f"""\
vitax {__version__}  {spec or path}
model    {type(run.model).__name__}, {parameters:,} parameters, {run.model.dtype.__name__}
data     {splits.origin}: {len(splits.train):,} train, {len(splits.test):,} test, {pipeline.about}
devices  {hardware["devices"]} x {hardware["device"]} as {mesh}
steps    {run.plan.total:,} of batch {run.top.batch_size:,} ({run.top.duration})
workdir  {path}"""


def evaluate_run(config: dict[str, Any], path: Path, which: str) -> None:
    """Evaluates a checkpoint on the test split, prints the results and adds them to evaluations.jsonl.

    Raises:
        UserError: there is no such run, or its data and the given ones do not go together.
    """
    run = build(config, path)
    checkpoints = open_run(path, config["evals"])
    shapes = {"params": run.shapes.params, **run.shapes.collections}
    step, variables, ema = restore(checkpoints, which, shapes, bool(run.shapes.ema), run.mesh)
    splits = run.pipeline.splits
    meta = checkpoints.meta(step)
    if meta.get("tokenizer") != run.pipeline.reader.record.get("tokenizer"):
        raise UserError(
            f"config.data.tokenizer is not that of the run in {path}; leave it empty to evaluate with the run's own"
        )
    known, here = meta["class_names"], list(splits.test.class_names)
    if known != here:
        raise UserError(
            f"the run in {path} knows the classes {', '.join(known[:5])}..., the data here have "
            f"{', '.join(here[:5])}...; evaluate it on data with the same classes"
        )
    results = evaluate_all(run.evaluators, variables, ema)
    say(f"step {step:,} of {path} on {splits.origin}")
    for name, value in results.items():
        say(f"{name}  {value:.4f}")
    if jax.process_index() == 0:
        changed = differences(rundir.read_config(path), from_json(to_json(config)))
        found = {"checkpoint": which, "step": step, "data": splits.origin, "config_changes": changed, **results}
        try:
            rundir.append_json(path / "evaluations.jsonl", found)
        except OSError as error:  # the results were printed; a run may be read-only by now
            log.LOGGER.warning("not added to the run: %s", error)


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
