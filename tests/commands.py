"""Commands as a person types them, in this process or in one of their own, and runs that tests share."""

import contextlib
import functools
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from vitax import build, cli
from vitax.mesh import make_mesh
from vitax.prediction import trained

ROOT = Path(__file__).parent.parent
DEMO = f"--config={ROOT}/configs/vit_b16.py:demo"
TINY = (
    "--config.duration=40steps",
    "--config.optim.warmup=5steps",
    "--config.log.every=4steps",
    "--config.evals.every=20steps",
    "--config.checkpoint.every=5steps",
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.model.mlp_width=16",
    "--config.model.num_heads=2",
    "--config.optim.ema_decay=0.9",
    "--config.log.report=0",
)


def short(name, *more):
    """A few steps of the demo of a config."""
    return (
        f"--config={ROOT}/configs/{name}.py:demo",
        "--config.duration=4 steps",
        "--config.optim.warmup=1 steps",
        "--config.evals.every=",
        "--config.checkpoint.every=2 steps",
        "--config.log.report=0",
        *more,
    )


# {name: command line} of the runs of the fixture `trained`.
RUNS = {"vit": (DEMO, *TINY), "mae": short("mae_b16_pretrain"), "bert": short("bert_base")}


def use_one_device(monkeypatch):
    @functools.wraps(make_mesh)
    def one(described=None, **axes):
        return make_mesh(described or jax.devices()[:1], **axes)

    monkeypatch.setattr(build, "make_mesh", one)
    monkeypatch.setattr(trained, "make_mesh", one)


def run(verb, *arguments):
    """Runs a command in this process: its exit code, and what it prints."""
    package = importlib.import_module(f"vitax.{verb}")
    module = importlib.import_module(f"vitax.{verb}.__main__") if hasattr(package, "__path__") else package
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        start = functools.partial(module.COMMAND.start, [verb, *arguments])
        try:
            code = cli.exit_code(start, debug="--debug" in arguments)
        except SystemExit as leaving:  # --help
            code = leaving.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class Processes:
    """Starts commands in processes with one CPU device, in one folder."""

    def __init__(self, folder):
        self.folder = folder
        # A few steps each: compiling takes the time.
        self.environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        self.environment.pop("XLA_FLAGS", None)

    def start(self, verb, *arguments, **environment):
        line = [sys.executable, "-m", f"vitax.{verb}", *arguments]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder)
        return subprocess.Popen(line, env=self.environment | environment, **pipes)

    def __call__(self, verb, *arguments, **environment):
        process = self.start(verb, *arguments, **environment)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def refused(done, *words):
    """Exit code 2, one sentence, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[0]
    assert message.startswith("error: ")
    for word in words:
        assert word in done.stderr


def newest(workdir):
    """Step and arrays of the newest checkpoint."""
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    manager = ocp.CheckpointManager(workdir / "checkpoints", item_names=("state", "meta"), item_handlers=handlers)
    step = manager.latest_step()
    shapes = manager.item_metadata(step).state.tree
    arguments = ocp.args.PyTreeRestore(restore_args=ocp.checkpoint_utils.construct_restore_args(shapes))
    state = manager.restore(step, args=ocp.args.Composite(state=arguments)).state
    manager.close()
    return step, state


def lines(workdir):
    """metrics.jsonl without what depends on the clock."""
    clocks = ("per_second", "data_wait", "seconds")
    text = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if not k.endswith(clocks)} for x in text]
