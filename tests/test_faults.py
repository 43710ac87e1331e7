"""What a run survives, and what it says of what it does not: damaged files, a full disk, signals, NaN, slow data."""

import contextlib
import functools
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from points import PLAN, batches, evaluation, line, run, timeless

from vitax import rundir
from vitax.data.folder import folder
from vitax.data.loader import Loader
from vitax.errors import TrainingError, UserError
from vitax.lock import Lock
from vitax.monitoring.signals import Stop, Stopped
from vitax.monitoring.watchdog import Watchdog
from vitax.specs import RGB
from vitax.training import checkpoint, fingerprint, session

# Orbax leaves coroutines behind where a read or a write fails.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_compile"),
]


@pytest.fixture(autouse=True)
def left_behind():
    """Collects them here, not in the test of somebody else."""
    yield
    gc.collect()


def saved(folder):
    return checkpoint.Checkpoints(folder / "checkpoints", read_only=True)


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a.state), jax.tree.leaves(b.state), strict=True):
        np.testing.assert_array_equal(x, y)
    assert timeless(a.lines) == timeless(b.lines)
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    return run(tmp_path_factory.mktemp("whole") / "run", PLAN)


@pytest.fixture
def half(tmp_path):
    """A run that stopped at step 18, with checkpoints 15 and 18."""
    run(tmp_path, PLAN, stop=lambda step: step == 18)
    assert saved(tmp_path).steps() == [10, 15, 18]  # 10 is the best
    return tmp_path


def cut(folder):
    for path in files(folder / "state"):
        if path.stat().st_size > 100 and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(folder):
    for path in files(folder / "state"):
        if path.parent.name == "d" and path.stat().st_size:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)


def lose_data(folder):
    for path in files(folder / "state"):
        if path.parent.name == "d":
            path.unlink()


def lose_metadata(folder):
    (folder / "state" / "_METADATA").unlink()


def lose_meta(folder):
    shutil.rmtree(folder / "meta")


def forge_meta(folder):
    path = folder / "meta" / "metadata"
    path.write_text(path.read_text().replace('"pending": false', '"pending": true'))


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [cut, flip, lose_data, lose_metadata, lose_meta, forge_meta, empty])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(half, whole, damage, caplog):
    before = {path: path.read_bytes() for path in files(half / "checkpoints" / "18")}
    damage(half / "checkpoints" / "18")
    assert before != {path: path.read_bytes() for path in files(half / "checkpoints" / "18")}
    assert equal(run(half, PLAN), whole)
    assert "checkpoint 18 in" in caplog.text
    assert "checkpoint 15 is used" in caplog.text
    assert (half / "checkpoints" / "18.damaged").is_dir()


def test_where_all_checkpoints_are_damaged_nothing_starts_from_the_beginning(half):
    for step in (10, 15, 18):
        flip(half / "checkpoints" / str(step))
    with pytest.raises(UserError, match="checkpoint 18 in .* is damaged: .*no other checkpoint is intact"):
        run(half, PLAN)
    assert saved(half).steps() == [10, 15, 18]  # nothing is renamed


def test_a_checkpoint_is_never_read_with_one_wrong_bit(half):
    wanted = jax.eval_shape(lambda: {"params": {"slope": jnp.zeros(1), "offset": jnp.zeros(1)}})
    mesh = jax.sharding.Mesh(np.array(jax.devices()), "x", axis_types=(AxisType.Auto,))
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, P())), wanted)
    good = saved(half).restore(18, wanted)
    read = tried = 0
    for path in files(half / "checkpoints" / "18"):
        data = path.read_bytes()
        for position in np.random.default_rng(0).choice(len(data), min(len(data), 6), False):
            wrong = bytearray(data)
            wrong[position] ^= 1 << int(position) % 8
            path.write_bytes(wrong)
            tried += 1
            try:
                found = saved(half).restore(18, wanted)
            except UserError:
                continue
            finally:
                path.write_bytes(data)
            read += 1  # the bit was not one of these arrays'
            jax.tree.map(np.testing.assert_array_equal, found, good)
    assert tried > 40
    assert 0 < read < tried


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool", "uint8"])
def test_a_fingerprint_is_that_of_the_content_on_any_layout(dtype):
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (16, 24))
    x = x.astype(jnp.dtype(dtype))
    name = fingerprint.fingerprints({"x": jnp.asarray(x)})
    assert name["x"].startswith(f"{dtype}[16,24] ")
    for spec in (P("a"), P(None, "a"), P("b", "a"), P()):
        shape = (4, 2) if spec == P("b", "a") else (8, 1)
        grid = np.array(jax.devices()).reshape(shape[::-1])
        mesh = jax.sharding.Mesh(grid, ("b", "a"), axis_types=(AxisType.Auto,) * 2)
        there = jax.device_put(x, NamedSharding(mesh, spec))
        assert fingerprint.fingerprints({"x": there}) == name
    swapped = x.copy()
    swapped[0], swapped[1] = x[1], x[0]
    assert fingerprint.fingerprints({"x": jnp.asarray(swapped)}) != name


def test_two_flipped_signs_do_not_cancel():
    x = np.ones(1000, np.float32)
    y = x.copy()
    y[[3, 77]] *= -1
    assert fingerprint.fingerprints([jnp.asarray(x)]) != fingerprint.fingerprints([jnp.asarray(y)])


# Signals


def test_a_signal_in_an_evaluation_saves_and_the_evaluation_is_made_up_for(tmp_path, whole):
    evaluations = []

    def points():
        evaluations.append(1)
        yield from evaluation()

    @contextlib.contextmanager
    def interrupting():
        yield
        if len(evaluations) == 4:  # the second evaluation: of both kinds of parameters
            raise Stopped

    run(tmp_path, PLAN, points=points, interrupting=interrupting)
    stopped = saved(tmp_path)
    assert stopped.steps()[-1] == 20
    assert stopped.meta(20)["pending"]
    assert stopped.meta(20)["metrics"] == {}
    again = run(tmp_path, PLAN)
    assert equal(again, whole)
    assert saved(tmp_path).meta(20)["metrics"].keys() == {k for k in whole.results if k.startswith("test")}


def test_an_evaluation_that_is_made_again_is_logged_once(tmp_path, whole):
    test_a_signal_in_an_evaluation_saves_and_the_evaluation_is_made_up_for(tmp_path / "a", whole)
    # Killed after the line was written, before the checkpoint was replaced.
    run(tmp_path / "b", PLAN, stop=lambda step: step == 20)
    assert saved(tmp_path / "b").meta(20)["pending"]
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 20, "test/loss": 0.5}) + "\n")
    assert equal(run(tmp_path / "b", PLAN), whole)


def test_the_best_checkpoint_outlives_a_restart(tmp_path):
    state = run(tmp_path / "run", PLAN._replace(total=3)).state

    def save(values):
        folder = checkpoint.Checkpoints(tmp_path / "saved", keep=1, best="m")
        for step, value in values.items():
            folder.save(step, step_state(state), {"metrics": {"m": value}})
        folder.wait()
        assert folder.best() == 2
        return folder.steps()

    assert save({1: 0.1, 2: 0.9, 3: 0.2}) == [2, 3]
    assert save({4: 0.3, 5: 0.4}) == [2, 5]


def step_state(state):
    return type(state)(*jax.tree.map(jnp.asarray, tuple(state)))


def test_what_is_not_finite_is_not_saved_where_an_evaluation_is_due(tmp_path):
    with pytest.raises(TrainingError, match="not finite at step 10"):
        run(tmp_path, PLAN, task=line(10, "gradient"))
    assert saved(tmp_path).steps() == [5]
    assert run(tmp_path, PLAN).state.step == 23


@pytest.mark.parametrize("last", ["old", "new"])
def test_a_kill_while_a_checkpoint_is_replaced_leaves_one_of_the_two(half, last):
    folder = half / "checkpoints"
    (folder / "18").rename(folder / "18.replaced")
    if last == "new":
        shutil.copytree(folder / "18.replaced", folder / "18")
    else:
        (folder / "18" / "state").mkdir(parents=True)  # begun
    again = checkpoint.Checkpoints(folder)
    assert again.steps() == [10, 15, 18]
    assert again.meta(18)
    assert not (folder / "18.replaced").exists()


SCRIPT = """
import sys, time
from vitax.monitoring.signals import Stop, Stopped
stop = Stop()
if sys.argv[1] != "before":
    stop.begin()
print("ready", flush=True)
if sys.argv[1] == "evaluating":
    try:
        with stop.interrupting():
            time.sleep(60)
    except Stopped:
        sys.exit(128 + stop.caught[0])
deadline = time.time() + 60
while time.time() < deadline and not (stop.caught and sys.argv[1] == "training"):
    sum(range(100_000))
sys.exit(128 + stop.caught[0] if stop.caught else 1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["before", "training", "evaluating", "twice"])
def test_signals(phase, number):
    line = [sys.executable, "-c", SCRIPT, phase]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if phase == "twice":
        time.sleep(0.3)
        assert process.poll() is None  # busy with what cannot be interrupted
        process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert {"before": "before the first step", "twice": "exiting at once"}.get(phase, "saving") in err


# Numbers that are not finite


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path, where, caplog):
    out = run(tmp_path, PLAN, task=line(15, where), skip=True)
    assert "is not finite at step 15; skipped, 1 so far" in caplog.text
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(out.state))
    assert out.state.step == 23
    counts = [one["train/skipped_steps"] for one in out.lines if "train/loss" in one]
    assert counts == [0, 0, 0, 1, 1, 1]
    assert all(v is not None for one in out.lines for v in one.values())


def test_a_skipped_step_changes_nothing_but_its_number(tmp_path):
    plan = session.Plan(total=15, log_every=1, eval_every=0, save_every=14)
    after = run(tmp_path / "a", plan, task=line(15), skip=True)
    before = run(tmp_path / "b", plan._replace(total=14), task=line(15), skip=True)
    for name in ("params", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after.state, name), getattr(before.state, name))


def test_skipping_computes_what_stopping_does_while_all_is_well(tmp_path, whole):
    out = run(tmp_path, PLAN, skip=True)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5)  # it is another program
    jax.tree.map(close, out.state, whole.state)


def test_parameters_that_are_not_finite_are_not_skipped(tmp_path):
    params = {"slope": jnp.full(1, jnp.inf), "offset": jnp.zeros(1)}
    lost = line()._replace(init=lambda key, batch: {"params": params})
    with pytest.raises(TrainingError, match="the parameter of slope is not finite at step 1"):
        run(tmp_path, PLAN, task=lost, skip=True)


def test_a_run_in_which_every_step_is_skipped_stops(tmp_path):
    plan = PLAN._replace(total=200, save_every=0, eval_every=0)
    always = optax.scale_by_schedule(lambda n: jnp.inf)
    with pytest.raises(TrainingError, match="as in 100 steps before"):
        run(tmp_path, plan, optimizer=always, skip=True)


# Disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def full_between(folder, first, last):
    """``stop(step)`` that fills the disk after one step and frees it after another; never stops."""

    def stop(step):
        if step == first:
            while saved(folder / "run").latest() != 10:
                time.sleep(0.01)
            file = (folder / "ballast").open("wb", buffering=0)
            with file, contextlib.suppress(OSError):
                while True:
                    file.write(b"0" * 4096)
        if step == last:
            (folder / "ballast").unlink()
        return False

    return stop


def test_a_full_disk_costs_nothing_once_there_is_space_again(small_disk, whole, caplog):
    out = run(small_disk / "run", PLAN, stop=full_between(small_disk, 13, 19))
    assert "checkpoint 15 could not be saved: no space left" in caplog.text
    assert equal(out, whole)
    assert saved(small_disk / "run").steps()[-2:] == [20, 23]


def test_a_disk_that_stays_full_is_an_error_that_keeps_what_is_saved(small_disk, whole):
    with pytest.raises(TrainingError, match="checkpoint 23 could not be saved: no space left"):
        run(small_disk / "run", PLAN, stop=full_between(small_disk, 13, 99))
    left = saved(small_disk / "run")
    assert left.steps()[-1] == 10
    assert left.meta(10)
    (small_disk / "ballast").unlink()
    assert equal(run(small_disk / "run", PLAN), whole)
    assert not list((small_disk / "run" / "checkpoints").glob("*tmp*"))


def test_a_log_that_cannot_be_written_waits(tmp_path, monkeypatch, whole):
    """The same without a small disk: the file is a folder for a while."""

    def source(start):
        path = tmp_path / "metrics.jsonl"
        for n, batch in enumerate(batches(start), start + 1):
            if n == 10:
                path.rename(tmp_path / "kept")
                path.mkdir()
            if n == 18:
                path.rmdir()
                (tmp_path / "kept").rename(path)
            yield batch

    assert equal(run(tmp_path, PLAN, source=source), whole)


# Several runs, slow data


def test_a_folder_is_that_of_one_run_until_it_ends(tmp_path):
    hold = "import sys; from pathlib import Path; from vitax.lock import Lock\n"
    hold += "lock = Lock(Path(sys.argv[1])); lock.take(); print('held', flush=True); input()"
    line = [sys.executable, "-c", hold, str(tmp_path)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by process {process.pid} on "):
        Lock(tmp_path).take()
    process.kill()
    process.communicate()
    lock = Lock(tmp_path)
    lock.take()
    assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on "):
        Lock(tmp_path).take()
    lock.release()
    Lock(tmp_path).take()


def test_a_folder_that_was_made_for_a_run_that_never_began_is_removed(tmp_path):
    with rundir.RunFolder.claim(tmp_path / "a" / "b", {}):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(UserError, match="holds no run"):
        rundir.RunFolder.claim(tmp_path / "mine", {})
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_two_runs_that_start_in_one_second_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rundir.time, "strftime", lambda _: "20260101-000000")
    first = rundir.fresh("configs/vit_b16.py:demo")
    assert first.is_dir()
    assert first.name == "vit_b16-demo-20260101-000000"
    assert rundir.fresh("configs/vit_b16.py:demo").name == "vit_b16-demo-20260101-000000-2"


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before[2])
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)) == before


def test_a_read_only_folder_is_refused_before_anything_is_done(small_disk):
    run(small_disk / "run", PLAN._replace(total=5))
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(UserError, match="cannot be written: .*Read-only"):
        Lock(small_disk / "run").take()
    assert saved(small_disk / "run").meta(5)


def test_an_image_that_is_deleted_while_training_is_skipped_and_named(image_folder, caplog):
    def unchanged(example, rng):
        return example

    train = folder(path=str(image_folder), train="train", test="test", test_fraction=0.2, pixels=RGB).train
    loader = Loader(train, unchanged, 4, threads=1, max_corrupt=0.2)
    found = loader.train()
    next(found)
    gone = image_folder / "train" / "day" / "03.png"
    gone.unlink()
    seen = [next(found) for _ in range(18)]  # three epochs
    found.close()
    index = next(i for i in range(len(train)) if train.name(i) == str(gone))
    for batch in seen[3:]:
        assert not batch["valid"][batch["index"] == index].any()
    assert caplog.text.count(str(gone)) >= 1
    assert loader.corrupt == {index}


def test_what_a_run_waits_for_is_named(caplog):
    dog = Watchdog(patience=0.2)
    with dog.waiting_for(lambda: "the next batch (slow.jpg)"):
        time.sleep(0.7)
    with dog.waiting_for(lambda: "nothing"):
        time.sleep(0.1)
    dog.close()
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert all("waiting for the next batch (slow.jpg) for" in x for x in told)


def test_nothing_that_is_loaded_is_executed(half):
    """A checkpoint holds arrays and JSON: no pickle."""
    for path in files(half / "checkpoints"):
        assert not path.read_bytes().startswith(b"\x80\x04"), path
    json.loads((half / "checkpoints" / "18" / "meta" / "metadata").read_text())


@pytest.mark.parametrize("name", ["w[1]x", "a*b", "q?"])
def test_a_folder_whose_name_is_a_pattern_keeps_its_arrays(tmp_path, name):
    """Orbax would find none of its parts there, and leave a checkpoint without arrays."""
    out = run(tmp_path / name, PLAN)
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), out.state._asdict())
    arrays = saved(tmp_path / name).restore(PLAN.total, wanted)
    assert fingerprint.fingerprints(arrays) == fingerprint.fingerprints(out.state._asdict())


def test_a_save_that_cannot_be_read_back_is_no_checkpoint_and_the_older_ones_stay(tmp_path, monkeypatch):
    real = checkpoint.read_back

    def read_back(checkpoints, step, arrays, values):
        real(checkpoints, step, arrays, values)
        if step > 10:
            raise checkpoint.Damaged("params/slope differs")

    monkeypatch.setattr(checkpoint, "read_back", read_back)
    with pytest.raises(TrainingError, match="could not be saved: params/slope differs"):
        run(tmp_path, PLAN)
    assert saved(tmp_path).steps() == [5, 10]
    assert {path.name for path in (tmp_path / "checkpoints").glob("*.damaged")} == {
        "15.damaged",
        "20.damaged",
        "23.damaged",
    }


def test_what_was_written_is_read_before_it_counts(tmp_path, monkeypatch):
    """Of the first and of the last checkpoint the values are read, of the others the list of arrays."""
    real, read = checkpoint.read_back, []
    monkeypatch.setattr(
        checkpoint, "read_back", lambda c, step, a, values: (read.append((step, values)), real(c, step, a, values))
    )
    run(tmp_path, PLAN)
    assert read == [(5, True), (10, False), (15, False), (20, False), (23, True)]
