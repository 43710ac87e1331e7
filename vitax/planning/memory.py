"""Memory and communication of a training step on each device: bytes by counting, bytes and exchanges by compiling."""

import math
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from vitax.build import Run
from vitax.planning.estimate import Estimate, estimated
from vitax.planning.kernels import kernels
from vitax.planning.topology import HERE, Target
from vitax.training.step import abstract, lower_step


class StepMemory(NamedTuple):
    """Memory of one step on one device, in bytes.

    Attributes:
        params: the parameters and the other collections.
        optimizer: the state of the optimizer.
        average: the moving average of the parameters.
        gradients: the gradients; with micro-batches, also their sum.
        batch: the arrays of a batch.
        residuals: values that the backward pass reads, before the compiler; parameters that it reads are left out.
        program: the compiled step; None = not compiled.
    """

    params: int
    optimizer: int
    average: int
    gradients: int
    batch: int
    residuals: int
    program: "Program | None" = None

    @property
    def total(self) -> int:
        return sum(self[:6]) if self.program is None else self.program.bytes


class Program(NamedTuple):
    """A compiled step, on each device.

    Attributes:
        bytes: everything that it holds at once.
        temporaries: what it holds besides its arguments and results.
        collectives: exchanges of the devices in a step: {name: (their number, bytes of their results)}.
        estimate: its estimated time on a GPU; None = the devices are no GPUs.
    """

    bytes: int
    temporaries: int
    collectives: dict[str, tuple[int, int]]
    estimate: Estimate | None = None

    def extrapolated(self, others: Sequence[tuple["Program", int]]) -> "Program":
        """This program plus, for each (other program, n), n times the difference of the other one from it."""
        programs = [self, *(program for program, _ in others)]
        mix = lambda values: (
            values[0] + sum(n * (value - values[0]) for value, (_, n) in zip(values[1:], others, strict=True))
        )
        kinds = dict.fromkeys(kind for program in programs for kind in program.collectives)
        exchanges = {kind: [program.collectives.get(kind, (0, 0)) for program in programs] for kind in kinds}
        estimates = [(program.estimate, n) for program, n in others if program.estimate is not None]
        return Program(
            mix([program.bytes for program in programs]),
            mix([program.temporaries for program in programs]),
            {kind: (mix([a for a, _ in pairs]), mix([b for _, b in pairs])) for kind, pairs in exchanges.items()},
            None if self.estimate is None else self.estimate.extrapolated(estimates),
        )


def measure(run: Run, compiling: bool = False) -> StepMemory:
    """The memory of a step on each device: counted and, if ``compiling``, of the step compiled for its own devices."""
    state = abstract(run.shapes, run.mesh)
    trees = 1 if run.top.accumulate == 1 else 2  # the sum, and the gradients of a micro-batch
    return StepMemory(
        params=shard_bytes((state.params, state.collections)),
        optimizer=shard_bytes(state.opt_state),
        average=shard_bytes(state.ema),
        gradients=trees * shard_bytes(state.params),
        batch=shard_bytes(run.abstract_batch),
        residuals=residual_bytes(run),
        program=compiled_program(run) if compiling else None,
    )


def compiled_program(run: Run, target: Target = HERE) -> Program:
    """Compiles the step of a run for a target."""
    try:
        lowered = lower_step(run.step, abstract(run.shapes, run.mesh), run.abstract_batch, run.mesh)
        compiled = lowered.compile(compiler_options=target.options or None)
    except jax.errors.JaxRuntimeError as error:  # a TPU's compiler rejects a program that does not fit
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        match = re.search(r"([\d.]+)([KMGT])", str(error).split("RESOURCE_EXHAUSTED")[1])
        units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
        needed = round(float(match[1]) * units[match[2]]) if match else sys.maxsize
        return Program(needed, needed, {})
    text = compiled.as_text()
    estimate = None if target.gpu is None else estimated(kernels(text), target.gpu, run.mesh.size)
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    return Program(program_bytes(compiled), temporaries, collectives(text), estimate)


def program_bytes(program: Any) -> int:
    """Bytes that a compiled program holds at once on each device, as planned by the compiler."""
    memory = program.memory_analysis()
    # Arguments that are returned as results, in place, count once.
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes
    counted = total - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    return max(counted, getattr(memory, "peak_memory_in_bytes", 0) or 0)


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """The exchanges in the text of a compiled program, in the form of `StepMemory`; one inside a loop counts once."""
    exchanges: dict[str, tuple[int, int]] = {}
    kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    for result, kind, begun in re.findall(rf"= (\S.*?) ({kinds})(-start)?\(", program):
        sizes = [
            math.prod(map(int, filter(None, dims.split(",")))) * int(bits or 8) // 8
            for bits, dims in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", result)
            if dims or not begun  # the scalars of a started transfer are not results
        ]
        # A started exchange lists its arguments before its results.
        with_arguments = begun and kind != "all-reduce" and len(sizes) > 1
        size = sum(sizes[len(sizes) // 2 :] if with_arguments else sizes)
        count, total = exchanges.get(kind, (0, 0))
        exchanges[kind] = (count + 1, total + size)
    return exchanges


def shard_bytes(tree: Any) -> int:
    """Bytes on one device of a tree of `jax.ShapeDtypeStruct`s with shardings."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def residual_bytes(run: Run) -> int:
    """Bytes that the backward pass of one micro-batch reads on one device, without the parameters themselves.

    For scores between all pairs of a batch (CLIP), the result is three times too large.
    """
    rows = len(run.abstract_batch["valid"]) // run.top.accumulate

    def pull_back(params: Any, collections: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return run.task.loss({"params": params, **collections}, batch, jax.random.key(0), True)

        return jax.vjp(loss, params, has_aux=True)[1]

    def kept(rows: int) -> int:
        """Bytes for a number of rows, computed from shapes alone, without a mesh."""
        batch = {name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for name, x in run.abstract_batch.items()}
        residuals = jax.eval_shape(pull_back, run.shapes.params, run.shapes.collections, batch)
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(residuals))

    # The bytes that a second batch adds: parameters, tables and masks are kept once, whatever the batch size.
    return (kept(2 * rows) - kept(rows)) // run.mesh.size
