"""Metrics for Weights & Biases and MLflow, beside metrics.jsonl and TensorBoard.

A run that continues goes on in the same place there: ids are kept in trackers.json. A failure of a tracker,
such as an unreachable network, is logged once and never stops the training.
"""

import contextlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
FILE = "trackers.json"


class Tracker(Protocol):
    """A place that metrics are sent to."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""

    def close(self, done: bool) -> None:
        """Sends what is left; ``done`` = the training ended as it should."""


class WandB:
    """Weights & Biases; WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_API_KEY mean what they mean everywhere."""

    def __init__(self, folder: Path, config: Mapping[str, Any], former: str):
        import wandb

        project = os.environ.get("WANDB_PROJECT", "vitax")
        options: dict[str, Any] = dict(id=former, resume="allow") if former else {}
        options["settings"] = wandb.Settings(console="off")  # what is printed is in log.txt
        self.run = wandb.init(project=project, name=folder.name, dir=str(folder), config=dict(config), **options)
        self.id = self.run.id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)


class MLflow:
    """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME as everywhere; without a URI, RUN/mlflow.db is written."""

    def __init__(self, folder: Path, config: Mapping[str, Any], former: str):
        import mlflow

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "vitax")
        if not former:
            found = self.client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self.client.create_experiment(name)
            former = self.client.create_run(experiment, run_name=folder.name).info.run_id
            for key, value in config.items():
                self.client.log_param(former, key, str(value)[:500])
        self.id = former

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self.client.log_metric(self.id, name, value, step=step)

    def close(self, done: bool) -> None:
        self.client.set_terminated(self.id, status="FINISHED" if done else "KILLED")


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], str], Any]] = {"wandb": WandB, "mlflow": MLflow}


class Careful:
    """A tracker whose failures are logged once and otherwise ignored."""

    def __init__(self, name: str, tracker: Tracker):
        self.name, self.tracker, self.failing = name, tracker, False

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            if not self.failing:
                LOGGER.warning("%s: %s: %s; training goes on without it", self.name, type(error).__name__, error)
            self.failing = True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        self._try(lambda: self.tracker.write(step, values))

    def close(self, done: bool) -> None:
        """Sends what is left."""
        self._try(lambda: self.tracker.close(done))


def check_trackers(names: str) -> tuple[str, ...]:
    """The names between commas.

    Raises:
        UserError: a name is unknown.
    """
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    if unknown := [name for name in chosen if name not in TRACKERS]:
        raise UserError(f"config.log.to={names!r}: {unknown[0]!r} is unknown; choose from {', '.join(TRACKERS)}")
    return chosen


@contextlib.contextmanager
def tracking(names: str, folder: Path, config: Mapping[str, Any]) -> Iterator[list[Careful]]:
    """The trackers of a run, closed at the end; those of a run that continues go on. Only the first process has any.

    Args:
        names: keys of TRACKERS, with commas between them.
        folder: folder of the run.
        config: flat config of the run.

    Raises:
        UserError: a name is unknown, or its package is not installed or refuses to start.
    """
    opened: list[Careful] = []
    done = False
    path = folder / FILE
    try:
        ids = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the trackers begin a new run") from error
    try:
        for name in check_trackers(names) if jax.process_index() == 0 else ():
            try:
                tracker = TRACKERS[name](folder, config, ids.get(name, ""))
            except ImportError as error:
                raise UserError(f'config.log.to={names!r} needs {error.name}: pip install "vitax[{name}]"') from error
            except Exception as error:
                raise UserError(
                    f"config.log.to={names!r}: {name} does not start: {type(error).__name__}: {error}"
                ) from error
            ids[name] = tracker.id
            opened.append(Careful(name, tracker))
        if opened:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(ids) + "\n", encoding="utf-8")
            temporary.replace(path)
        yield opened
        done = True
    finally:
        for each in opened:
            each.close(done)
