"""Prints the needs of a run before anything is allocated: parameters, FLOPs, steps, memory on each device.

    python -m vitax.plan --config=configs/vit_b16.py --devices=8 --memory=40GiB
    python -m vitax.plan --config=configs/vit_b16.py --topology=h100:8 --examples=1281167
    python -m vitax.plan --config=configs/vit_l16.py --topology=v5e:4x4 --step_seconds=0.4

The real step is compiled: for the devices of this machine, for N CPU devices (--devices=N), or for devices that are
elsewhere (--topology: GPUs such as a100:1, h100:8, h200:8 with the compiler of jax[cuda12], or a TPU pod with libtpu).
For GPUs the time of a step is estimated too: each kernel takes the time of its memory traffic or of its products. With
a topology, only a few blocks of a deep model are compiled, and the others are extrapolated; --whole compiles all. If the
data are not on this machine, --examples and --classes stand in for a dataset. With --memory, the command looks for the smallest change that makes the run fit: more
micro-batches, recomputation of activations, a training state that is split over the devices.
"""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from vitax import build, reading
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.config import changed
from vitax.errors import UserError
from vitax.macs import count_macs
from vitax.monitoring import log
from vitax.monitoring.log import say
from vitax.monitoring.progress import duration
from vitax.pipelines import Pipeline
from vitax.planning.depth import SHALLOW, extrapolated
from vitax.planning.estimate import Estimate
from vitax.planning.memory import StepMemory, compiled_program, measure
from vitax.planning.placeholder import placeholder_pipeline
from vitax.planning.topology import Target, of_topology
from vitax.schema import Config

GIB = 2**30


FLAGS = (
    Flag("devices", 0, "number of CPU devices to plan for; 0: the devices of this machine"),
    Flag("topology", "", "plan for devices that are elsewhere: h100:1, h200:8, a100:8, v5e:4x4, v5p:2x2x2, ..."),
    Flag("memory", "", "memory of one device: 40GiB, 80GB, ..."),
    Flag("step_seconds", 0.0, "measured seconds of a step, to compute the time of the run"),
    Flag("examples", 0, "number of training examples, if the data are not on this machine"),
    Flag("classes", 1000, "number of classes of these images"),
    Flag("compile", True, "whether to compile the step; otherwise only count"),
    Flag("whole", False, "with --topology, compile all blocks of a deep model instead of extrapolating"),
)


def run(arguments: Arguments) -> int:
    """Prints the plan, and returns 1 if --memory is given and no change makes the run fit.

    Raises:
        UserError: flags that exclude each other, or a run that cannot be built.
    """
    flags, config = arguments.flags, arguments.config
    limit, topology = in_bytes(flags["memory"]), flags["topology"]
    if flags["devices"] and topology:
        raise UserError("--devices and --topology exclude each other: a topology has its own devices")
    if flags["devices"] or topology:
        jax.config.update("jax_platforms", "cpu")
    if flags["devices"]:
        jax.config.update("jax_num_cpu_devices", flags["devices"])
    start_jax()
    log.start_logging()
    target = of_topology(topology)
    examples, classes = flags["examples"], flags["classes"]
    pipeline = placeholder_pipeline(config, examples, classes) if examples else None
    plan = Planned(config, pipeline, target, flags["compile"], bool(topology) and not flags["whole"])
    with target.tracing():
        built = plan.run_with({})
        say(overview(built))
        needs = plan.measure({}, built)
        say(table(needs, built, limit))
        if needs.program is not None and needs.program.estimate is not None:
            say(expected(needs.program.estimate, built, target))
        if flags["step_seconds"]:
            say(hours(built, flags["step_seconds"]))
        if limit and needs.total > limit:
            return search(plan, built, limit, needs)
    return 0


class Planned(NamedTuple):
    """A plan: the config, and how its step is measured.

    Attributes:
        config: resolved config.
        pipeline: placeholder for the data; None = the data of the config.
        target: devices to compile for.
        compiling: whether to compile; otherwise memory is only counted.
        shallow: whether deep models are extrapolated from shallow ones.
    """

    config: Config
    pipeline: Pipeline | None
    target: Target
    compiling: bool
    shallow: bool

    def run_with(self, changes: Mapping[str, Any]) -> build.Run:
        return build.build(changed(self.config, changes), None, self.pipeline, self.target.devices)

    def measure(self, changes: Mapping[str, Any], run: build.Run) -> StepMemory:
        """The memory of the step of the run with these changes."""
        if not self.compiling:
            return measure(run)
        began = time.monotonic()
        found = None
        if self.shallow:
            other = self._replace(config=changed(self.config, changes))
            found = extrapolated(other.config, other.run_with, self.target)
        program, deep = found or (compiled_program(run, self.target), {})
        parts = ", ".join(f"{key.removeprefix('model.')} {count}" for key, count in deep.items())
        seconds = f"compile  {time.monotonic() - began:.0f} s"
        say(
            f"{seconds}, {SHALLOW} and {SHALLOW + 1} blocks, extrapolated to {parts} (--whole compiles all)"
            if deep
            else seconds
        )
        return measure(run)._replace(program=program)


def in_bytes(text: str) -> int:
    """Number of bytes of a size such as ``40GiB``, ``80GB`` or ``16 gib``; "" = 0.

    Raises:
        UserError: the text is not a size.
    """
    if not text:
        return 0
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(i?)b\s*", text.lower())
    if not matched or not float(matched[1]):
        raise UserError(f"--memory={text} is not a size; write 40GiB or 80GB")
    return round(float(matched[1]) * (1024 if matched[3] else 1000) ** ("kmgt".index(matched[2]) + 1))


def overview(run: build.Run) -> str:
    """Readable summary of the run: model, data, devices, batch, steps and FLOPs."""
    parameters = sum(x.size for x in jax.tree.leaves(run.shapes.params))
    with jax.set_mesh(run.mesh):
        flops = 2 * count_macs(run.step, run.shapes, run.abstract_batch)
    total = flops * run.plan.total
    device = run.mesh.devices.flat[0]
    mesh = " x ".join(f"{axis}={size}" for axis, size in run.mesh.shape.items())
    size = len(run.abstract_batch["valid"])
    rows = size // (run.mesh.size * run.top.accumulate)
    unit = run.pipeline.unit
    return f"""\
model    {type(run.model).__name__}, {parameters:,} parameters, {run.model.dtype.__name__}
data     {run.pipeline.splits.origin}: {len(run.pipeline.splits.train):,} train
devices  {run.mesh.size} x {device.device_kind} as {mesh}
batch    {size:,} {unit} = {run.mesh.size} devices x {run.top.accumulate} micro-batches x {rows}
steps    {run.plan.total:,} ({run.top.duration})
FLOPs    {flops:.3e} a step ({flops / size:.3e} for one of the {unit}), {total:.3e} in all
         (matrix products and convolutions, 2 for a multiply-accumulate, forward and backward)"""


def table(needs: StepMemory, run: build.Run, limit: int) -> str:
    """Readable table of the bytes on each device."""
    lines = [
        f"{name:<22}{size(value)}"
        for name, value in (
            ("parameters", needs.params),
            ("optimizer", needs.optimizer),
            ("moving average", needs.average),
            ("gradients", needs.gradients),
            ("batch", needs.batch),
            ("activations, at most", needs.residuals),
        )
    ]
    lines.append(f"{'sum':<22}{size(sum(needs[:6]))}")
    if needs.program is not None:
        kind = run.mesh.devices.flat[0].device_kind
        lines.append(f"{'compiled step':<22}{size(needs.total)}, for {kind}")
        if kind == "cpu":
            lines.append("(compiled for CPU: another backend's program needs more or less; see docs/scale.md)")
    else:
        lines.append("(not compiled: an analysis only)")
    collectives = {} if needs.program is None else needs.program.collectives
    for kind, (count, total) in collectives.items():
        lines.append(f"{kind:<22}{size(total)} in {count} operations (one in a loop counts once)")
    if limit:
        word = "fits" if needs.total <= limit else "does not fit"
        lines.append(f"{word} into {size(limit).strip()}")
    return "on each device:\n  " + "\n  ".join(lines)


def size(count: int) -> str:
    """``  1.234 GiB`` or ``123.456 MiB``."""
    return f"{count / GIB:>9.3f} GiB" if count >= GIB else f"{count / 2**20:>9.3f} MiB"


def expected(estimate: Estimate, run: build.Run, target: Target) -> str:
    """Readable estimate of the time of a step and of the run, with the largest costs."""
    assert target.gpu is not None
    rate, step = len(run.abstract_batch["valid"]) / estimate.seconds, 1e3 * estimate.seconds
    total = estimate.seconds * run.plan.total
    per_hour = f"{total / 3600:,.1f} hours, {total / 3600 * run.mesh.size:,.1f} GPU-hours"
    kinds = sorted(estimate.by_kind.items(), key=lambda item: -item[1])
    layers = sorted(estimate.by_layer.items(), key=lambda item: -item[1])[:3]
    share = estimate.flops / estimate.seconds / target.gpu.product16
    return f"""\
estimate {step:,.1f} ms a step, {rate:,.0f} {run.pipeline.unit}/s, {per_hour} (without evaluations; not measured on a GPU)
         {", ".join(f"{name} {1e3 * value:,.1f} ms" for name, value in kinds if value > 5e-5)}
         largest: {", ".join(f"{name} {1e3 * value:,.1f} ms" for name, value in layers)}
         {estimate.traffic / 1e9:,.1f} GB of memory traffic, {estimate.kernels:,.0f} kernels, {share:.0%} of the rate of large products"""


def hours(run: build.Run, step_seconds: float) -> str:
    """Readable duration of the run if a step takes ``step_seconds`` seconds.

    Raises:
        UserError: a negative time.
    """
    if step_seconds < 0:
        raise UserError(f"--step_seconds={step_seconds} must not be negative")
    seconds = step_seconds * run.plan.total
    return (
        f"time     {duration(seconds)} at {step_seconds} s a step, {seconds / 3600 * run.mesh.size:,.1f} device-hours "
        "(without evaluations)"
    )


def candidates(plan: Planned, run: build.Run, limit: int, needs: StepMemory) -> Iterator[dict[str, Any]]:
    """Changes of the config that keep the recipe as it is, the smallest first."""
    devices, rows = run.mesh.size, run.top.batch_size // run.mesh.size
    # The contrastive loss compares pairs within a micro-batch, and running statistics come from one micro-batch.
    fixed = run.task_name == "contrastive" or bool(run.shapes.collections)
    micro_batches = [] if fixed else [n for n in range(2, rows + 1) if rows % n == 0 and n > run.top.accumulate]
    micro_batches = [n for i, n in enumerate(micro_batches) if i == 0 or n >= 2 * micro_batches[i - 1] or n == rows]
    chunks = {"task.logits_chunks": 8} if reading.logits_chunks(plan.config) == 1 else {}
    remat = {"model.remat": True} if getattr(run.model, "remat", None) is False else {}
    # What is computed twice: the logits of words, the blocks, both of them.
    twice = [change for change in (chunks, remat, chunks | remat if chunks and remat else {}) if change]
    state = needs.params + needs.optimizer + needs.average + needs.gradients
    if state < limit:
        yield from ({"accumulate": n} for n in micro_batches[:3])
        yield from twice
        yield from ({"accumulate": n, **change} for n in micro_batches[:4] for change in twice[-1:])
    if devices > 1 and run.mesh.shape["fsdp"] == 1:
        split = {"mesh.data": 1, "mesh.fsdp": devices}
        for n in [run.top.accumulate, *micro_batches]:
            for change in ({}, *twice[-1:]):
                yield {**split, "accumulate": n, **change}
    elif state < limit:
        yield from ({"accumulate": n, **change} for n in micro_batches[4:] for change in twice[-1:] or [{}])


def search(plan: Planned, run: build.Run, limit: int, needs: StepMemory) -> int:
    """Tries changes until one fits, and returns the exit code: 0, or 1 if none fits."""
    for changes in candidates(plan, run, limit, needs):
        changed_needs = plan.measure(changes, plan.run_with(changes))
        options = " ".join(f"--config.{key}={value}" for key, value in changes.items())
        fits = changed_needs.total <= limit
        say(f"{'fits' if fits else 'too big':<9}{size(changed_needs.total)} with {options}")
        if fits:
            return 0
    say("no change that was tried fits: use more devices, a smaller model or smaller images")
    return 1


COMMAND = Command(__doc__, FLAGS, run)

if __name__ == "__main__":
    COMMAND.main()
