"""Trains, continues or evaluates a run.

python -m vitax.main --config=configs/vit_b16.py:demo
python -m vitax.main --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR
python -m vitax.main --workdir=RUN                    continue a run where it stopped
python -m vitax.main --workdir=RUN --mode=eval        evaluate its best checkpoint
"""

import signal
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags

from vitax import __version__, cli, workdir
from vitax.build import MAY_CHANGE, Run, build, restore_variables
from vitax.data.decode import write_png
from vitax.errors import UserError
from vitax.schema import settle
from vitax.training import log
from vitax.training.checkpoint import Checkpoints, choose
from vitax.training.loop import Inputs, evaluate_all, train
from vitax.training.step import compile_step


def define_flags(values: flags.FlagValues) -> None:
    def text(name: str, default: str, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    text("workdir", "", "folder of the run; one that is there continues; empty: runs/NAME-DATE")
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "train or eval", flag_values=values)
    text("checkpoint", "best", "what --mode=eval evaluates: best, last, or a step")
    flags.DEFINE_bool("overwrite", False, "delete the run in workdir first", flag_values=values)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=values)
    text("coordinator", "", "several hosts: HOST:PORT of process 0, or auto")
    flags.DEFINE_integer("num_processes", 0, "several hosts: how many", flag_values=values)
    flags.DEFINE_integer("process_id", -1, "several hosts: which one", flag_values=values)


def start(argv: list[str]) -> None:
    values, extra = cli.parse(argv, define_flags, __doc__)
    if extra:
        raise UserError(f"{' '.join(extra)!r} is not understood; options begin with --")
    cli.start_jax(values.coordinator, values.num_processes, values.process_id)
    config = settle(values.config.to_dict())
    if values.mode == "eval":
        evaluate_run(config, Path(values.workdir), values.checkpoint)
    else:
        train_run(config, values.workdir, cli.value_of(argv, "config"), values.overwrite)


def train_run(config: dict[str, Any], folder: str, spec: str, overwrite: bool) -> None:
    """Builds and checks everything first, then writes."""
    if not folder and jax.process_count() > 1:
        raise UserError("several hosts need one --workdir that all of them see")
    path = Path(folder) if folder else workdir.fresh(spec)
    if not overwrite:
        workdir.check_owner(path, config, MAY_CHANGE)
    log.start_logging(None)
    run = build(config)
    if overwrite and jax.process_index() == 0:
        workdir.clear(path)
    path.mkdir(parents=True, exist_ok=True)
    workdir.write_json(path / "config.json", config)
    log.start_logging(path / "log.txt")
    describe(run, spec, path)

    compiled = compile_step(run.init, run.step, run.abstract_batch, run.mesh)
    checkpoints = Checkpoints(
        path / "checkpoints", keep=run.saving.keep, best=run.evals.best, mode=run.evals.mode
    )
    class_names = run.splits.train.class_names
    meta = {"config": config, "versions": workdir.versions(), "class_names": list(class_names)}
    signals: list[int] = []
    inputs = Inputs(
        batches=run.train.train,
        corrupt=run.train.corrupt,
        evaluators=run.evaluators,
        schedule=run.schedule,
        batch_size=run.top.batch_size,
        unit="images",
        stop=lambda: bool(signals),
    )
    if jax.process_count() == 1:  # several hosts must stop at the same step
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: signals.append(number))
    state, results, seconds = train(
        compiled,
        inputs,
        run.plan,
        run.mesh,
        checkpoints,
        log.MetricsLog(path),
        meta,
        path / "profile",
    )
    if signals and int(state.step) < run.plan.total:
        raise cli.Interrupted(signals[0])
    finish(run, path, spec, checkpoints, int(state.step), results, seconds)


def describe(run: Run, spec: str, path: Path) -> None:
    """What is about to happen, for a person."""
    splits, data = run.splits, run.data
    parameters = sum(x.size for x in jax.tree.leaves(run.shapes.params))
    hardware = workdir.hardware()
    say(f"vitax {__version__}  {spec or path}")
    say(
        f"model    {type(run.model).__name__}, {parameters:,} parameters, {run.model.dtype.__name__}"
    )
    say(
        f"data     {splits.origin}: {len(splits.train):,} train, {len(splits.test):,} test, "
        f"{len(splits.train.class_names):,} classes, {data.image_size[0]}x{data.image_size[1]}x{data.channels}"
    )
    say(
        f"devices  {hardware['devices']} x {hardware['device']} as "
        + " x ".join(f"{axis}={n}" for axis, n in run.mesh.shape.items())
    )
    say(f"steps    {run.plan.total:,} of batch {run.top.batch_size:,} ({run.top.duration})")
    say(f"workdir  {path}")


def finish(
    run: Run,
    path: Path,
    spec: str,
    checkpoints: Checkpoints,
    step: int,
    results: dict[str, float],
    seconds: float,
) -> None:
    """summary.json, and what a person wants to know at the end."""
    best = checkpoints.best()
    best_value = checkpoints.meta(best)["metrics"][run.evals.best] if best is not None else None
    summary = {
        "step": step,
        "metrics": results,
        "best": {"step": best, "metric": run.evals.best, "value": best_value},
        "seconds": round(seconds, 1),
        "versions": workdir.versions(),
        "hardware": workdir.hardware(),
    }
    workdir.write_json(path / "summary.json", summary)
    checkpoints.close()
    told = ", ".join(
        f"{k} {v:.4f}" for k, v in results.items() if not k.endswith(("examples", "seconds"))
    )
    say(f"\ndone: {step:,} steps in {log.duration(seconds)}; {told}")
    if best is not None:
        say(f"best: {run.evals.best} {best_value:.4f} at step {best:,}")
    say(
        f"all of it lies in {path}: config.json metrics.jsonl summary.json checkpoints/ tensorboard/ log.txt"
    )
    say(f"continue  python -m vitax.main --workdir={path}")
    say(f"evaluate  python -m vitax.main --workdir={path} --mode=eval")
    say(f"predict   python -m vitax.predict --workdir={path} {example_file(run, path)}")


def example_file(run: Run, path: Path) -> str:
    """An image to try a prediction on: the first one of the test, written down if it is in no file."""
    name = run.splits.test.name(0)
    if not Path(name).is_file():
        name = str(path / "example.png")
        write_png(name, run.splits.test[0]["image"])
    return name


def evaluate_run(config: dict[str, Any], path: Path, which: str) -> None:
    log.start_logging(None)
    run = build(config)
    checkpoints = Checkpoints(
        path / "checkpoints",
        keep=run.saving.keep,
        best=run.evals.best,
        mode=run.evals.mode,
        read_only=True,
    )
    step = choose(checkpoints, which)
    known, here = checkpoints.meta(step)["class_names"], list(run.splits.test.class_names)
    if known != here:
        raise UserError(
            f"the run in {path} was trained on the classes {known[:5]}..., the data here has {here[:5]}...; "
            "evaluate it on data with the same classes"
        )
    variables, ema = restore_variables(checkpoints, step, run.shapes, run.mesh)
    results = evaluate_all(run.evaluators, variables, ema)
    say(f"step {step:,} of {path}")
    for name, value in results.items():
        say(f"{name}  {value:.4f}")
    if jax.process_index() == 0:
        workdir.append_json(path / "evaluations.jsonl", {"step": step, **results})


def say(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


def main() -> None:
    cli.exit_with(lambda: start(sys.argv), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
