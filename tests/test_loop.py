"""The loop on a task of three numbers: what is logged, evaluated, saved, resumed, and how it stops."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from points import BATCH, PLAN, batch_of, batches, line, run, timeless

from vitax.errors import TrainingError, UserError
from vitax.mesh import make_mesh
from vitax.monitoring import recorder
from vitax.runs import restore
from vitax.training import checkpoint, session, step

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_a_run_logs_evaluates_and_saves_when_it_should(tmp_path):
    out = run(tmp_path, PLAN)
    train = [one for one in out.lines if "train/loss" in one]
    test = [one for one in out.lines if "test/loss" in one]
    assert [one["step"] for one in train] == [4, 8, 12, 16, 20, 23]
    assert [one["step"] for one in test] == [10, 20, 23]
    for name in ("learning_rate", "points_per_second", "data_wait", "gradient_norm", "parameter_norm"):
        assert all(f"train/{name}" in one for one in train)
    assert test[0]["test/examples"] == 2 * (BATCH - 1)
    assert test[0]["test_ema/loss"] != test[0]["test/loss"]
    assert out.results == {k: v for k, v in test[-1].items() if k != "step"}
    assert sorted(out.checkpoints.manager.all_steps()) == [20, 23]
    assert out.checkpoints.best() == 23
    assert (tmp_path / "tensorboard").exists()


def test_evaluation_means_are_those_of_numpy(tmp_path):
    out = run(tmp_path, PLAN)
    slope, offset = out.state.params["slope"], out.state.params["offset"]
    errors = [np.square(slope * b["x"] + offset - b["y"])[b["valid"]] for b in (batch_of(-1), batch_of(-2))]
    np.testing.assert_allclose(out.results["test/loss"], np.concatenate(errors).mean(), rtol=1e-5)


@pytest.mark.parametrize("at", [5, 10, 13])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, at):
    whole = run(tmp_path / "whole", PLAN)
    asked = []

    def stop(step):
        asked.append(step)
        return step == at

    part = run(tmp_path / "part", PLAN, stop=stop)
    assert int(part.state.step) == at
    # What a dead run may leave behind: lines past the checkpoint, and half a line.
    with (tmp_path / "part" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "train/loss": 1}\n{"step": 10')
    rest = run(tmp_path / "part", PLAN)
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(rest.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert timeless(rest.lines) == timeless(whole.lines)


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8), (8, 2)])
def test_a_run_continues_on_another_number_of_devices(tmp_path, before, after):
    whole = run(tmp_path / "whole", PLAN)
    run(tmp_path / "part", PLAN, stop=lambda step: step == 10, devices=before)
    rest = run(tmp_path / "part", PLAN, devices=after)
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(rest.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert [one["step"] for one in rest.lines] == [one["step"] for one in whole.lines]


def test_a_finished_run_does_nothing(tmp_path):
    first = run(tmp_path, PLAN)
    again = run(tmp_path, PLAN)
    assert again.lines == first.lines
    assert again.results == first.results


def test_the_best_checkpoint_outlives_the_newest(tmp_path):
    # Away from the target: the loss grows, so the first evaluation is the best.
    out = run(tmp_path, session.Plan(40, 10, 5, 5), optimizer=optax.scale(0.02))
    steps = sorted(out.checkpoints.manager.all_steps())
    assert steps == [5, 35, 40]
    assert out.checkpoints.best() == 5
    assert restore.choose(out.checkpoints, "best") == 5
    assert restore.choose(out.checkpoints, "last") == 40
    with pytest.raises(
        UserError, match="--checkpoint=7 does not exist; choose best, last, average or one of 5, 35, 40"
    ):
        restore.choose(out.checkpoints, "7")


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_is_named_and_not_saved(tmp_path, where):
    names = {"loss": "the loss is", "gradient": "the gradient of offset is"}
    with pytest.raises(TrainingError, match=f"{names[where]} not finite at step 15"):
        run(tmp_path, PLAN, task=line(15, where))
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", read_only=True)
    assert saved.latest() == 10
    wanted = step.abstract(
        jax.eval_shape(lambda: {"params": {"slope": jnp.zeros(1), "offset": jnp.zeros(1)}}), make_mesh(data=-1, fsdp=1)
    )
    restored = saved.restore(10, wanted)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(restored))
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in lines


def test_an_update_that_explodes_is_named(tmp_path):
    explode = optax.scale_by_schedule(lambda n: jnp.where(n == 6, jnp.inf, -0.01))
    with pytest.raises(TrainingError, match="the update of offset and 1 more is not finite at step 7"):
        run(tmp_path, PLAN, optimizer=explode)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    out = run(tmp_path, PLAN)
    mesh = make_mesh(data=-1, fsdp=1)
    other = {"params": {"slope": jnp.zeros(1), "offset": jnp.zeros(1), "curve": jnp.zeros(1)}}
    with pytest.raises(UserError, match="checkpoint 23 in .* params/curve is not in the checkpoint"):
        out.checkpoints.restore(23, step.abstract(jax.eval_shape(lambda: other), mesh))
    larger = {"params": {"slope": jnp.zeros(2), "offset": jnp.zeros(1)}}
    with pytest.raises(UserError, match=r"slope is float32\[1\] in the checkpoint and float32\[2\] in the model"):
        out.checkpoints.restore(23, step.abstract(jax.eval_shape(lambda: larger), mesh))


def test_other_data_are_refused_on_resume(tmp_path):
    run(tmp_path, PLAN._replace(total=5))
    with pytest.raises(UserError, match="the data are not those of checkpoint 5: points was 8 and is 9"):
        run(tmp_path, PLAN, data={"points": 9})


def test_an_evaluation_that_fails_does_not_lose_the_training(tmp_path):
    def broken():
        raise UserError("the test images are gone")
        yield

    with pytest.raises(UserError, match="are gone"):
        run(tmp_path, PLAN, points=broken)
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", best="test/loss", read_only=True)
    assert saved.latest() == 10
    assert saved.best() is None


def test_a_run_is_evaluated_at_its_end_in_any_case(tmp_path):
    out = run(tmp_path, session.Plan(total=6, log_every=0, eval_every=0, save_every=0))
    assert [one["step"] for one in out.lines] == [6]
    assert "test/loss" in out.lines[0]
    assert out.checkpoints.steps() == [6]


def test_the_best_evaluation_is_saved_whatever_the_interval_of_checkpoints(tmp_path):
    """The two intervals have no common multiple: without a save of its own, no evaluation would have a checkpoint."""
    out = run(tmp_path, session.Plan(total=20, log_every=0, eval_every=3, save_every=7))
    measured = {one["step"]: one["test/loss"] for one in out.lines if "test/loss" in one}
    best = min(measured, key=lambda n: (measured[n], -n))
    assert set(measured) == {3, 6, 9, 12, 15, 18, 20}
    assert out.checkpoints.best() == best
    assert best in out.checkpoints.steps()


def test_nan_is_never_the_best_and_halves_are_not_checkpoints(tmp_path):
    out = run(tmp_path, PLAN)
    saved = checkpoint.Checkpoints(tmp_path / "other", keep=1, best="test/loss", mode="max")
    program_state = step.TrainState(*out.state)
    for n, value in enumerate((0.9, float("nan"), 0.1), 1):
        saved.save(n, program_state, {"metrics": {"test/loss": value}})
    saved.wait()
    assert saved.best() == 1
    assert saved.steps() == [1, 3]
    (tmp_path / "other" / "7").mkdir()
    again = checkpoint.Checkpoints(tmp_path / "other", best="test/loss", read_only=True)
    assert again.latest() == 3


def test_what_is_saved_is_what_was_true_at_the_time(tmp_path, monkeypatch):
    # The metadata are written in the background while the run goes on and adds to its sums.
    import time

    import orbax.checkpoint as ocp

    write = ocp.JsonCheckpointHandler._save_fn

    def late(self, *arguments, **options):
        time.sleep(0.3)
        return write(self, *arguments, **options)

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", late)
    out = run(tmp_path, session.Plan(total=12, log_every=8, eval_every=0, save_every=10))
    assert out.checkpoints.meta(10)["window"]["gradient_norm"][1] == 2.0


def test_a_profile_of_the_chosen_steps_is_written(tmp_path):
    run(tmp_path, PLAN._replace(total=6, profile_at=2, profile_steps=2))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_nothing_is_compiled_after_the_second_step(tmp_path):
    compiled, at = [], []

    def note(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def source(start):
        for batch in batches(start):
            at.append(len(compiled))
            yield batch

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        plan = session.Plan(total=12, log_every=1, eval_every=0, save_every=0)
        run(tmp_path, plan, source=source)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert at[0] > 0  # it does count
    # Batches are fetched a step ahead; evaluation and checkpoint, at the end, have programs of their own.
    assert set(at[3:12]) == {at[2]}


def test_a_run_that_waits_for_its_data_says_so_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(recorder, "STARVED_SECONDS", 0.2)

    def slow(start):
        for batch in batches(start):
            time.sleep(0.05)
            yield batch

    plan = session.Plan(total=12, log_every=3, eval_every=0, save_every=0)
    with caplog.at_level("WARNING", "vitax"):
        out = run(tmp_path, plan, source=slow)
    assert [one["train/data_wait"] > 0.25 for one in out.lines if "train/loss" in one] == [True] * 4
    told = [one for one in caplog.messages if "have waited for data" in one]
    assert len(told) == 1
    assert "step 9" in told[0]  # the first line is not counted, and one window is too short


def test_a_skipped_step_takes_its_time_in_the_schedule(tmp_path):
    """The learning rate that is used is the one that is logged: both count all steps."""
    rates = optax.scale_by_schedule(lambda n: -0.01 * (n + 1))
    plain = run(tmp_path / "plain", PLAN, optimizer=rates)
    skipping = run(tmp_path / "skipping", PLAN, optimizer=rates, task=line(7), skip=True)
    assert int(skipping.state.opt_state.count) == int(plain.state.opt_state.count) == PLAN.total
