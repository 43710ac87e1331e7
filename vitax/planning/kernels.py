"""The kernels of a compiled XLA:GPU program: what each one reads, writes and multiplies, and for which layer.

`kernels` reads the text of an optimised module. Everything that an executed instruction takes or gives counts as traffic
with the memory; slices count what they take, and updates in place what they write.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vitax.planning.hlo import Computation, Instruction, dims, parsed, shapes, size

# Instructions that move no data: their results are names for parts of other results, or constants.
FREE = frozenset(
    [
        "parameter",
        "constant",
        "get-tuple-element",
        "tuple",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "iota",
        "add-dependency",
        "async-done",
        "copy-done",
        "all-reduce-done",
        "all-gather-done",
    ]
)
EXCHANGES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


class Kernel(NamedTuple):
    """One kernel of a program, with the times that it runs.

    Attributes:
        name: name of its instruction.
        kind: "product", "attention", "convolution", "exchange", "copy" or "elementwise", which includes reductions.
        layer: module path of the model, such as "block0/mlp/dense1"; "" = none.
        backward: whether it belongs to the backward pass.
        runs: number of times that it runs in a step.
        bytes: bytes that it reads and writes, each time.
        flops: floating-point operations of its matrix products, each time.
        wide: whether its products are of float32 numbers.
        shapes: what it writes, as {shape such as "bf16[256,197,768]": bytes}.
    """

    name: str
    kind: str
    layer: str
    backward: bool
    runs: int
    bytes: int
    flops: int
    wide: bool
    shapes: Mapping[str, int]


def kernels(program: str) -> list[Kernel]:
    """The kernels of a program, from the text of its optimised module."""
    computations, entry = parsed(program)
    return list(_walk(computations, entry, 1))


def _walk(computations: dict[str, Computation], name: str, runs: int) -> Iterator[Kernel]:
    """The kernels of a computation and of those that it calls; of a conditional, those of its last branch."""
    computation = computations[name]
    for key, instruction in computation.items():
        op, attributes = instruction.op, instruction.attributes
        if op in FREE or not op:
            continue
        if op == "while":
            body = _called(attributes, "body")
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', attributes)
            yield from _walk(computations, body, runs * (int(trips[1]) if trips else 1))
        elif op == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", attributes)
            last = re.findall(r"[\w.\-]+", branches[1])[-1] if branches else _called(attributes, "true_computation")
            yield from _walk(computations, last, runs)
        elif op in ("call", "async-start") and (inner := _called(attributes, "(?:to_apply|calls)")):
            yield from _walk(computations, inner, runs)
        else:
            yield _kernel(computations, computation, key, runs)


def _called(attributes: str, key: str) -> str:
    matched = re.search(rf"{key}=%?([\w.\-]+)", attributes)
    return matched[1] if matched else ""


def _kernel(computations: dict[str, Computation], computation: Computation, name: str, runs: int) -> Kernel:
    instruction = computation[name]
    op, attributes = instruction.op, instruction.attributes
    arguments = [computation[a].type for a in dict.fromkeys(instruction.arguments) if a in computation]
    written, read = size(instruction.type), sum(map(size, arguments))
    kind, flops, wide = "elementwise", 0, False
    if op == "fusion":
        inner = computations.get(_called(attributes, "calls"), {})
        written = _written(inner, instruction.type)
        limits = _reads(inner)
        read = sum(
            min(size(computation[a].type), limits.get(i, size(computation[a].type)))
            for i, a in enumerate(instruction.arguments)
            if a in computation and a not in instruction.arguments[:i]
        )
        inside = [i for i in inner.values() if i.op == "dot"]
        if inside:
            kind, flops = "product", sum(_dot_flops(inner, i) for i in inside)
    elif op == "custom-call":
        target = re.search(r'custom_call_target="([^"]+)"', attributes)
        kind, flops, wide = _library_call(target[1] if target else "", instruction, computation)
        written -= sum(count for shape, count in shapes(instruction.type) if shape.startswith(("s8[", "u8[")))
    elif op in ("copy", "transpose"):
        kind = "copy"
    elif op in ("slice", "dynamic-slice"):
        read = written
    elif op == "dynamic-update-slice":
        read = written = size(computation[instruction.arguments[1]].type)
    elif op.removesuffix("-start") in EXCHANGES:
        kind = "exchange"
    elif op == "dot":
        kind, flops = "product", _dot_flops(computation, instruction)
    path = re.search(r'op_name="([^"]*)"', attributes)
    layer, backward = layer_of(path[1] if path else "")
    return Kernel(name, kind, layer, backward, runs, read + written, flops, wide, dict(shapes(instruction.type)))


def layer_of(path: str) -> tuple[str, bool]:
    """The module path in the name of an operation, and whether it belongs to the backward pass.

    ``jit(step)/transpose(jvp(ViT))/block0/mlp/dense1/dot_general`` is ("block0/mlp/dense1", True).
    """
    backward = "transpose(" in path
    parts = re.sub(r"(jit|jvp|transpose|rematted_computation|checkpoint|vmap)\(|\)", "", path).split("/")
    kept = [part for part in parts[1:-1] if part and "." not in part and not part.startswith(("while", "body", "cond"))]
    return "/".join(kept), backward


def _written(inner: Computation, result: str) -> int:
    """Bytes that a fusion writes: of an update in place, only the update."""
    for instruction in inner.values():
        if instruction.root and instruction.op == "dynamic-update-slice" and len(instruction.arguments) > 1:
            return size(inner[instruction.arguments[1]].type)
    return size(result)


def _reads(inner: Computation) -> dict[int, int]:
    """{number of a parameter: bytes that a fusion reads of it}, for parameters that it only slices."""
    users = defaultdict(list)
    for name, instruction in inner.items():
        for argument in instruction.arguments:
            users[argument].append(name)
    reads = {}
    for name, instruction in inner.items():
        if instruction.op != "parameter":
            continue
        todo, seen, taken, whole = [name], set(), 0, False
        while todo:
            value = todo.pop()
            for user in users[value]:
                if user in seen:
                    continue
                seen.add(user)
                used = inner[user]
                if used.op == "bitcast":
                    todo.append(user)
                elif used.op in ("slice", "dynamic-slice", "gather"):
                    taken += size(used.type)
                elif used.op != "dynamic-update-slice" or used.arguments[0] != value:
                    whole = True
        if not whole:
            reads[int(instruction.text)] = taken
    return reads


def _library_call(target: str, instruction: Instruction, computation: Computation) -> tuple[str, int, bool]:
    """Kind, FLOPs and width of a call of cuBLAS, cuDNN or another library."""
    types = [computation[a].type for a in instruction.arguments if a in computation]
    if "fmha" in target:
        (_, queries), (_, keys) = dims(types[0]), dims(types[1])
        batch, n, heads, width = queries
        # Two products forward; five backward, since the scores are computed again.
        products = 5 if "Backward" in target else 2
        return "attention", products * 2 * batch * heads * n * keys[1] * width, False
    if "cublas" in target or "gemm" in target.lower():
        numbers = re.search(r'"dot_dimension_numbers":(\{.*?\})', instruction.attributes)
        if numbers is None:
            return "product", 0, False
        kind, left = dims(types[0])
        contracted = [int(axis) for axis in json.loads(numbers[1]).get("lhs_contracting_dimensions", [])]
        out = math.prod(dims(instruction.type)[1])
        return "product", 2 * out * math.prod(left[axis] for axis in contracted), kind == "f32"
    if "conv" in target:
        return "convolution", _convolution_flops(instruction, types), dims(types[0])[0] == "f32"
    return "elementwise", 0, False


def _convolution_flops(instruction: Instruction, types: list[str]) -> int:
    """FLOPs of a convolution: 2 x the places of its smaller map x the numbers of its kernel.

    The kernel is the smallest of its three arrays. The gradients have the FLOPs of the convolution itself, whose output
    is the smaller one of the two maps for a stride above 1.
    """
    arrays = [dims(text)[1] for text in (*types[:2], instruction.type)]
    kernel, *maps = sorted(arrays, key=math.prod)
    places = min(math.prod(each) // max(each[1:]) for each in maps)
    return 2 * places * math.prod(kernel)


def _dot_flops(computation: Computation, instruction: Instruction) -> int:
    left = dims(computation[instruction.arguments[0]].type)[1]
    axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    contracted = [int(axis) for axis in axes[1].split(",") if axis] if axes else []
    return 2 * math.prod(dims(instruction.type)[1]) * math.prod(left[axis] for axis in contracted)


def largest(found: list[Kernel], count: int = 8) -> list[tuple[str, int, int]]:
    """The arrays of which most is written, as (shape, times, bytes of one)."""
    times: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for kernel in found:
        for shape, each in kernel.shapes.items():
            times[shape] += kernel.runs
            sizes[shape] = each
    order = sorted(times, key=lambda shape: -times[shape] * sizes[shape])
    return [(shape, times[shape], sizes[shape]) for shape in order[:count]]
