"""What one training step needs on each device: bytes by counting, bytes and exchanges by compiling."""

import math
import re
import sys
import time
from typing import Any, NamedTuple

import jax

from vitax.build import Run
from vitax.monitoring.log import say
from vitax.training.step import abstract, compile_step


class StepMemory(NamedTuple):
    """Of one step on one device, in bytes.

    residuals: what the backward pass reads, before the compiler; parameters that it reads are left out.
    program: all that the compiled step holds at once; None = not compiled.
    collectives: what the devices exchange in a step, by name: how often, and bytes of the results on each.
    """

    params: int
    optimizer: int
    average: int
    gradients: int
    batch: int
    residuals: int
    program: int | None
    collectives: dict[str, tuple[int, int]]

    @property
    def total(self) -> int:
        counted = sum(self[:6])
        return counted if self.program is None else self.program


def measure(run: Run, compiling: bool) -> StepMemory:
    """Bytes on each device, counted and (where wanted) of the compiled step."""
    state = abstract(run.shapes, run.mesh)
    trees = 1 if run.top.accumulate == 1 else 2  # the sum, and those of a micro-batch
    program, exchanged = None, {}
    if compiling:
        began = time.monotonic()
        try:
            compiled = compile_step(run.init, run.step, run.abstract_batch, run.mesh)
            program = program_bytes(compiled.step)
            exchanged = collectives(compiled.step.as_text())
        except jax.errors.JaxRuntimeError as error:  # a TPU's compiler refuses what does not fit
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            found = re.search(r"([\d.]+)([KMGT])", str(error).split("RESOURCE_EXHAUSTED")[1])
            units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
            program = round(float(found[1]) * units[found[2]]) if found else sys.maxsize
        say(f"compile  {time.monotonic() - began:.0f} s")
    return StepMemory(
        params=shard_bytes((state.params, state.collections)),
        optimizer=shard_bytes(state.opt_state),
        average=shard_bytes(state.ema),
        gradients=trees * shard_bytes(state.params),
        batch=shard_bytes(run.abstract_batch),
        residuals=residual_bytes(run),
        program=program,
        collectives=exchanged,
    )


def program_bytes(program: Any) -> int:
    """All that a compiled program holds at once on each device, as the compiler has planned it."""
    memory = program.memory_analysis()
    # Arguments are given back as results, in place: they count once.
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes
    counted = kept - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    return max(counted, getattr(memory, "peak_memory_in_bytes", 0) or 0)


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """What the devices exchange in a compiled program (its text), as `StepMemory` has it; what stands in a loop counts once."""
    found: dict[str, tuple[int, int]] = {}
    kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    for result, kind, begun in re.findall(rf"= (\S.*?) ({kinds})(-start)?\(", program):
        sizes = [
            math.prod(map(int, filter(None, dims.split(",")))) * int(bits or 8) // 8
            for bits, dims in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", result)
            if dims or not begun  # the numbers of a transfer are none of its results
        ]
        # What was only begun lists its arguments too, before its results.
        both = begun and kind != "all-reduce" and len(sizes) > 1
        size = sum(sizes[len(sizes) // 2 :] if both else sizes)
        count, total = found.get(kind, (0, 0))
        found[kind] = (count + 1, total + size)
    return found


def shard_bytes(tree: Any) -> int:
    """Of a tree of `jax.ShapeDtypeStruct`s with shardings: bytes on one device."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def residual_bytes(run: Run) -> int:
    """What the backward pass of one micro-batch reads on one device, without the parameters themselves. Of scores between all
    pairs of a batch (CLIP) three times too much."""
    rows = run.top.batch_size // run.top.accumulate

    def pull_back(params: Any, collections: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return run.task.loss({"params": params, **collections}, batch, jax.random.key(0), True)

        return jax.vjp(loss, params, has_aux=True)[1]

    def kept(rows: int) -> int:
        """Without a mesh: a function of shapes alone."""
        batch = {name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for name, x in run.abstract_batch.items()}
        found = jax.eval_shape(pull_back, run.shapes.params, run.shapes.collections, batch)
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(found))

    # What a second batch would add: parameters, tables and masks are kept once, whatever the batch.
    return (kept(2 * rows) - kept(rows)) // run.mesh.size
