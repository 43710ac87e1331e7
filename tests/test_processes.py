"""Commands in processes of their own: exit codes, kills, signals, several hosts."""

import json
import signal
import socket
import time

import jax
import numpy as np
import pytest
from commands import DEMO, TINY, lines, newest, refused


def newest_line(workdir):
    return lines(workdir)[-1]["step"]


def test_kill_and_resume_equals_the_run_that_was_not_killed(command, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = command("main", DEMO, *TINY, f"--workdir={whole}")
    assert done.returncode == 0, done.stderr
    kills = 0
    for wanted in (2, 6):  # kill once some lines are there: right in the middle of things
        process = command.start("main", DEMO, *TINY, f"--workdir={killed}")
        log = killed / "metrics.jsonl"
        deadline = time.time() + 120
        while process.poll() is None and time.time() < deadline:
            if log.exists() and len(log.read_text().splitlines()) >= wanted:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.communicate()
    assert kills == 2
    done = command("main", DEMO, *TINY, f"--workdir={killed}")
    assert done.returncode == 0, done.stderr
    assert lines(killed) == lines(whole)
    (step, state), (other_step, other) = newest(whole), newest(killed)
    assert step == other_step == 40

    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_signal_saves_and_the_same_command_continues(command, tmp_path):
    workdir = tmp_path / "run"
    long = [x for x in TINY if "duration" not in x] + ["--config.duration=100000steps"]
    process = command.start("main", DEMO, *long, f"--workdir={workdir}")
    while not (workdir / "metrics.jsonl").exists() or len(lines(workdir)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"stopped by SIGTERM, everything is saved; to continue: python -m vitax.main --workdir={workdir}" in err
    assert "Traceback" not in err
    step, _ = newest(workdir)
    assert step >= 12
    again = command.start("main", f"--workdir={workdir}")
    while newest_line(workdir) < step + 8:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 130
    steps = [one["step"] for one in lines(workdir) if "train/loss" in one]
    assert steps == list(range(4, steps[-1] + 1, 4))  # nothing twice, nothing left out


def test_a_training_step_is_timed(command):
    done = command("bench", DEMO, *TINY, "--mode=train", "--steps=3", "--batch=16")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["images_per_second"] == pytest.approx(16 / measured["step_seconds"])
    assert 0 < measured["share_of_peak"] < 1
    assert measured["compile_seconds_warm"] < measured["compile_seconds_cold"]
    assert 0 <= measured["data_wait"] <= 1
    assert measured["memory_bytes"] > 0


def test_a_run_is_planned(command):
    planned = command("plan", DEMO, *TINY, "--devices=4", "--step_seconds=0.5")
    assert planned.returncode == 0, planned.stderr
    assert "4 x cpu as data=4 x fsdp=1" in planned.stdout
    assert "0:20 at 0.5 s a step" in planned.stdout


def test_wrong_input_ends_the_process_with_2_and_a_sentence(command, tmp_path):
    refused(command("main", DEMO, "--config.model.dpeth=3"), "dpeth", "did you mean 'depth'")
    assert not list(tmp_path.iterdir())


def free_ports(count):
    found = [socket.socket() for _ in range(count)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


def test_two_hosts_equal_one(command, tmp_path):
    (port,) = free_ports(1)
    short = [*TINY, "--config.duration=12steps", "--config.evals.every=6steps", "--config.evals.knn=5"]
    one = command("main", DEMO, *short, f"--workdir={tmp_path / 'one'}")
    assert one.returncode == 0, one.stderr
    hosts = [
        command.start(
            "main",
            DEMO,
            *short,
            f"--workdir={tmp_path / 'two'}",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={i}",
        )
        for i in range(2)
    ]
    ends = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], ends
    assert "devices  2 x" in ends[0][0]
    assert "workdir" not in ends[1][0]  # only the first host talks
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert a.keys() == b.keys()
        for name in a:  # neighbours may change places for a rounding error: four of 359 images
            loose = dict(abs=0.012) if "knn" in name else dict(rel=1e-4)
            assert a[name] == pytest.approx(b[name], **loose), name
    assert "test/knn_accuracy" in a
    # What two hosts saved, one continues.
    evaluated = command("main", f"--workdir={tmp_path / 'two'}", "--mode=eval", "--checkpoint=last")
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_gone_is_named_and_the_others_leave(command, tmp_path, fault):
    workdir = tmp_path / "run"
    own = ("duration", "checkpoint", "evals")
    given = [x for x in TINY if not any(name in x for name in own)]
    given += ["--config.duration=100steps", "--config.checkpoint.every=20steps"]

    def start(port):
        return [
            command.start(
                "main",
                DEMO,
                *given,
                f"--workdir={workdir}",
                "--host_timeout=6",
                f"--coordinator=127.0.0.1:{port}",
                "--num_processes=2",
                f"--process_id={i}",
            )
            for i in range(2)
        ]

    first, second = free_ports(2)
    hosts = start(first)
    log = workdir / "metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 6:
        assert all(host.poll() is None for host in hosts), [h.communicate() for h in hosts]
        time.sleep(0.02)
    hosts[1].send_signal(fault)
    began = time.time()
    _, err = hosts[0].communicate(timeout=60)
    seconds = time.time() - began
    hosts[1].kill()
    hosts[1].communicate()
    assert hosts[0].returncode == 1, err
    assert "(process 1) has not answered for" in err
    assert "start all hosts again" in err
    assert seconds < 30
    again = start(second)
    ends = [host.communicate(timeout=200) for host in again]
    assert [host.returncode for host in again] == [0, 0], ends
    steps = [one["step"] for one in lines(workdir) if "train/loss" in one]
    assert steps == list(range(4, 101, 4))


def test_folds_are_run_one_after_the_other(command, tmp_path):
    line = (DEMO, *TINY, "--config.duration=4steps", "--config.optim.warmup=1steps", "--workdir=cv")
    done = command("cross_validate", *line, "--config.data.num_folds=2")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "cv" / "folds.json").read_text())["test/accuracy"]
    assert len(table["folds"]) == 2
    assert table["mean"] == pytest.approx(sum(table["folds"]) / 2)
    assert "2 folds in cv" in done.stdout
    refused(command("cross_validate", *line), "give --config.data.num_folds=N")
