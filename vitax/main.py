"""Trains, continues or evaluates a run.

python -m vitax.main --config=configs/vit_b16.py:demo
python -m vitax.main --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR
python -m vitax.main --workdir=RUN                    continue a run where it stopped
python -m vitax.main --workdir=RUN --mode=eval        evaluate its best checkpoint
"""

import signal

if __name__ == "__main__":
    # There is nothing to save yet, and a KeyboardInterrupt in the middle of an import gets lost.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from vitax import __version__
from vitax.adopt import adopted
from vitax.backend import start_jax
from vitax.build import Run, build
from vitax.cli import Arguments, Command, Flag
from vitax.config import differences, flatten, from_json, to_json
from vitax.config_file import load_config
from vitax.data.identity import identity
from vitax.environment import hardware, versions
from vitax.errors import Interrupted, TrainingError, UserError
from vitax.mesh import all_hosts
from vitax.monitoring import log
from vitax.monitoring.heartbeat import Heartbeat
from vitax.monitoring.log import say
from vitax.monitoring.signals import Stop
from vitax.monitoring.trackers import tracking
from vitax.report.summary import finish, report_on
from vitax.resolve import resolve
from vitax.rundir import RECIPE, TOKENIZER, WEIGHTS, RunFolder, locate, read_config, write_json, write_text
from vitax.runs.evaluate import evaluate_run
from vitax.runs.init_from import initial_variables
from vitax.schema import Config
from vitax.tasks import Variables
from vitax.training.checkpoint import Checkpoints
from vitax.training.loop import train
from vitax.training.session import Inputs, Outcome
from vitax.training.step import Compiled, compile_step

ASK_EVERY = 10  # steps after which several hosts ask each other whether one of them has to stop
FLAGS = (
    Flag("workdir", "", "folder of the run, which continues if it exists; empty: runs/NAME-DATE"),
    Flag("mode", "train", "train or eval", ("train", "eval")),
    Flag("checkpoint", "best", "checkpoint that --mode=eval evaluates: best, last, average, or a step"),
    Flag("overwrite", False, "delete the run in workdir first"),
    Flag("coordinator", "", "several hosts: HOST:PORT of process 0, or auto"),
    Flag("num_processes", 0, "several hosts: number of processes"),
    Flag("process_id", -1, "several hosts: number of this process"),
    Flag("host_timeout", 60.0, "several hosts: seconds of silence before all stop"),
)


def run(arguments: Arguments) -> None:
    """Trains or evaluates a run, as the command line requests.

    Raises:
        UserError: --mode=eval without --workdir.
    """
    flags = arguments.flags
    start_jax(flags["coordinator"], flags["num_processes"], flags["process_id"])
    log.start_logging()
    if flags["mode"] == "train":
        train_run(
            arguments.config,
            flags["workdir"],
            arguments.spec,
            overwrite=flags["overwrite"],
            host_timeout=flags["host_timeout"],
        )
        return
    if not flags["workdir"]:
        raise UserError("--mode=eval needs --workdir=RUN, the folder of a trained run")
    evaluate_run(arguments.config, Path(flags["workdir"]).expanduser(), flags["checkpoint"])


class Prepared(NamedTuple):
    """A run that can start: built and checked, with the weights it starts from.

    Attributes:
        config: resolved config.
        run: the built run.
        start_from: variables of a new run, in place of the initial ones; None = initial ones, or those of a checkpoint.
        weights_report: readable report of the weights that were loaded; "" = none.
    """

    config: Config
    run: Run
    start_from: Variables | None
    weights_report: str


def train_run(
    config: Config, workdir: str = "", spec: str = "", *, overwrite: bool = False, host_timeout: float = 60.0
) -> Path:
    """Trains a run, or continues it, to its end, and returns its folder.

    Everything is built, checked and compiled before anything in the folder is changed.

    Args:
        config: resolved config.
        workdir: folder of the run; "" = runs/NAME-DATE.
        spec: the value of ``--config``, for names and the recipe; "" = none.
        overwrite: whether to delete the run in that folder first.
        host_timeout: on several hosts, seconds of silence after which all stop.

    Raises:
        UserError: the config, the folder or the data cannot be used for training.
        TrainingError: something failed during training.
        Interrupted: a signal ended the run; its state is saved.
    """
    if host_timeout < 5:
        raise UserError(f"--host_timeout={host_timeout} must be at least 5 seconds")
    if jax.process_count() > 1 and (overwrite or not workdir):
        raise UserError("several hosts need one --workdir that all of them see, and no --overwrite")
    with Stop() as stop, RunFolder.claim(locate(workdir, spec), config, overwrite, not workdir) as folder:
        prepared = prepare(config, folder)
        description = describe(prepared.run, spec, folder.path)
        say(description + prepared.weights_report)
        compiled = compiled_step(prepared.run)
        if folder.continuing and (extended := extension(folder.path, config, prepared.run)):
            say(extended)
        folder.begin(config)
        with log.to_file(folder.path / "log.txt"):
            log.LOGGER.info("%s\n%s\n%s%s", " ".join(sys.argv), versions(), description, prepared.weights_report)
            write_origin(prepared, spec, folder)
            outcome = execute(prepared, compiled, folder, stop, host_timeout)
            if not outcome.done or stop.caught:
                number = stop.caught[0] if stop.caught else signal.SIGTERM  # else another host caught it
                raise Interrupted(number, f"python -m vitax.main --workdir={shlex.quote(str(folder.path))}")
    return folder.path


def prepare(config: Config, folder: RunFolder | None = None) -> Prepared:
    """Builds and checks a run, and loads the weights it starts from; nothing is written or compiled.

    Args:
        config: resolved config.
        folder: folder of the run; if the run continues, its tokenizer is kept and its checkpoints replace other
            weights.

    Raises:
        UserError: the config or the data cannot be used for training.
    """
    former = folder.path if folder is not None and folder.continuing else None
    run = build(config, former)
    if "teacher" in run.shapes.collections and not run.top.init_from:
        raise UserError(
            "this objective needs a teacher: set config.init_from to a trained model; the config file names one"
        )
    if not run.top.init_from or former:
        return Prepared(config, run, None, "")
    variables, report = initial_variables(run)
    return Prepared(config, run, variables, f"\nweights  {run.top.init_from}: {report}")


def extension(folder: Path, config: Config, run: Run) -> str:
    """What another duration means for the run in a folder; "" if it is the same.

    Raises:
        UserError: the run has done more steps already.
    """
    changes = differences(resolve(read_config(folder)), from_json(to_json(config)))
    line = next((line for line in changes if line.startswith("duration")), "")
    if line and (done := Checkpoints(folder / "checkpoints", read_only=True).latest() or 0) > run.plan.total:
        raise UserError(f"{line}: the run has done {done:,} steps already, and {run.plan.total:,} would be fewer")
    return f"{line}: from here on, the learning rate follows the schedule of the new length" if line else ""


def compiled_step(run: Run) -> Compiled:
    """The compiled programs of a run; prints the time that compilation took."""
    began = time.monotonic()
    compiled = compile_step(run.init, run.step, run.abstract_batches, run.mesh)
    say(f"compile  {time.monotonic() - began:.0f} s")
    return compiled


def write_origin(prepared: Prepared, spec: str, folder: RunFolder) -> None:
    """Writes the origin of a run: the config file it began with, its tokenizer, and how its weights were read."""
    if prepared.weights_report:
        write_text(folder.path / WEIGHTS, prepared.weights_report.strip() + "\n")
    if spec and not folder.continuing:
        recipe = adopted(load_config(spec), flatten(prepared.config))  # with what was set by hand for want of a record
        write_json(folder.path / RECIPE, {"spec": spec, "config": resolve(recipe)})
    if tokenizer := prepared.run.pipeline.reader.record.get("tokenizer"):
        write_text(folder.path / TOKENIZER, tokenizer)


def execute(prepared: Prepared, compiled: Compiled, folder: RunFolder, stop: Stop, host_timeout: float) -> Outcome:
    """Trains, evaluates and saves in a claimed folder; at the end, writes the summary and the report.

    Raises:
        TrainingError: something failed during training; saved checkpoints are kept.
    """
    run, path = prepared.run, folder.path
    stop.begin()
    checkpoints = Checkpoints(path / "checkpoints", keep=run.saving.keep, best=run.evals.best, mode=run.evals.mode)
    with watching_hosts(path, host_timeout), tracking(run.logging.to, path, flatten(prepared.config)) as trackers:
        outcome = train(
            compiled,
            inputs_of(prepared, stop),
            run.plan,
            run.mesh,
            checkpoints,
            metrics_log=log.MetricsLog(path if jax.process_index() == 0 else None, trackers),
            meta={"config": prepared.config, "versions": versions(), **run.pipeline.reader.record},
            profile_dir=path / "profile",
        )
    if outcome.done:
        finish(run, path, checkpoints, outcome)
        report_on(run, path)
    else:
        checkpoints.close()
    return outcome


@contextlib.contextmanager
def watching_hosts(path: Path, host_timeout: float) -> Iterator[None]:
    """A context in which an error names the host that no longer answers; a single host is not watched.

    Raises:
        TrainingError: a host no longer answers.
    """
    if jax.process_count() == 1:
        yield
        return
    hosts = Heartbeat(path / ".hosts", jax.process_index(), jax.process_count(), host_timeout)
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if gone := hosts.who_is_gone():
            raise TrainingError(f"{gone}; saved checkpoints are kept: start all hosts again") from error
        raise
    finally:
        hosts.close()


def inputs_of(prepared: Prepared, stop: Stop) -> Inputs:
    """The inputs of the training loop, besides the programs."""
    run, alone = prepared.run, jax.process_count() == 1
    every = 1 if alone else ASK_EVERY
    splits = run.pipeline.splits
    return Inputs(
        feed=run.train,
        evaluators=run.evaluators,
        final=run.final,
        schedule=run.schedule,
        unit=run.pipeline.unit,
        identity={
            name: identity(split)
            for name, split in (("train", splits.train), ("test", splits.test), ("validation", splits.validation))
            if split is not None
        },
        # Several hosts have to stop at the same step, so they ask each other every few steps.
        stop=lambda step: step % every == 0 and not all_hosts(not stop.caught),
        interrupting=stop.interrupting if alone else contextlib.nullcontext,
        start_from=prepared.start_from,
        skip=run.top.on_nan == "skip",
    )


def describe(run: Run, spec: str, path: Path) -> str:
    """A readable summary of the run that is about to start."""
    pipeline, machine = run.pipeline, hardware()
    splits = pipeline.splits
    names = ("train", "test", "validation")
    counts = ", ".join(f"{len(s):,} {name}" for name, s in zip(names, splits.sources(), strict=False))
    parameters = sum(x.size for x in jax.tree.leaves(run.shapes.params))
    buckets = f"; {run.train.buckets}" if run.train.buckets else ""
    mesh = " x ".join(f"{axis}={size}" for axis, size in run.mesh.shape.items())
    return f"""\
vitax {__version__}  {spec or path}
model    {type(run.model).__name__}, {parameters:,} parameters, {run.model.dtype.__name__}
data     {splits.origin}: {counts}, {pipeline.about}
devices  {machine["devices"]} x {machine["device"]} as {mesh}
steps    {run.plan.total:,} of batch {run.top.batch_size:,} ({run.top.duration}){buckets}
workdir  {path}"""


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
