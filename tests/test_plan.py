"""The plan of a run, and what the doctor finds."""

from types import SimpleNamespace

import jax
import pytest

from vitax import build, config_file, doctor, plan
from vitax.config import changed
from vitax.errors import UserError
from vitax.planning import depth, estimate, gpus, kernels, memory, placeholder, topology
from vitax.resolve import resolve

DEMO = "configs/vit_b16.py:demo"


def demo(**changes):
    config = resolve(config_file.load_config(DEMO))
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    return config


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("40GiB", 40 * 2**30), ("80GB", 80 * 10**9), ("1.5 mib", 1572864)]
)
def test_sizes(text, count):
    assert plan.in_bytes(text) == count


@pytest.mark.parametrize("text", ["40", "-1GiB", "0GB", "GB", "12 bytes", "1e9GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError, match="40GiB"):
        plan.in_bytes(text)


def test_bytes_are_counted_by_hand():
    run = build.build(demo(batch_size=64, optim__ema_decay=0.9))
    found = memory.measure(run, compiling=False)
    parameters = sum(x.size for x in jax.tree.leaves(run.shapes.params))
    assert found.params == found.gradients == found.average == 4 * parameters
    assert found.optimizer == 8 * parameters + 4 * 2  # two moments and two counters
    images, labels, valid = 8 * 8 * 1, 4, 1  # bytes of one example
    assert found.batch == (images + labels + valid) * 64 // 8
    assert found.program is None
    assert found.total == sum(found[:6])


def test_splitting_halves_what_is_split():
    whole = memory.measure(build.build(demo(batch_size=64, model__width=256)), False)
    half = memory.measure(build.build(demo(batch_size=64, model__width=256, mesh__data=4, mesh__fsdp=2)), False)
    assert half.params < 0.6 * whole.params
    assert half.residuals == whole.residuals
    more = memory.measure(build.build(demo(batch_size=64, accumulate=4)), False)
    once = memory.measure(build.build(demo(batch_size=64)), False)
    assert once.residuals == pytest.approx(4 * more.residuals, rel=0.02)
    again = memory.measure(build.build(demo(batch_size=64, model__remat=True)), False)
    assert again.residuals < 0.5 * once.residuals


def test_the_compiled_step_is_about_what_was_counted():
    run = build.build(demo(batch_size=256))
    found = memory.measure(run, compiling=True)
    counted = sum(found[:6])
    assert 0.4 * counted < found.program.bytes < 1.5 * counted
    assert found.total == found.program.bytes
    kind, (count, size) = next(iter(found.program.collectives.items()))
    assert kind == "all-reduce"
    assert count >= 1
    assert size >= found.gradients  # of every device's part of the batch


def test_exchanges_are_read_from_a_program():
    text = """
  %a = f32[768,64]{1,0} all-gather(f32[96,64]{1,0} %p), dimensions={0}
  %b = (f32[96,64]{1,0}, f32[768,64]{1,0}) all-gather-start(f32[96,64]{1,0} %p)
  %c = f32[768,64]{1,0} all-gather-done((f32[96,64]{1,0}, f32[768,64]{1,0}) %b)
  %d = (f32[10]{0}, bf16[4]{0}) all-reduce(f32[10]{0} %x, bf16[4]{0} %y)
  %e = f32[] add(f32[] %all-reduce.1, f32[] %z)
"""
    assert memory.collectives(text) == {"all-gather": (2, 2 * 768 * 64 * 4), "all-reduce": (1, 10 * 4 + 4 * 2)}


def test_images_that_are_not_here_are_planned_with(capsys):
    config = resolve(config_file.load_config("configs/vit_b16.py"))
    pipeline = placeholder.placeholder_pipeline(config, 1_281_167, 1000)
    run = build.build(config, None, pipeline)
    assert run.plan.total == 93_835
    told = plan.overview(run)
    assert "86,567,656 parameters" in told
    # 17.58 GMACs forward (Dosovitskiy et al., timm), thrice that for a step: without the first layer's input gradient.
    per_image = float(told.split("step (")[1].split()[0])
    assert per_image == pytest.approx(3 * 2 * 17.58e9, rel=0.01)


@pytest.mark.parametrize("name", ["bert_base", "clip_vit_b32", "transformer_base", "swinir_light_x2"])
def test_texts_and_pairs_that_are_not_here_are_planned_with(name):
    """The vocabulary has the size that the config asks for, so the parameters are those of the real run."""
    config = resolve(config_file.load_config(f"configs/{name}.py:demo"))
    pipeline = placeholder.placeholder_pipeline(config, 100_000, 10)
    assert len(pipeline.splits.train) == 100_000
    batch = next(build.build_loader(config, pipeline.splits.train, pipeline.augment, 8, 0).once())
    assert len(batch["valid"]) == 8
    vocabulary = pipeline.reader.fields.get("vocab_size")
    assert vocabulary == config["data"].get("vocab_size")


def test_the_smallest_change_that_fits_is_found(capsys):
    config = demo(batch_size=512)
    run = build.build(config)
    planned = plan.Planned(config, None, topology.HERE, False, False)
    found = memory.measure(run, False)
    for n in (2, 4):
        limit = memory.measure(build.build(demo(batch_size=512, accumulate=n)), False).total
        assert plan.search(planned, run, limit, found) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("fits")
        assert last.endswith(f"with --config.accumulate={n}")
    assert plan.search(planned, run, 1000, found) == 1
    assert "no change that was tried fits" in capsys.readouterr().out


def test_logits_in_chunks_are_tried_before_blocks_are_computed_twice(capsys):
    config = config_file.load_config("configs/lm_small.py:demo")
    config["accumulate"] = 8  # a row of each device at a time
    config["data"]["vocab_size"], config["model"]["width"] = 4000, 32
    config = resolve(config)
    planned = plan.Planned(config, None, topology.HERE, False, False)
    run = planned.run_with({})
    found = memory.measure(run, False)
    less = planned.measure({"task.logits_chunks": 8}, planned.run_with({"task.logits_chunks": 8}))
    assert less.total < found.total
    assert plan.search(planned, run, less.total, found) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("with --config.task.logits_chunks=8")


MODULE = """
HloModule jit_step, entry_computation_layout={()->f32[]}

%fused (p0: bf16[4,8], p1: f32[64,8]) -> bf16[4,8] {
  %p0 = bf16[4,8]{1,0} parameter(0)
  %p1 = f32[64,8]{1,0} parameter(1)
  %slice.1 = f32[4,8]{1,0} slice(f32[64,8]{1,0} %p1), slice={[0:4], [0:8]}
  %c = bf16[4,8]{1,0} convert(f32[4,8]{1,0} %slice.1)
  ROOT %add.1 = bf16[4,8]{1,0} add(bf16[4,8]{1,0} %p0, bf16[4,8]{1,0} %c)
}

%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]{0}) parameter(0)
  %v = f32[8]{0} get-tuple-element((s32[], f32[8]{0}) %t), index=1
  %copy.2 = f32[8]{0} copy(f32[8]{0} %v), metadata={op_name="jit(step)/while/body/copy"}
  ROOT %r = (s32[], f32[8]{0}) tuple(f32[8]{0} %copy.2)
}

ENTRY %main (x: bf16[4,8], w: bf16[8,16], big: f32[64,8]) -> bf16[4,16] {
  %x = bf16[4,8]{1,0} parameter(0)
  %w = bf16[8,16]{1,0} parameter(1)
  %big = f32[64,8]{1,0} parameter(2)
  %f = bf16[4,8]{1,0} fusion(bf16[4,8]{1,0} %x, f32[64,8]{1,0} %big), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/jvp(ViT)/block3/norm1/add"}
  %dot.1 = (bf16[4,16]{1,0}, s8[1024]{0}) custom-call(bf16[4,8]{1,0} %f, bf16[8,16]{1,0} %w), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(step)/transpose(jvp(ViT))/block3/mlp/dense1/dot_general"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %q = bf16[2,6,3,8]{3,2,1,0} bitcast(bf16[4,8]{1,0} %x)
  %a = (bf16[2,3,6,8]{3,1,2,0}, f32[2,3,6]{2,1,0}, u8[0]{0}) custom-call(bf16[2,6,3,8]{3,2,1,0} %q, bf16[2,6,3,8]{3,2,1,0} %q, bf16[2,6,3,8]{3,2,1,0} %q), custom_call_target="__cudnn$fmhaSoftmax"
  %init = (s32[], f32[8]{0}) tuple(bf16[4,8]{1,0} %x)
  %loop = (s32[], f32[8]{0}) while((s32[], f32[8]{0}) %init), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %g = bf16[4,16]{1,0} get-tuple-element((bf16[4,16]{1,0}, s8[1024]{0}) %dot.1), index=0
}
"""


def test_kernels_are_read_from_a_program():
    """Bytes and operations by hand: a fusion that slices, a product, fused attention, a loop."""
    fusion, product, attention, copy = kernels.kernels(MODULE)
    assert (fusion.kind, fusion.layer, fusion.backward) == ("elementwise", "ViT/block3/norm1", False)
    assert fusion.bytes == 4 * 8 * 2 + 4 * 8 * 4 + 4 * 8 * 2  # x, the slice that it takes, and its result
    assert (product.kind, product.layer, product.backward) == ("product", "ViT/block3/mlp/dense1", True)
    assert product.flops == 2 * 4 * 8 * 16
    assert product.bytes == 2 * (4 * 8 + 8 * 16 + 4 * 16)  # not its workspace
    assert attention.kind == "attention"
    assert attention.flops == 2 * 2 * 2 * 3 * 6 * 6 * 8
    assert (copy.kind, copy.runs, copy.bytes) == ("copy", 5, 2 * 8 * 4)
    h100 = gpus.GPUS["h100"]
    found = estimate.estimated([fusion, product, attention, copy], h100)
    assert found.traffic == sum(k.runs * k.bytes for k in (fusion, product, attention, copy))
    assert found.seconds == pytest.approx(found.traffic / h100.bandwidth)  # so few products take no time
    large = product._replace(flops=10**15)
    assert estimate.seconds(large, h100) == pytest.approx(1e15 / h100.product16)
    assert estimate.seconds(large._replace(wide=True), h100) == pytest.approx(1e15 / h100.product32)
    assert found.by_layer["ViT/block/norm"] == pytest.approx(fusion.bytes / h100.bandwidth)


def test_a_deep_model_is_extrapolated_from_two_shallow_ones():
    config = demo(batch_size=64, model__depth=8)
    made = lambda changes: build.build(changed(config, changes))
    program, deep = depth.extrapolated(config, made, topology.HERE)
    assert deep == {"model.depth": 8}
    whole = memory.compiled_program(made({}))
    assert program.bytes == pytest.approx(whole.bytes, rel=0.1)
    kind = "all-reduce"
    assert program.collectives[kind][1] == pytest.approx(whole.collectives[kind][1], rel=0.05)
    assert depth.extrapolated(demo(model__depth=3), made, topology.HERE) is None


@pytest.mark.parametrize("name", ["h100:0", "h100:x", "nothing:8", "b17"])
def test_an_unknown_topology_is_refused(name):
    with pytest.raises(UserError, match=r"such as h100:8|choose a100:8, h100:8, h200:8, or a TPU such as v5e:4x4"):
        topology.of_topology(name)


def test_the_targets_are_those_of_the_data_sheets():
    for gpu in gpus.GPUS.values():
        text = gpus.target(gpu)
        assert f"core_count: {gpu.cores}" in text
        assert gpu.product32 < gpu.product16 < 990e12
    assert "major: 8" in gpus.target(gpus.GPUS["a100"])


def told(findings, good):
    return "\n".join(one.text for one in findings if one.good is good)


def test_a_healthy_machine_has_nothing_wrong(tmp_path):
    found = [*doctor.devices(), *doctor.folders(tmp_path), *doctor.examine(demo(batch_size=32), tmp_path)]
    assert told(found, False) == ""
    assert "1,438 train, 359 test" in told(found, True)


def test_a_gpu_that_is_not_used_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "_output", lambda *command: "NVIDIA H100, 81559 MiB, 3 MiB")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert 'pip install "jax[cuda12]"' in told(doctor.devices(), False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS=cpu keeps JAX from using it" in told(doctor.devices(), False)


def test_wrong_versions_are_found(monkeypatch):
    wanted = ["numpy>=99", "nothing-of-that-name>=1", "jax>=0.1"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: wanted)
    wrong = told(doctor.versions(), False)
    assert 'is not >=99: pip install "numpy>=99"' in wrong
    assert "nothing-of-that-name is not installed" in wrong
    assert "jax" not in wrong


def test_data_disk_and_memory_are_looked_at(tmp_path, monkeypatch):
    wrong = told(doctor.examine(demo(data__name="folder", data__path="nowhere"), tmp_path), False)
    assert "nowhere is not a folder" in wrong
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert "smaller checkpoint.keep" in told(doctor.examine(demo(), tmp_path), False)
    monkeypatch.setattr(doctor, "available_memory", lambda: 10**6)
    assert "lower data.cache_gib" in told(doctor.examine(demo(), tmp_path), False)
