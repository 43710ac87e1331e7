"""The estimated time of a step on a GPU: for each kernel, what its memory traffic or its products need, if longer."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vitax.planning.gpus import GPU
from vitax.planning.kernels import Kernel, largest

KINDS = ("product", "attention", "convolution", "elementwise", "copy", "exchange")


class Estimate(NamedTuple):
    """The estimated time of one step on each device.

    Attributes:
        seconds: time of all kernels, one after the other.
        by_kind: {kind: seconds}.
        by_layer: {layer: seconds}; the numbers of blocks are left out.
        traffic: bytes read from and written to the memory.
        flops: floating-point operations of products, convolutions and attention.
        kernels: number of kernels that run.
        largest: the arrays of which most is written, as (shape, times, bytes of one).
    """

    seconds: float
    by_kind: dict[str, float]
    by_layer: dict[str, float]
    traffic: float
    flops: float
    kernels: float
    largest: list[tuple[str, int, int]]

    def extrapolated(self, others: Sequence[tuple["Estimate", int]]) -> "Estimate":
        """This estimate plus, for each (other estimate, n), n times the difference of the other one from it."""

        def mix(of: Callable[[Estimate], float]) -> float:
            return of(self) + sum(n * (of(other) - of(self)) for other, n in others)

        def table(of: Callable[[Estimate], dict[str, float]]) -> dict[str, float]:
            keys = dict.fromkeys(key for estimate in (self, *(other for other, _ in others)) for key in of(estimate))
            return {key: mix(functools.partial(lambda key, estimate: of(estimate).get(key, 0.0), key)) for key in keys}

        return Estimate(
            mix(lambda e: e.seconds),
            table(lambda e: e.by_kind),
            table(lambda e: e.by_layer),
            mix(lambda e: e.traffic),
            mix(lambda e: e.flops),
            mix(lambda e: e.kernels),
            self.largest,
        )


def seconds(kernel: Kernel, gpu: GPU, devices: int = 1) -> float:
    """Time of all runs of a kernel: that of its traffic or of its products, whichever is longer.

    Args:
        devices: number of GPUs that exchange data.
    """
    if kernel.kind == "exchange":  # in a ring, each device sends nearly everything once
        return kernel.runs * kernel.bytes / 2 * (devices - 1) / devices / gpu.link
    rate = gpu.attention if kernel.kind == "attention" else gpu.product32 if kernel.wide else gpu.product16
    return kernel.runs * max(kernel.bytes / gpu.bandwidth, kernel.flops / rate)


def estimated(found: list[Kernel], gpu: GPU, devices: int = 1) -> Estimate:
    """The estimate for the kernels of a program."""
    by_kind, by_layer = Counter[str](), Counter[str]()
    for kernel in found:
        time = seconds(kernel, gpu, devices)
        by_kind[kernel.kind] += time
        by_layer[place(kernel)] += time
    return Estimate(
        sum(by_kind.values()),
        dict(by_kind),
        dict(by_layer),
        sum(kernel.runs * kernel.bytes for kernel in found),
        sum(kernel.runs * kernel.flops for kernel in found),
        sum(kernel.runs for kernel in found),
        largest(found),
    )


def place(kernel: Kernel) -> str:
    """The layer of a kernel in words: the numbers of blocks are left out, and the deepest two levels kept."""
    parts = [re.sub(r"\d+$", "", part) for part in kernel.layer.split("/")]
    parts = [part for part in parts if part and part != "step"]
    return "/".join(parts[-3:]) or "optimizer and loss"
