"""The training loop: next batch, step, log, evaluate, save. It works for any Task and names no particular one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from vitax.monitoring.log import MetricsLog
from vitax.training.checkpoint import Checkpoints
from vitax.training.session import Inputs, Outcome, Plan, Session
from vitax.training.step import Compiled


def train(
    compiled: Compiled,
    inputs: Inputs,
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    metrics_log: MetricsLog,
    meta: Mapping[str, Any],
    profile_dir: Path | None = None,
) -> Outcome:
    """Trains to ``plan.total``, from the newest checkpoint if there is one.

    Args:
        compiled: see `vitax.training.step.compile_step`.
        inputs: data and functions that the loop uses.
        plan: intervals of logging, evaluation and saving.
        mesh: mesh to train on.
        checkpoints: the checkpoints of the run.
        metrics_log: log that receives the metrics.
        meta: description to save in each checkpoint; the loop adds its position.
        profile_dir: folder for the profiler trace of the chosen steps.

    Raises:
        TrainingError: a loss, gradient, update or parameter is not finite (nothing of that step is saved), or the
            last checkpoint or the log could not be written.
        UserError: the newest checkpoint does not fit the model or the data, or all of them are damaged.
    """
    with Session(compiled, inputs, plan, mesh, checkpoints, metrics_log, meta, profile_dir) as session:
        for step in session.steps():
            batch = session.next_batch()
            session.step(step, batch)
            if plan.log_every and plan.due(step, plan.log_every):
                session.log(step)
            with session.pause():
                session.ask_to_stop(step)
                if plan.due(step, plan.eval_every):
                    session.evaluate(step)
                # An evaluation that is the best so far is saved, whatever the interval of checkpoints.
                if session.stopping or session.improved or plan.due(step, plan.save_every):
                    session.save(step)
    return session.outcome()
