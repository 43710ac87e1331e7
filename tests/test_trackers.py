"""Metrics for Weights & Biases and MLflow."""

import json
import logging

import pytest
from commands import DEMO, TINY, refused

from vitax.errors import UserError
from vitax.monitoring import trackers
from vitax.monitoring.log import MetricsLog
from vitax.monitoring.trackers import check_trackers, tracking

pytestmark = pytest.mark.usefixtures("quick_compile")


class Place:
    """A tracker in memory."""

    def __init__(self, folder, config, former):
        self.config, self.former, self.id, self.lines, self.closed = config, former, former or "first", [], False
        self.broken = False

    def write(self, step, values):
        if self.broken:
            raise OSError("no network")
        self.lines.append((step, dict(values)))

    def close(self, done):
        self.closed = done


@pytest.fixture
def places(monkeypatch):
    opened = []

    def place(*arguments):
        opened.append(Place(*arguments))
        return opened[-1]

    monkeypatch.setitem(trackers.TRACKERS, "place", place)
    return opened


def test_a_run_that_continues_goes_on_in_the_same_place(places, tmp_path):
    for _ in range(2):
        with tracking("place", tmp_path, {"seed": 0}) as opened:
            log = MetricsLog(tmp_path, opened)
            log.start(0)
            log.write(1, {"train/loss": 0.5})
            log.close()
    assert [place.former for place in places] == ["", "first"]
    assert all(place.closed and place.lines == [(1, {"train/loss": 0.5})] for place in places)
    with tracking("", tmp_path, {}) as opened:
        assert opened == []
    with pytest.raises(ZeroDivisionError), tracking("place", tmp_path, {}):
        raise ZeroDivisionError
    assert places[-1].closed is False, "a run that failed is not marked as finished"


def test_what_a_tracker_cannot_take_is_said_once(places, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), tracking("place", tmp_path, {}) as opened:
        places[0].broken = True
        log = MetricsLog(tmp_path, opened)
        log.start(0)
        for step in (1, 2):
            log.write(step, {"train/loss": 0.5})
        log.close()
    assert [record.message for record in caplog.records] == ["place: OSError: no network; training goes on without it"]


def test_names(verb, tmp_path, monkeypatch):
    assert check_trackers("wandb, mlflow") == ("wandb", "mlflow")
    refused(verb("main", DEMO, "--config.log.to=tensorflow"), "'tensorflow' is unknown; choose from wandb, mlflow")
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r'pip install "vitax\[wandb\]"'), tracking("wandb", tmp_path, {}):
        pass


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline(verb, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="vitax[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    line = (DEMO, *TINY, "--workdir=run", "--config.log.to=wandb")
    assert verb("main", *line, "--config.duration=8steps").returncode == 0
    assert verb("main", *line, "--config.duration=12steps").returncode == 0
    (first, second) = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    kept = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    assert all(folder.name.endswith(kept) for folder in (first, second)), "one run of Weights & Biases"
    assert all(b"train/loss" in next(folder.glob("*.wandb")).read_bytes() for folder in (first, second))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_a_file(verb, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="vitax[mlflow] is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    line = (DEMO, *TINY, "--workdir=run", "--config.log.to=mlflow")
    assert verb("main", *line, "--config.duration=8steps").returncode == 0
    done = verb("main", *line, "--config.duration=12steps")
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(tmp_path / 'run' / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("vitax")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["batch_size"] == "32"
    steps = [point.step for point in client.get_metric_history(found.info.run_id, "train/loss")]
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert set(steps) == {line["step"] for line in lines if "train/loss" in line}
    assert found.info.status == "FINISHED"
